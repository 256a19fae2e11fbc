"""Entries of the guide for the page: what a cause means, how it shows, and what to do."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from markupsafe import Markup, escape

from mesh_fixtures import guide

_PART: Final = re.compile(r"^- (?P<title>\w+): (?P<text>.*?)(?=^- |\Z)", re.MULTILINE | re.DOTALL)
_INLINE: Final = re.compile(r"`(?P<code>[^`]+)`|\[(?P<link>[^\]]+)\]\([^)]*\)")


@dataclass(frozen=True)
class Entry:
    """What the guide says of a cause.

    Attributes:
        address: of the entry in the guide.
        parts: title and text of each.
    """

    id: str
    address: str
    parts: tuple[tuple[str, Markup], ...]


def entries(causes: Iterable[str]) -> tuple[Entry, ...]:
    """The entries of causes that the guide knows, each once, in order."""
    wanted = dict.fromkeys(causes)
    texts = guide.causes() if wanted else {}
    return tuple(
        Entry(each, guide.cause_entry(each), _parts(texts[each]))
        for each in wanted
        if each in texts
    )


def _parts(text: str) -> tuple[tuple[str, Markup], ...]:
    return tuple((each["title"], _marked_up(each["text"])) for each in _PART.finditer(text))


def _marked_up(text: str) -> Markup:
    """Text in which code is marked; links of the guide lead nowhere from here."""
    plain = " ".join(text.split())
    parts: list[Markup] = []
    end = 0
    for found in _INLINE.finditer(plain):
        parts.append(escape(plain[end : found.start()]))
        code = found["code"]
        parts.append(Markup("<code>{}</code>").format(code) if code else escape(found["link"]))
        end = found.end()
    return Markup("").join([*parts, escape(plain[end:])])
