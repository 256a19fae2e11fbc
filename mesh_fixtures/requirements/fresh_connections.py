"""A second service of HelloWorld, there for as long as somebody counts what is sent to it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Final, Protocol

import yaml

from mesh_fixtures.kube import KubeEditor
from mesh_fixtures.kube.objects import Json
from mesh_fixtures.kube.resources import resource_of
from mesh_fixtures.parallel import parallel_map
from mesh_fixtures.patience import patient
from mesh_fixtures.probe.view import MeshView
from mesh_fixtures.verdict.client_endpoints import ClientEndpoints
from mesh_fixtures.workloads import fresh_connections_manifest, service_manifest

SERVICE: Final = "helloworld-fresh"

SETTLING_SECONDS: Final = 15.0
"""For the service to be known to clients and gateways."""

Objects = Sequence[Json]


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
    """HelloWorld by a name that nobody else asks for, with connections that serve one request each,
    while the block runs. Its removal is started, whatever ends the block, and not waited for; in an
    existing mesh, it is deleted with the run's namespace.

    Args:
        service: the name.

    Raises:
        ProbeError: an API server cannot be asked or refuses.
    """
    made = {name: _objects(view, name, service) for name in view.kube}
    try:
        parallel_map(lambda cluster: _create(view, cluster, made[cluster]), made)
        yield
    finally:
        if not view.lab.external:
            parallel_map(lambda cluster: _delete(view, cluster, made[cluster]), made)


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


def _objects(view: MeshView, cluster: str, service: str) -> Objects:
    texts = [service_manifest(service)]
    if view.scenario.cluster(cluster).is_primary:
        kube = view.kube[cluster]
        domain = kube.names.cluster_domain
        texts.insert(0, fresh_connections_manifest(kube.sample_namespace, service, domain))
    return [yaml.safe_load(text) for text in texts]


def _create(view: MeshView, cluster: str, items: Objects) -> None:
    """Objects that exist by that name were left by a killed run."""
    namespace = view.kube[cluster].sample_namespace
    with KubeEditor(view.lab.clusters[cluster]) as editor:
        for item in items:
            editor.create(item, namespace)


def _delete(view: MeshView, cluster: str, items: Objects) -> None:
    namespace = view.kube[cluster].sample_namespace
    with KubeEditor(view.lab.clusters[cluster]) as editor:
        for item in items:
            editor.delete(resource_of(item), namespace, item["metadata"]["name"])
