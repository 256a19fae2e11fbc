"""Tells whether texts say the same, but for what is different each time: numbers, ids, names of
pods.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from typing import Final, TypeVar

Item = TypeVar("Item")

_RANDOM: Final = "[bcdfghjklmnpqrstvwxz2456789]"
"""What Kubernetes makes names from (apimachinery, util/rand)."""

_POD: Final = re.compile(rf"(?<=\w)(-{_RANDOM}{{8,10}})?-{_RANDOM}{{5}}\b")
_REPLICA_SET: Final = re.compile(rf"(?<=\w)-(?=\w*\d){_RANDOM}{{8,10}}\b")
_ID: Final = re.compile(r"\b(?=\w*\d)[0-9a-fA-F]{7,}\b")
_NUMBER: Final = re.compile(r"(?<![\w])\d+(\.\d+)*")
"""Not the digits of a name: `cluster1` and `v2` are others than `cluster2` and `v1`."""


def gist(text: str) -> str:
    """The text with `#` for what is different each time."""
    for each in (_POD, _REPLICA_SET, _ID, _NUMBER):
        text = each.sub("#", text)
    return text


def distinct(items: Iterable[Item], text: Callable[[Item], str] = str) -> Iterator[Item]:
    """The first of those that say the same."""
    seen: set[str] = set()
    for item in items:
        key = gist(text(item))
        if key not in seen:
            seen.add(key)
            yield item
