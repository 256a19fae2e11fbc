"""Marks in a lab's folder: while parts of its mesh are down, and where they did not come back; and
since an upgrade of it began.

A lab with one of them is not what was installed: it may be looked at, but no run takes it over.
"""

from __future__ import annotations

from pathlib import Path

_MARK = "disrupted"
_UPGRADED = "upgraded"


def is_disrupted(folder: Path) -> bool:
    return (folder / _MARK).exists()


def is_as_installed(folder: Path) -> bool:
    """Whether there is neither mark."""
    return not is_disrupted(folder) and not (folder / _UPGRADED).exists()


def mark_upgraded(folder: Path) -> None:
    (folder / _UPGRADED).touch()


def mark(folder: Path) -> None:
    (folder / _MARK).touch()


def unmark(folder: Path) -> None:
    (folder / _MARK).unlink(missing_ok=True)
