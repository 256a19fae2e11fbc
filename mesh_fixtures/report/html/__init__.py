"""A page of reports: one file with all that it needs, for screens, dark or light, and for paper."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import chain, count
from pathlib import Path
from typing import Final

import jinja2
from markupsafe import Markup, escape

from mesh_fixtures import guide
from mesh_fixtures.report.html.drawing import latency_plot, timeline, topology_svg
from mesh_fixtures.report.model import LEVELS, Figure, Report, Result

SIGNS: Final[dict[Result, str]] = {
    "met": "✓",
    "unmet": "✗",
    "inconclusive": "!",
    "not run": "○",
    "not applicable": "∅",
}

_PART: Final = re.compile(r"^- (?P<title>\w+): (?P<text>.*?)(?=^- |\Z)", re.MULTILINE | re.DOTALL)
_INLINE: Final = re.compile(r"`(?P<code>[^`]+)`|\[(?P<link>[^\]]+)\]\([^)]*\)")


@dataclass(frozen=True)
class GuideEntry:
    """What the guide says of a cause: what it means, how it shows, and what to do.

    Attributes:
        address: of the entry in the guide.
        parts: title and text of each.
    """

    id: str
    address: str
    parts: tuple[tuple[str, Markup], ...]


def entries(causes: Iterable[str]) -> tuple[GuideEntry, ...]:
    """The entries of causes that the guide knows, each once, in order."""
    wanted = dict.fromkeys(causes)
    texts = guide.causes() if wanted else {}
    return tuple(
        GuideEntry(each, guide.cause_entry(each), _parts_of(texts[each]))
        for each in wanted
        if each in texts
    )


def page(reports: Sequence[Report]) -> str:
    """The page's HTML, of at least one report."""
    return _template().render(
        reports=_named(reports),
        levels=LEVELS,
        signs=SIGNS,
        results=Counter(each.result for report in reports for each in report.requirements),
        entries=entries(cause.id for report in reports for cause in report.causes),
        css=_beside("page.css"),
        drawing=topology_svg,
        latency_plot=latency_plot,
        timeline=timeline,
    )


def _named(reports: Sequence[Report]) -> list[tuple[str, Report]]:
    """Reports in order, each with a name that no other has; those of several runs of one topology
    have the same file name.
    """
    found: dict[str, Report] = {}
    for report in sorted(reports, key=lambda each: each.file_name):
        first = _slug(report.file_name)
        others = (f"{first}-{number}" for number in count(2))
        found[next(name for name in chain([first], others) if name not in found)] = report
    return list(found.items())


@cache
def _template() -> jinja2.Template:
    environment = jinja2.Environment(
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["figure"] = _figure
    environment.filters["milliseconds"] = _milliseconds
    environment.filters["percent"] = lambda share: f"{100 * share:.1f}".rstrip("0").rstrip(".")
    environment.filters["slug"] = _slug
    return environment.from_string(_beside("page.html.jinja"))


def _beside(name: str) -> str:
    return Path(__file__).with_name(name).read_text(encoding="utf-8")


def _figure(value: Figure) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _milliseconds(value: float) -> str:
    """Two digits, as more are chance, or all of those before the point."""
    return f"{value:.2g}" if value < 10 else f"{value:.0f}"


def _slug(text: str) -> str:
    """An id of an element, which links refer to."""
    return "".join(sign if sign.isalnum() else "-" for sign in text)


def _parts_of(text: str) -> tuple[tuple[str, Markup], ...]:
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
