"""From what a run has seen of one topology to its report: pure functions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from mesh_fixtures.diagnosis.cause import RootCause
from mesh_fixtures.report.distribution import distributions
from mesh_fixtures.report.model import (
    CauseReport,
    Figure,
    Found,
    Observation,
    Provider,
    Report,
    RequirementReport,
    Result,
    Run,
    StepReport,
    Topology,
    Versions,
    levels_of,
)
from mesh_fixtures.requirements import Requirement
from mesh_fixtures.scenario import Scenario

BEST_FIRST: Final[tuple[Result, ...]] = (
    "met",
    "not applicable",
    "not run",
    "inconclusive",
    "unmet",
)
"""What a person who waits for a verdict would rather see."""


@dataclass(frozen=True)
class Checked:
    """What one test said of a requirement; attributes as those of `RequirementReport`."""

    requirement: str
    result: Result
    reason: str = ""
    seconds: float = 0.0
    findings: tuple[Found, ...] = ()
    figures: Mapping[str, Figure] = field(default_factory=dict)
    causes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Seen:
    """What a run has seen of one topology.

    Attributes:
        selected: requirements of which a test was selected.
        checked: what came of tests, in the order in which they ended.
    """

    scenario: Scenario
    provider: Provider
    versions: Versions
    run: Run
    selected: frozenset[str]
    checked: tuple[Checked, ...]
    causes: tuple[CauseReport, ...] = ()
    steps: tuple[StepReport, ...] = ()


def build(seen: Seen, requirements: Iterable[Requirement]) -> Report:
    """The report of a topology.

    Args:
        requirements: all that there are, in the order of reports.
    """
    reported = tuple(_requirement(each, seen) for each in requirements)
    return Report(
        topology=Topology.of(seen.scenario),
        provider=seen.provider,
        versions=seen.versions,
        run=seen.run,
        levels=levels_of(reported),
        requirements=reported,
        causes=seen.causes,
        distribution=distributions({each.id: each.figures for each in reported}),
        steps=seen.steps,
    )


def _requirement(requirement: Requirement, seen: Seen) -> RequirementReport:
    checked = [each for each in seen.checked if each.requirement == requirement.id]
    lacking = requirement.missing_features(seen.scenario)
    if lacking:
        whole = Checked(requirement.id, "not applicable", f"it lacks {' and '.join(lacking)}")
    elif checked:
        whole = together(checked)
    elif requirement.id in seen.selected:
        whole = Checked(requirement.id, "not run", "the run ended before it")
    else:
        whole = Checked(requirement.id, "not run", "not selected")
    explained = [each.id for each in seen.causes if requirement.id in each.consequences]
    known = {each.id for each in seen.causes}
    causes = dict.fromkeys((*explained, *(each for each in whole.causes if each in known)))
    return RequirementReport(
        id=requirement.id,
        level=requirement.level,
        title=requirement.title,
        result=whole.result,
        reason=whole.reason,
        seconds=round(whole.seconds, 3),
        findings=whole.findings,
        figures=whole.figures,
        causes=tuple(causes) if whole.result in ("unmet", "inconclusive") else (),
    )


def together(checked: Sequence[Checked]) -> Checked:
    """What several tests of one requirement said: the worst of it, and everything found."""
    worst = max((each.result for each in checked), key=BEST_FIRST.index)
    reasons = dict.fromkeys(each.reason for each in checked if each.reason)
    figures: dict[str, Figure] = {}
    for each in checked:
        figures |= each.figures
    return Checked(
        requirement=checked[0].requirement,
        result=worst,
        reason="\n".join(reasons),
        seconds=sum(each.seconds for each in checked),
        findings=tuple(dict.fromkeys(found for each in checked for found in each.findings)),
        figures=figures,
        causes=tuple(dict.fromkeys(cause for each in checked for cause in each.causes)),
    )


def cause_report(root: RootCause) -> CauseReport:
    """A root cause as a report tells of it."""
    cause = root.cause
    return CauseReport(
        id=cause.id,
        certainty=cause.certainty,
        clusters=cause.clusters,
        statement=cause.statement,
        evidence=tuple(Observation(seen=each.seen, source=each.source) for each in cause.evidence),
        remedy=cause.remedy,
        step=cause.step,
        consequences=root.consequences,
        followed_by=tuple(f"{each.id}: {each.statement}" for each in root.followed_by),
    )
