"""Texts in messages."""

from __future__ import annotations

from collections.abc import Sequence


def first_of(texts: Sequence[str], shown: int, separator: str = "; ") -> str:
    """The first of some texts in a line, and how many more there are."""
    more = len(texts) - shown
    return separator.join((*texts[:shown], *([f"and {more} more"] if more > 0 else ())))
