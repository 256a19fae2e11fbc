"""Addresses in the user's guide, which messages print."""

from __future__ import annotations

from typing import Final

_GUIDE: Final = "docs"
"""Folder of the guide in the project."""


def cause_entry(cause: str) -> str:
    """Where the guide says what a cause means, how it shows, and what to do."""
    return f"{_GUIDE}/troubleshooting.md#{cause}"


def requirement_entry(requirement: str) -> str:
    """Where the guide says what a requirement is, and who promises it."""
    return f"{_GUIDE}/requirements.md#{requirement.lower()}"
