"""Clients that prefer a locality go over to what they hold in reserve, where theirs fails."""

from __future__ import annotations

import pytest

from mesh_fixtures.requirements import ObservedMesh, by_id
from tests.faults.healthy import HealthyMesh
from tests.faults.session import REQUESTS
from tests.faults.topologies import TWO_NETWORKS, on
from tests.variants.routing import nearest_first


@pytest.mark.timeout(900)
@on(TWO_NETWORKS)
def test_what_is_held_in_reserve_answers_while_the_preferred_is_away(
    healthy_mesh: HealthyMesh,
) -> None:
    healthy_mesh.begin()
    target = healthy_mesh.target
    mesh = ObservedMesh(target.view, requests=REQUESTS)
    with nearest_first(target):
        preferring = by_id("TRAFFIC-1").check(mesh)
        away = by_id("RESILIENCE-1").check(mesh)
    healthy_mesh.require_healthy()
    assert any("clients prefer other endpoints" in each for each in preferring.notes), preferring
    assert away.result == "met", "\n".join(map(str, away.findings)) or away.trouble
