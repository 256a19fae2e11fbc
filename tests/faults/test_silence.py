"""A cluster that does not answer is named as such, and nothing is said against its mesh."""

from __future__ import annotations

from typing import Final

import pytest

from mesh_fixtures.diagnosis import explained
from tests.faults.healthy import HealthyMesh
from tests.faults.lab_parts import held_up
from tests.faults.topologies import TWO_NETWORKS, on
from tests.faults.trial import check, root_causes
from tests.faults.underlay import PROVIDER

ASKED: Final = ("TRUST-1", "CONTROL-1", "DISCOVERY-1")


@pytest.mark.timeout(420)
@on(TWO_NETWORKS)
def test_api_server_unresponsive(healthy_mesh: HealthyMesh) -> None:
    if healthy_mesh.target.lab.provider != PROVIDER:
        pytest.skip(f"only labs of the provider {PROVIDER} can be broken like this")
    healthy_mesh.begin()
    mesh = healthy_mesh.mesh
    mesh.forget()
    with held_up(healthy_mesh.target, mesh.scenario.clusters[-1].name, "kube-apiserver"):
        outcomes = check(mesh, ASKED)
        diagnosis = root_causes(mesh, outcomes)
    healthy_mesh.require_healthy()
    explanation = "\n".join(explained(diagnosis))
    assert {each.result for each in outcomes.values()} == {"inconclusive"}
    assert diagnosis.ids == ("api-server-unresponsive",), explanation
