"""Watches a mesh that is broken on purpose: what fails, why, and whether it is healthy again."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from mesh_fixtures.diagnosis import Diagnosis, diagnose, gather, with_traffic
from mesh_fixtures.parallel import parallel_map
from mesh_fixtures.patience import patient, whole
from mesh_fixtures.probe.traffic import TrafficSample
from mesh_fixtures.requirements import ObservedMesh, Outcome, Result, by_id
from mesh_fixtures.requirements.disruption import await_drained
from mesh_fixtures.requirements.observed import sampled
from mesh_fixtures.verdict.convergence import settle

DETECTION_SECONDS: Final = 90.0
"""From a broken mesh to the unmet requirements."""

REPAIRED_SECONDS: Final = 90.0
"""From a repaired mesh to requirements that are met."""

RECOVERY_SECONDS: Final = 20.0
"""For a broken mesh to recover from what a disruptive requirement did to it, if it does at all."""

TRAFFIC_SECONDS: Final = 15
"""How long a mesh that may be broken is waited for. Who watches it asks again."""

_INTERVAL: Final = 0.5
_MAKING_POLICIES: Final = frozenset({"AUTHZ-1"})
_OF_TRAFFIC: Final = frozenset({"TRAFFIC-1", "TRAFFIC-2"})

Outcomes = Mapping[str, Outcome]
"""By id of the requirement."""


class ImpatientMesh(ObservedMesh):
    """A mesh whose requests are given less time than those of one that should be healthy."""

    def twin(self, settling_seconds: float) -> ImpatientMesh:
        """The same mesh, of which nothing was seen yet."""
        return ImpatientMesh(self.view, requests=self.requests, settling_seconds=settling_seconds)

    @property
    def traffic(self) -> Mapping[str, TrafficSample]:
        return self.once(_traffic)


def _traffic(mesh: ObservedMesh) -> Mapping[str, TrafficSample]:
    _ = mesh.endpoints
    return sampled(mesh, whole(TRAFFIC_SECONDS))


@dataclass(frozen=True)
class Detection:
    """What was seen of a mesh once it was broken.

    Attributes:
        outcomes: of the requirements that were looked at, as last seen.
        seconds: until the last of those that must be unmet was.
    """

    outcomes: Outcomes
    seconds: float

    @property
    def unmet(self) -> tuple[str, ...]:
        """What was found against each requirement that is not met, in a line."""
        return tuple(
            f"{name} {outcome.result}: {outcome.trouble or '; '.join(map(str, outcome.findings))}"
            for name, outcome in self.outcomes.items()
            if outcome.result != "met"
        )


def check(mesh: ObservedMesh, ids: Iterable[str]) -> dict[str, Outcome]:
    """Look at a mesh by several requirements at the same time."""
    return parallel_map(lambda each: by_id(each).check(mesh), dict.fromkeys(ids))


def is_disruptive(requirement: str) -> bool:
    """Whether it takes parts of the mesh down."""
    return by_id(requirement).disruptive


def detect(
    mesh: ImpatientMesh,
    fails: Iterable[str],
    unaffected: Iterable[str],
    *,
    seconds: float | None = None,
) -> Detection:
    """Look at a broken mesh until all requirements that must be unmet are, and then at others.

    Where one of the former is disruptive, it is looked at by itself, and the others before: a
    broken mesh need not recover from it. Where one makes policies, the others are looked at when
    servers have come to an end with what these replaced.

    Args:
        seconds: after which they are not waited for any longer; None for
            `patient(DETECTION_SECONDS)`.
    """
    if seconds is None:
        seconds = patient(DETECTION_SECONDS)
    fails = tuple(fails)
    if any(map(is_disruptive, fails)):
        before = await_met(mesh, unaffected, seconds=seconds)
        begun = time.monotonic()
        outcomes = {each: by_id(each).check(mesh.twin(RECOVERY_SECONDS)) for each in fails}
        mesh.forget()
        return Detection({**outcomes, **before.outcomes}, time.monotonic() - begun)
    seen = _watch(mesh, fails, "unmet", seconds)
    if not _MAKING_POLICIES.isdisjoint(fails):
        await_drained(mesh.view)
    return Detection({**seen.outcomes, **check(mesh, unaffected)}, seen.seconds)


def root_causes(mesh: ObservedMesh, outcomes: Outcomes) -> Diagnosis:
    """Why a broken mesh does not meet its requirements.

    Args:
        outcomes: of what was seen since the mesh was last forgotten.
    """
    facts = gather(mesh.view)
    if any(each in _OF_TRAFFIC and outcomes[each].trouble is None for each in outcomes):
        facts = with_traffic(facts, mesh.traffic)
    failures = {each: seen.findings for each, seen in outcomes.items() if seen.result != "met"}
    return diagnose(mesh.scenario, facts, failures)


def await_met(mesh: ObservedMesh, ids: Iterable[str], *, seconds: float) -> Detection:
    """Look at a mesh until all these requirements are met, or the time is over."""
    return _watch(mesh, ids, "met", seconds)


def _watch(mesh: ObservedMesh, ids: Iterable[str], result: Result, seconds: float) -> Detection:
    """Look at a mesh anew until all these requirements have a result, or the time is over."""
    wanted = tuple(ids)

    def looked() -> dict[str, Outcome]:
        mesh.forget()
        return check(mesh, wanted)

    settled = settle(
        looked,
        lambda seen: all(each.result == result for each in seen.values()),
        deadline=seconds,
        interval=_INTERVAL,
    )
    return Detection(settled.value, settled.seconds)
