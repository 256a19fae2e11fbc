"""A mark in a lab's folder while parts of its mesh are down, and where they did not come back.

A lab with this mark is not what was installed: it may be looked at, but no run takes it over.
"""

from __future__ import annotations

from pathlib import Path

_MARK = "disrupted"


def is_disrupted(folder: Path) -> bool:
    return (folder / _MARK).exists()


def mark(folder: Path) -> None:
    (folder / _MARK).touch()


def unmark(folder: Path) -> None:
    (folder / _MARK).unlink(missing_ok=True)
