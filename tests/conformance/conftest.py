"""What the tests of one topology share: clients of its clusters, and costly observations."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import pytest

from mesh_fixtures.probe.traffic import TrafficSample, requests
from mesh_fixtures.probe.view import MeshView
from mesh_fixtures.session.labs import Mesh, Sample
from mesh_fixtures.session.options import Settings
from mesh_fixtures.verdict.client_endpoints import ClientEndpoints, client_endpoints


@pytest.fixture(scope="session")
def view(mesh: Mesh) -> Iterator[MeshView]:
    """All clusters of the installed mesh, to ask at the same time."""
    seen = MeshView(mesh.lab)
    yield seen
    seen.close()


@pytest.fixture(scope="session")
def endpoints(view: MeshView, sample: Sample) -> Mapping[str, ClientEndpoints]:
    """What Sleep's proxy in each cluster knows of HelloWorld, once it is complete; by cluster."""
    return client_endpoints(view)


@pytest.fixture(scope="session")
def traffic(
    view: MeshView, endpoints: Mapping[str, ClientEndpoints], mesh_settings: Settings
) -> Mapping[str, TrafficSample]:
    """Requests from all clusters at the same time, after their endpoints; by cluster."""
    return view.each(lambda kube: requests(kube, mesh_settings.requests))
