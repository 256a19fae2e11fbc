"""A page of reports: one file with all that it needs, for screens, dark or light, and for paper."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Final

import jinja2

from mesh_fixtures.report.html.drawing import timeline, topology_svg
from mesh_fixtures.report.html.entries import entries
from mesh_fixtures.report.html.latency import latency_plot
from mesh_fixtures.report.model import LEVELS, Figure, Report, Result

SIGNS: Final[dict[Result, str]] = {
    "met": "✓",
    "unmet": "✗",
    "inconclusive": "!",
    "not run": "○",
    "not applicable": "∅",
}


def page(reports: Sequence[Report]) -> str:
    """The page's HTML, of at least one report."""
    return _template().render(
        reports=sorted(reports, key=lambda each: each.file_name),
        levels=LEVELS,
        signs=SIGNS,
        results=Counter(each.result for report in reports for each in report.requirements),
        entries=entries(cause.id for report in reports for cause in report.causes),
        css=_beside("page.css"),
        drawing=topology_svg,
        latency_plot=latency_plot,
        timeline=timeline,
    )


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
