"""From what a run has seen of one topology to its report: pure functions."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Final

from mesh_fixtures.report.model import (
    BEST_FIRST,
    Answers,
    CauseReport,
    Distribution,
    Figure,
    Implementation,
    Latency,
    Observation,
    Provider,
    Report,
    RequirementReport,
    Run,
    StepReport,
    Topology,
    Versions,
    levels_of,
)
from mesh_fixtures.requirements import Requirement
from mesh_fixtures.scenario import Scenario

if TYPE_CHECKING:
    from mesh_fixtures.diagnosis.cause import RootCause

_REQUESTS: Final = "TRAFFIC-1"
_SHARES: Final = "TRAFFIC-2"
"""The requirements whose figures tell who answered whom."""

_SHARE: Final = re.compile(r"(.+?)\.(share|expected_share|band)\.(.+)")
_BAND: Final = re.compile(r"(\d+) to (\d+) of (\d+)")
_LATENCY: Final = re.compile(r"(.+?)\.latency_(answers|p\d+_ms)\.(local|cross-network)\.(.+)")
"""Names of clusters and of destinations may have dots."""


@dataclass(frozen=True)
class SeenTopology:
    """What a run has seen of one topology.

    Attributes:
        selected: requirements of which a test was selected.
        checked: what each test found, in the order in which they ended.
    """

    scenario: Scenario
    provider: Provider
    versions: Versions
    run: Run
    selected: frozenset[str]
    checked: tuple[RequirementReport, ...]
    causes: tuple[CauseReport, ...] = ()
    steps: tuple[StepReport, ...] = ()
    implementation: Implementation | None = None

    def of(self, requirement: str) -> list[RequirementReport]:
        """What the tests of a requirement found."""
        return [each for each in self.checked if each.id == requirement]


def build(seen: SeenTopology, requirements: Iterable[Requirement]) -> Report:
    """The report of a topology.

    Args:
        requirements: all that are known here, in the order of reports. What tests of others have
            found follows, as of a project whose requirements only workers of pytest-xdist know.
    """
    known = {each.id: _requirement(each, seen) for each in requirements}
    others = dict.fromkeys(each.id for each in seen.checked if each.id not in known)
    found = (*known.values(), *(combined(seen.of(each)) for each in others))
    reported = tuple(_explained(each, seen.causes) for each in found)
    figures = {each.id: each.figures for each in reported}
    return Report(
        implementation=seen.implementation,
        topology=Topology.of(seen.scenario),
        provider=seen.provider,
        versions=seen.versions,
        run=seen.run,
        levels=levels_of(reported),
        requirements=reported,
        causes=seen.causes,
        distribution=distributions(figures),
        latency=latencies(figures.get(_REQUESTS, {})),
        steps=seen.steps,
    )


def _requirement(requirement: Requirement, seen: SeenTopology) -> RequirementReport:
    missing = requirement.missing_features(seen.scenario)
    if missing:
        reason = f"it lacks {' and '.join(missing)}"
        return RequirementReport.unverified(requirement, "not applicable", reason)
    if requirement.upgrades and seen.run.upgrade not in requirement.upgrades:
        reason = f"the mesh was not upgraded {' or '.join(requirement.upgrades)}"
        return RequirementReport.unverified(requirement, "not applicable", reason)
    if checked := seen.of(requirement.id):
        return combined(checked)
    selected = requirement.id in seen.selected
    reason = "the run ended before it" if selected else "not selected"
    return RequirementReport.unverified(requirement, "not run", reason)


def combined(checked: Sequence[RequirementReport]) -> RequirementReport:
    """What several tests of one requirement found: the worst of it, and everything found."""
    reasons = dict.fromkeys(each.reason for each in checked if each.reason)
    figures: dict[str, Figure] = {}
    for each in checked:
        figures |= each.figures
    return checked[0].model_copy(
        update={
            "result": max((each.result for each in checked), key=BEST_FIRST.index),
            "reason": "\n".join(reasons),
            "seconds": round(sum(each.seconds for each in checked), 3),
            "findings": tuple(dict.fromkeys(found for each in checked for found in each.findings)),
            "figures": figures,
            "causes": tuple(dict.fromkeys(cause for each in checked for cause in each.causes)),
            "notes": tuple(dict.fromkeys(note for each in checked for note in each.notes)),
        }
    )


def _explained(record: RequirementReport, causes: Sequence[CauseReport]) -> RequirementReport:
    """With the causes that it is a consequence of, then those known ones that its tests named."""
    explaining: tuple[str, ...] = ()
    if record.result in ("unmet", "inconclusive"):
        known = {each.id for each in causes}
        consequence_of = [each.id for each in causes if record.id in each.consequences]
        named = [each for each in record.causes if each in known]
        explaining = tuple(dict.fromkeys((*consequence_of, *named)))
    return record.model_copy(update={"causes": explaining})


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


def distributions(figures: Mapping[str, Mapping[str, Figure]]) -> tuple[Distribution, ...]:
    """The distribution of the answers to each cluster's requests.

    Args:
        figures: by requirement.

    Returns:
        One for each cluster whose shares were judged, in the order of the figures.
    """
    shares = figures.get(_SHARES, {})
    failures = figures.get(_REQUESTS, {})
    destinations: dict[str, list[str]] = {}
    for figure in shares:
        parts = _SHARE.fullmatch(figure)
        if parts and parts[2] == "expected_share":
            destinations.setdefault(parts[1], []).append(parts[3])
    found: list[Distribution] = []
    for cluster, names in destinations.items():
        answers = tuple(_answers(cluster, each, shares) for each in names)
        failed = failures.get(f"{cluster}.failures", 0)
        found.append(
            Distribution(
                cluster=cluster,
                total=sum(each.count for each in answers),
                failures=failed if isinstance(failed, int) else 0,
                answers=answers,
            )
        )
    return tuple(found)


def _answers(cluster: str, name: str, shares: Mapping[str, Figure]) -> Answers:
    band = _BAND.fullmatch(str(shares.get(f"{cluster}.band.{name}", "")))
    low, high, total = map(int, band.groups()) if band else (0, 0, 0)
    share = float(shares.get(f"{cluster}.share.{name}", 0.0))
    return Answers(
        name=name,
        count=round(share * total),
        share=share,
        expected=float(Fraction(str(shares[f"{cluster}.expected_share.{name}"]))),
        low=low,
        high=high,
    )


def latencies(figures: Mapping[str, Figure]) -> tuple[Latency, ...]:
    """The latencies of each cluster's requests, in the order of the figures.

    Args:
        figures: of the requirement whose requests they are.
    """
    measured: dict[tuple[str, str, str], dict[str, Figure]] = {}
    for name, value in figures.items():
        if found := _LATENCY.fullmatch(name):
            cluster, kind, path, version = found.groups()
            measured.setdefault((cluster, version, path), {})[kind] = value
    return tuple(
        Latency.model_validate({"cluster": cluster, "version": version, "path": path} | values)
        for (cluster, version, path), values in measured.items()
    )
