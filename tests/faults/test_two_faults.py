"""Of two faults at once both are named, each for what it breaks."""

from __future__ import annotations

from typing import Final

import pytest

from mesh_fixtures.diagnosis import explained
from mesh_fixtures.patience import patient
from mesh_fixtures.requirements import ObservedMesh, Outcome
from mesh_fixtures.verdict.convergence import settle
from tests.faults import control_planes, policies
from tests.faults.healthy import HealthyMesh
from tests.faults.topologies import TWO_NETWORKS, on
from tests.faults.trial import DETECTION_SECONDS, check, root_causes

_KNOWN_BY_CLIENTS: Final = "DISCOVERY-2"


@pytest.mark.timeout(420)
@on(TWO_NETWORKS)
def test_clients_of_each_cluster_are_given_too_little_for_another_reason(
    healthy_mesh: HealthyMesh,
) -> None:
    healthy_mesh.begin()
    mesh, target = healthy_mesh.mesh, healthy_mesh.target
    first, last = mesh.scenario.primaries[0].name, mesh.scenario.primaries[-1].name
    with (
        policies.in_first_primary(policies.OWN_NAMESPACE_LEFT_OUT)(target),
        control_planes.cluster_local("*")(target),
    ):
        outcome = settle(
            lambda: _looked(mesh),
            lambda seen: {each.cluster for each in seen.findings} == {first, last},
            deadline=patient(DETECTION_SECONDS),
            interval=0.5,
        ).value
        diagnosis = root_causes(mesh, {_KNOWN_BY_CLIENTS: outcome})
    healthy_mesh.require_healthy()
    explanation = "\n".join((*map(str, outcome.findings), *explained(diagnosis)))
    assert {*diagnosis.ids} == {"sidecar-scope", "services-cluster-local"}, explanation
    named = {root.id: root.cause.clusters for root in diagnosis.roots}
    assert named == {"sidecar-scope": (first,), "services-cluster-local": (last,)}, explanation


def _looked(mesh: ObservedMesh) -> Outcome:
    mesh.forget()
    return check(mesh, (_KNOWN_BY_CLIENTS,))[_KNOWN_BY_CLIENTS]
