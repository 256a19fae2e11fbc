"""What tests that change real meshes share in a session: the fixture and the hook of a conftest."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import pytest

from mesh_fixtures.probe.view import MeshView
from mesh_fixtures.session.labs import RUN, Sample
from mesh_fixtures.session.selection import topology_of
from tests.faults.healthy import HealthyMesh
from tests.faults.target import Target
from tests.faults.trial import ImpatientMesh

REQUESTS: Final = 100
"""From each cluster; a share of 90 % is found out by far fewer."""

SETTLING_SECONDS: Final = 5.0
"""How long a requirement waits for a mesh that may be broken. Who watches it asks again."""


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Tests choose their topologies themselves, of which `--mesh-topology` asks for some."""
    asked_for = config.stash[RUN].settings.topologies
    left_out = [item for item in items if asked_for and topology_of(item) not in asked_for]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]


@pytest.fixture(scope="session")
def healthy_mesh(mesh_sample: Sample, pytestconfig: pytest.Config) -> Iterator[HealthyMesh]:
    """The mesh to change, with its workloads."""
    progress = pytestconfig.stash[RUN].progress(mesh_sample.scenario)
    with MeshView(mesh_sample.lab) as view:
        mesh = ImpatientMesh(view, requests=REQUESTS, settling_seconds=SETTLING_SECONDS)
        yield HealthyMesh(mesh, Target(view, progress))
