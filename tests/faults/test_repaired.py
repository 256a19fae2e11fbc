"""After its last fault, a mesh meets every requirement, as one that was never broken."""

from __future__ import annotations

import pytest

from mesh_fixtures.requirements import observable
from tests.faults.healthy import HealthyMesh
from tests.faults.topologies import TOPOLOGIES, on


@pytest.mark.timeout(420)
@on(*TOPOLOGIES)
def test_the_repaired_mesh_meets_everything(healthy_mesh: HealthyMesh) -> None:
    mesh = healthy_mesh.mesh
    mesh.forget()
    for requirement in observable(mesh.scenario):
        requirement.check(mesh).require()
