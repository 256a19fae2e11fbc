"""What the tests of one topology share: the mesh with what was seen of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, cast

import pytest

from mesh_fixtures.session.labs import RUN, Mesh, Sample
from mesh_fixtures.session.options import Settings

# What takes long to import waits until it is used: what is wrong with a scenario is said before.
if TYPE_CHECKING:
    from mesh_fixtures.requirements import ObservedMesh

Verify = Callable[[], None]


@pytest.fixture(scope="session")
def observed(
    mesh: Mesh, mesh_settings: Settings, pytestconfig: pytest.Config
) -> Iterator[ObservedMesh]:
    """The installed mesh, with what tests have seen of it so far; its failures are explained."""
    from mesh_fixtures.probe.view import MeshView
    from mesh_fixtures.requirements import ObservedMesh

    with MeshView(mesh.lab) as view:
        observed = ObservedMesh(view, requests=mesh_settings.requests)
        pytestconfig.stash[RUN].diagnosing.watch(observed)
        yield observed


@pytest.fixture(scope="session")
def endpoints(observed: ObservedMesh, sample: Sample) -> None:
    """Endpoints are observed, which takes none of a test's own time."""
    _ = observed.endpoints


@pytest.fixture(scope="session")
def traffic(observed: ObservedMesh, endpoints: None) -> None:
    """Traffic is observed, which takes none of a test's own time, however many requests it is."""
    _ = observed.traffic


@pytest.fixture
def verify(
    request: pytest.FixtureRequest,
    observed: ObservedMesh,
    record_property: Callable[[str, object], None],
) -> Verify:
    """Checks the mesh by the requirement that the test is marked with."""
    from mesh_fixtures.requirements import by_id

    node = cast("pytest.Item", request.node)
    marker = node.get_closest_marker("requirement")
    assert marker is not None, "a test that verifies is marked with the requirement's id"
    requirement = by_id(*marker.args)

    def verify() -> None:
        __tracebackhide__ = True
        outcome = requirement.check(observed)
        for name, figure in outcome.figures.items():
            record_property(name, figure)
        outcome.require()

    return verify
