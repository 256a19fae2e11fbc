"""DISCOVERY-3: what each istiod holds of the services of other clusters.

A run's own services are made when it begins, and fill an istiod's shards by their own events. What
was lost before shows by the services that were there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from mesh_fixtures.patience import patient
from mesh_fixtures.probe.lost_services import (
    Look,
    LostServices,
    expected,
    in_order,
    in_short,
    judged_in,
    look,
    missing,
    still_missing,
)
from mesh_fixtures.probe.view import MeshView
from mesh_fixtures.requirements.observed import ObservedMesh
from mesh_fixtures.requirements.requirement import Outcome, Requirement
from mesh_fixtures.scenario import Scenario
from mesh_fixtures.verdict.convergence import settle
from mesh_fixtures.verdict.findings import Finding, Subject

SETTLING_SECONDS: Final = 15.0
"""For an istiod to hear of endpoints that another one knows already. Only a mesh in which services
are missed waits, so that it is not cut short where there is little time."""

_INTERVAL: Final = 3.0
"""An answer is some megabytes in a large mesh."""


@dataclass(frozen=True)
class Probes:
    """How the mesh is observed."""

    look: Callable[[MeshView], Look] = look
    expected: Callable[[MeshView, Iterable[LostServices]], tuple[LostServices, ...]] = expected


def judge(mesh: ObservedMesh, probes: Probes = Probes()) -> Outcome:
    view, scenario = mesh.view, mesh.scenario
    first = probes.look(view)
    lost = probes.expected(view, missing(scenario, first))
    if lost:
        lost = _lasting(view, lost, probes)
    return Outcome.judged(
        [_finding(each, view.kube[each.reader].names.system_namespace) for each in lost],
        {
            f"{reader}.services_of_other_clusters": sum(
                len(first.has.get(cluster) or {}) for cluster in judged_in(scenario, reader)
            )
            for reader in first.held
        },
        _unjudged(scenario, first),
    )


def _lasting(
    view: MeshView, lost: tuple[LostServices, ...], probes: Probes
) -> tuple[LostServices, ...]:
    """Those services that are missed whenever it is looked, until they had time to arrive."""

    def again() -> tuple[LostServices, ...]:
        nonlocal lost
        lost = still_missing(lost, probes.look(view))
        return lost

    settled = settle(
        again, lambda left: not left, deadline=patient(SETTLING_SECONDS), interval=_INTERVAL
    )
    return probes.expected(view, settled.value)


def _finding(lost: LostServices, system_namespace: str) -> Finding:
    services = in_short(in_order(lost.services, system_namespace))
    return Finding(
        lost.reader,
        f"{lost.istiod} to hold endpoints of every service of {lost.cluster}",
        f"none of {services}, which pods take traffic for there",
        lost.source,
        Subject((lost.cluster,)),
    )


def _unjudged(scenario: Scenario, seen: Look) -> Iterator[str]:
    for reader in seen.held:
        for cluster in judged_in(scenario, reader):
            if cluster in seen.has and seen.has[cluster] is None:
                yield (
                    f"{cluster}: its EndpointSlices may not be listed, so that what istiod of "
                    f"{reader} holds of its services was not looked at"
                )


REQUIREMENT = Requirement(
    id="DISCOVERY-3",
    level="extended",
    title=(
        "Each istiod holds endpoints of every service that other clusters have pods for, and not "
        "of the sample workloads alone."
    ),
    judge=judge,
    section="Install Multi-Primary: Enable Endpoint Discovery",
    url="https://istio.io/latest/docs/setup/install/multicluster/multi-primary/#enable-endpoint-discovery",
    rests_on=("DISCOVERY-1",),
    features=("multi-cluster",),
    without_samples=True,
)
