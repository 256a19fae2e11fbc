"""A summary of reports in GitHub-flavoured Markdown, e.g. for the page of a CI job."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from mesh_fixtures.report.model import LEVELS, Report, RequirementReport, Result

SIGNS: Final[dict[Result, str]] = {
    "met": "✅",
    "unmet": "❌",
    "inconclusive": "⚠️",
    "not run": "⚪",
    "not applicable": "",
}


def summary(reports: Sequence[Report]) -> str:
    """A table of all reports, then what is not as it should be in each."""
    return "\n".join(_lines(reports)) + "\n"


def _lines(reports: Sequence[Report]) -> Iterator[str]:
    yield "## Mesh conformance"
    yield ""
    yield "| topology | provider | Istio | Kubernetes | core | extended | time |"
    yield "|---|---|---|---|---|---|---|"
    for report in reports:
        levels = (_level(report, level) for level in LEVELS)
        cells = (
            report.topology.id,
            f"{report.provider.name}, {report.provider.install}",
            report.versions.istio or "unknown",
            report.versions.kubernetes or "unknown",
            *levels,
            f"{report.seconds:.0f} s",
        )
        yield f"| {' | '.join(map(cell, cells))} |"
    for report in reports:
        if report.implementation is not None:
            yield ""
            yield f"{cell(report.topology.id)}: {cell(report.implementation.title)}"
        yield from _details(report)


def _level(report: Report, level: str) -> str:
    found = next(each for name, each in report.levels.items() if name == level)
    counted = found.statistics
    numbers = [f"{counted.passed} met"]
    numbers += [
        f"{count} {name}"
        for name, count in (
            ("unmet", counted.failed),
            ("inconclusive", counted.inconclusive),
            ("not run", counted.skipped),
        )
        if count
    ]
    return f"{found.result} ({', '.join(numbers)})"


def _details(report: Report) -> Iterator[str]:
    bad = [
        each
        for each in report.requirements
        if each.result in ("unmet", "inconclusive") or each.about_known
    ]
    slowed = report.run.slowed and f"deadlines multiplied by {report.run.slowed}"
    troubles = [report.run.interrupted, slowed, *report.run.errors, *map(str, report.run.retries)]
    if not bad and not any(troubles):
        return
    yield ""
    yield f"### {cell(report.topology.id)}"
    for trouble in filter(None, troubles):
        yield ""
        yield f"- {cell(trouble)}"
    if bad:
        yield ""
        yield "| | requirement | |"
        yield "|---|---|---|"
    for each in bad:
        yield f"| {SIGNS[each.result]} | {each.id} {each.result} | {cell(_why(each))} |"
    for cause in report.causes:
        yield ""
        yield f"**{cell(cause.id)}**: {cell(cause.statement)}"
        yield f"What to do: {cell(cause.remedy)}"


def _why(requirement: RequirementReport) -> str:
    why = "; ".join(map(str, requirement.findings)) or requirement.reason or requirement.title
    return "; ".join(filter(None, (requirement.about_known, why)))


def cell(text: str) -> str:
    """A text in one line, in which nothing is markup."""
    plain = " ".join(text.split())
    for sign in "\\`*_[]<>|#~":
        plain = plain.replace(sign, f"\\{sign}")
    return plain
