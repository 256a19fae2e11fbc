"""A second service of HelloWorld, there for as long as somebody counts what is sent to it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import Final, Protocol

from mesh_fixtures.patience import patient
from mesh_fixtures.probe.view import MeshView
from mesh_fixtures.requirements.second_service import second_service
from mesh_fixtures.verdict.client_endpoints import ClientEndpoints
from mesh_fixtures.workloads import FRESH_CONNECTIONS

SERVICE: Final = "helloworld-fresh"

SETTLING_SECONDS: Final = 15.0
"""For the service to be known to clients and gateways."""


class Probes(Protocol):
    """How the service is made and observed."""

    @property
    def fresh_connections(self) -> Callable[[MeshView], AbstractContextManager[None]]: ...
    @property
    def client_endpoints(
        self,
    ) -> Callable[[MeshView, float, str], Mapping[str, ClientEndpoints]]: ...


@contextmanager
def fresh_connections(view: MeshView, service: str = SERVICE) -> Iterator[None]:
    """HelloWorld by a name of its own, with connections that serve one request each, while the
    block runs; as `second_service`.

    Args:
        service: the name.

    Raises:
        ProbeError: an API server cannot be asked or refuses.
    """
    with second_service(view, service, FRESH_CONNECTIONS):
        yield


@contextmanager
def without_preference(view: MeshView, probes: Probes) -> Iterator[str]:
    """The service of HelloWorld that is known to all clients by its own rule, which prefers no
    locality, while the block runs. Its endpoints are those that clients go over to where the
    locality fails that they prefer.

    Raises:
        ProbeError: it could not be made, or a proxy did not answer.
    """
    with probes.fresh_connections(view):
        probes.client_endpoints(view, patient(SETTLING_SECONDS), SERVICE)
        yield SERVICE
