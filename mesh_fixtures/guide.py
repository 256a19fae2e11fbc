"""Where the user's guide explains what this project prints."""

from __future__ import annotations

from typing import Final

GUIDE: Final = "docs"
"""Base address of the guide: its folder in the project's repository."""


def cause_address(cause: str) -> str:
    """The entry of a cause, by its id."""
    return f"{GUIDE}/troubleshooting.md#{cause}"


def requirement_address(requirement: str) -> str:
    """The entry of one of this project's requirements, by its id."""
    return f"{GUIDE}/requirements.md#{requirement.lower()}"
