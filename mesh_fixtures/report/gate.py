"""Compares what was verified with a baseline: a pure function, and monotone. Whatever gets worse in
a report, a gate that is shut stays shut. What it finds is shown as a table for a terminal.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Final, Literal

from mesh_fixtures.errors import ReportError
from mesh_fixtures.report.baseline import (
    Baseline,
    Expectation,
    Number,
    Tolerance,
    TopologyBaseline,
    is_number,
)
from mesh_fixtures.report.merging import Combined, Key
from mesh_fixtures.report.model import BEST_FIRST, Figure, Known

Change = Literal["worse", "better", "same"]

_HEADINGS: Final = ("topology", "what", "baseline", "now", "change", "why")

_UNKNOWN: Final = "unknown"
_SHOWN: Final = 8
_LONGEST_WHY: Final = 100


@dataclass(frozen=True)
class Row:
    """A difference between a report and the baseline, or something that a person should know.

    Attributes:
        topology: with provider and way of installation.
        what: requirement, its figure, or empty for the topology as a whole.
        accepted: in the baseline; empty where it is not there.
        seen: in the reports.
        change: only `worse` shuts the gate.
        why: what is known of it, in a line.
    """

    topology: str
    what: str
    accepted: str
    seen: str
    change: Change
    why: str = ""


@dataclass(frozen=True)
class Judgement:
    """What came of it.

    Attributes:
        rows: all differences, topology by topology.
        required: number of requirements that had to be met, in all topologies.
    """

    rows: tuple[Row, ...]
    required: int

    @property
    def passes(self) -> bool:
        return all(row.change != "worse" for row in self.rows)


def require_comparable(
    found: Iterable[Combined],
    baseline: Baseline,
    *,
    scenario_change: bool = False,
    version_change: bool = False,
) -> None:
    """Refuse what was verified by another scenario, or of another version of Istio.

    Args:
        scenario_change: whether the scenario may be another. So `version_change` for the version.

    Raises:
        ReportError: it may not, and is; names all that are.
    """
    refused: list[ReportError] = []
    for each in found:
        for accepted in baseline.topologies:
            if not accepted.is_about(each):
                continue
            others = each.digests - {accepted.scenario}
            if others and not scenario_change:
                short = [other[:12] for other in others]
                refused.append(_refusal(each, "scenario", accepted.scenario[:12], short))
            versions = each.istio - {accepted.istio}
            if versions and not version_change:
                refused.append(_refusal(each, "version", accepted.istio, versions))
    if refused:
        raise ReportError.of_all(refused)


def _refusal(found: Combined, what: str, accepted: str, others: Iterable[str]) -> ReportError:
    name = {"scenario": "scenario", "version": "version of Istio"}[what]
    return ReportError(
        wanted=f"reports of the baseline's {name}, {accepted}",
        seen=", ".join(sorted(each or _UNKNOWN for each in others)),
        where=str(found.key),
        remedy=f"gate with --allow-{what}-change, or make a new baseline by --write-baseline",
    )


def judge(found: Sequence[Combined], baseline: Baseline, today: date) -> Judgement:
    """Compare what was verified with what has to be.

    Args:
        found: each topology, provider and way of installation once.
        today: in UTC; known failures expire.
    """
    rows: list[Row] = []
    required = 0
    for accepted in baseline.topologies:
        required += sum(
            _demanded(expectation, _known(baseline, name, accepted.key, today)).result == "met"
            for name, expectation in accepted.requirements.items()
        )
        those = [each for each in found if accepted.is_about(each)]
        if not those:
            rows.append(Row(str(accepted), "", "verified", "missing", "worse", "no report of it"))
        for each in those:
            rows += _topology(each, accepted, baseline, today)
    for each in found:
        if not any(accepted.is_about(each) for accepted in baseline.topologies):
            rows.append(Row(str(each.key), "", "", "verified", "better", "not in the baseline"))
            rows += _unaccepted(each, each.requirements, baseline, today)
        rows += (
            Row(str(each.key), "", "", "", "same", f"note: {note}") for note in sorted(each.notes)
        )
    rows += _idle(found, baseline)
    return Judgement(tuple(dict.fromkeys(rows)), required)


def _known(baseline: Baseline, requirement: str, topology: Key, today: date) -> Known | None:
    known = baseline.known(requirement, topology)
    return known.on(today) if known is not None else None


def _demanded(expectation: Expectation, known: Known | None) -> Expectation:
    """What a requirement has to be as good as, given its known failure."""
    if known is None:
        return expectation
    if not known.expired:
        return Expectation(result="unmet")
    return Expectation(result="met") if expectation.result == "unmet" else expectation


def _idle(found: Sequence[Combined], baseline: Baseline) -> Iterator[Row]:
    """Known failures of nothing that was verified, as where an id is misspelt."""
    for known in baseline.known_failures:
        if not any(
            known.is_about(requirement, each.key)
            for each in found
            for requirement in each.requirements
        ):
            where = ", ".join(known.topologies)
            why = f"known failure of nothing in these reports: {known}"
            yield Row(where, known.requirement, "", "", "same", why)


def _topology(
    found: Combined, accepted: TopologyBaseline, baseline: Baseline, today: date
) -> Iterator[Row]:
    topology = str(found.key)
    if found.digests - {accepted.scenario}:
        digests = ", ".join(sorted(each[:12] for each in found.digests))
        yield Row(topology, "scenario", accepted.scenario[:12], digests, "same", "as allowed")
    if found.istio - {accepted.istio}:
        versions = ", ".join(sorted(each or _UNKNOWN for each in found.istio))
        yield Row(topology, "Istio", accepted.istio, versions, "same", "as allowed")
    for requirement, expectation in accepted.requirements.items():
        known = _known(baseline, requirement, found.key, today)
        demanded = _demanded(expectation, known)
        yield from _requirement(found, requirement, expectation, demanded, known)
        if found.result(requirement) == demanded.result == "met":
            yield from _figures(found, requirement, demanded, baseline)
    others = [each for each in found.requirements if each not in accepted.requirements]
    yield from _unaccepted(found, others, baseline, today)


def _unaccepted(
    found: Combined, requirements: Iterable[str], baseline: Baseline, today: date
) -> Iterator[Row]:
    """What is to be said of requirements that the baseline does not know: they need not be
    verified, but where they are, they must not fail.
    """
    nothing = Expectation(result="not run")
    for each in requirements:
        if found.result(each) in ("unmet", "inconclusive"):
            known = _known(baseline, each, found.key, today)
            yield from _requirement(found, each, nothing, _demanded(nothing, known), known)


def _requirement(
    found: Combined,
    requirement: str,
    expectation: Expectation,
    demanded: Expectation,
    known: Known | None,
) -> Iterator[Row]:
    result = found.result(requirement)
    accepted, seen = map(BEST_FIRST.index, (demanded.result, result))
    why = "; ".join(sorted(found.reasons(requirement))[:_SHOWN])
    if known is not None and (result in ("met", "unmet") or seen > accepted):
        why = "; ".join(filter(None, (known.about(result), why)))
    if seen > accepted:
        change: Change = "worse"
    elif known is not None and result == "unmet":
        change = "same"
    elif seen < accepted or (known is not None and result == "met"):
        change = "better"
    else:
        return
    yield Row(str(found.key), requirement, expectation.result, result, change, why)


def _figures(
    found: Combined, requirement: str, expectation: Expectation, baseline: Baseline
) -> Iterator[Row]:
    measured = found.figures(requirement)
    for figure, accepted in expectation.figures.items():
        tolerance = baseline.tolerance(figure)
        if tolerance is None:
            continue
        values = measured.get(figure, frozenset())
        bad = [each for each in values if not _is_tolerable(each, accepted, tolerance)]
        if bad or not values:
            seen = ", ".join(sorted(map(_text, bad))) or "missing"
            at = "at most" if tolerance.better == "lower" else "at least"
            why = f"{at} {_text(tolerance.limit(accepted))} is tolerated"
            what = f"{requirement} {figure}"
            yield Row(str(found.key), what, _text(accepted), seen, "worse", why)


def _is_tolerable(figure: Figure, accepted: Number, tolerance: Tolerance) -> bool:
    return is_number(figure) and tolerance.tolerates(figure, accepted)


def _text(figure: Figure) -> str:
    return f"{figure:g}" if isinstance(figure, float) else str(figure)


def table(judgement: Judgement) -> Iterator[str]:
    """Lines: every difference, and what came of it."""
    if judgement.rows:
        yield from _columns([_HEADINGS, *map(_cells, judgement.rows)])
    worse = sum(row.change == "worse" for row in judgement.rows)
    better = sum(row.change == "better" for row in judgement.rows)
    verdict = "pass" if judgement.passes else "FAIL"
    yield f"gate: {verdict}: {judgement.required} required, {worse} worse, {better} better"


def _cells(row: Row) -> tuple[str, ...]:
    why = row.why if len(row.why) <= _LONGEST_WHY else f"{row.why[:_LONGEST_WHY]}..."
    return row.topology, row.what, row.accepted, row.seen, row.change, why


def _columns(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    widths = [max(len(row[at]) for row in rows) for at in range(len(rows[0]))]
    for row in rows:
        line = "  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True))
        yield line.rstrip()
