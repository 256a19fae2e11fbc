"""The user's guide: addresses in it, which messages print, and what it says of causes.

An address is the page's file in `docs/` and the entry's anchor, both of which stay. The site has
the same anchors on the page of the same name.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final

_GUIDE: Final = "docs"
"""Folder of the guide in the project."""

_CAUSES: Final = "troubleshooting.md"
_REQUIREMENTS: Final = "requirements.md"
_ENTRY: Final = re.compile(r"^### (?P<id>\S+)\n(?P<text>.*?)(?=^##|\Z)", re.MULTILINE | re.DOTALL)


def cause_entry(cause: str) -> str:
    """Where the guide says what a cause means, how it shows, and what to do."""
    return f"{_GUIDE}/{_CAUSES}#{cause}"


def requirement_entry(requirement: str) -> str:
    """Where the guide says what a requirement is, and who promises it."""
    return f"{_GUIDE}/{_REQUIREMENTS}#{requirement.lower()}"


def causes() -> Mapping[str, str]:
    """What the guide says of each cause, in Markdown, by the cause's id."""
    package = Path(__file__).parent
    installed = package / "_guide" / _CAUSES
    page = installed if installed.exists() else package.parent / _GUIDE / _CAUSES
    text = page.read_text(encoding="utf-8")
    return {entry["id"]: entry["text"].strip() for entry in _ENTRY.finditer(text)}
