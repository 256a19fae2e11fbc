"""A further service of HelloWorld, there while somebody needs one with a rule of its own: such as
that whose connections serve one request each.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any, Final, Protocol

import yaml

from mesh_fixtures.kube import KubeClient, KubeEditor
from mesh_fixtures.kube.objects import Json
from mesh_fixtures.kube.resources import resource_of
from mesh_fixtures.parallel import parallel_map
from mesh_fixtures.patience import patient
from mesh_fixtures.probe.envoy import host_of
from mesh_fixtures.probe.root_configuration import client_tls
from mesh_fixtures.probe.service_scopes import service_scopes
from mesh_fixtures.probe.traffic import TrafficSample, requests
from mesh_fixtures.probe.view import MeshView
from mesh_fixtures.verdict.client_endpoints import ClientEndpoints, client_endpoints
from mesh_fixtures.verdict.convergence import settle
from mesh_fixtures.workloads import (
    WITHOUT_PREFERENCE,
    export_manifest,
    rule_manifest,
    service_manifest,
)

SERVICE: Final = "helloworld-fresh"
"""With connections that serve one request each."""

SETTLING_SECONDS: Final = 15.0
"""For the service to be known to clients and gateways."""

READ_SECONDS: Final = 5.0
"""For istiods to read a service in all clusters."""

_INTERVAL: Final = 0.3


class Probes(Protocol):
    """How a service with fresh connections is made and observed."""

    @property
    def fresh_connections(self) -> Callable[[MeshView], AbstractContextManager[None]]: ...
    @property
    def client_endpoints(
        self,
    ) -> Callable[[MeshView, float, str], Mapping[str, ClientEndpoints]]: ...


@contextmanager
def second_service(
    view: MeshView, service: str, policy: Mapping[str, Any], distribution: str = ""
) -> Iterator[None]:
    """HelloWorld by a name that nobody else asks for, and its rule, while the block runs. Its
    removal is started, whatever ends the block, and not waited for; in an existing mesh, it is
    deleted with the run's namespace.

    Args:
        policy: the rule's traffic policy.
        distribution: the Service's `trafficDistribution`; empty for none.

    Raises:
        ProbeError: an API server cannot be asked or refuses.
    """
    configured = [name for name in view.scenario.config_clusters if name in view.kube]
    rules = parallel_map(lambda name: _rule(view.kube[name], service, policy), configured)
    dual_stack = view.scenario.is_dual_stack
    manifest = service_manifest(service, distribution, dual_stack=dual_stack)
    of_all: Json = yaml.safe_load(manifest)
    exported: Json = yaml.safe_load(export_manifest(service))
    services = dict.fromkeys(view.data_planes, of_all)
    exports = dict.fromkeys(view.data_planes if view.scenario.mcs else (), exported)
    try:
        # in this order: no istiod knows the service of any cluster without its own rule
        parallel_map(lambda cluster: create(view, cluster, rules[cluster]), rules)
        parallel_map(lambda cluster: create(view, cluster, services[cluster]), services)
        if exports:
            await_read(view, (service,))
        parallel_map(lambda cluster: export(view, cluster, exports[cluster]), exports)
        yield
    finally:
        if not view.lab.external:
            parallel_map(lambda cluster: delete(view, cluster, services[cluster]), services)
            parallel_map(lambda cluster: delete(view, cluster, exports[cluster]), exports)
            parallel_map(lambda cluster: delete(view, cluster, rules[cluster]), rules)


@contextmanager
def fresh_connections(view: MeshView, service: str = SERVICE) -> Iterator[None]:
    """HelloWorld by a name of its own, with connections that serve one request each, by which no
    client prefers a server, while the block runs; as `second_service`.

    Args:
        service: the name.

    Raises:
        ProbeError: an API server cannot be asked or refuses.
    """
    with second_service(view, service, WITHOUT_PREFERENCE):
        yield


@dataclass(frozen=True)
class ServiceProbes:
    """How a service of which clients prefer no server is made, observed and asked."""

    fresh_connections: Callable[[MeshView], AbstractContextManager[None]] = fresh_connections
    client_endpoints: Callable[[MeshView, float, str], Mapping[str, ClientEndpoints]] = (
        client_endpoints
    )
    requests: Callable[..., TrafficSample] = requests


PROBES: Final = ServiceProbes()


@contextmanager
def without_preference(view: MeshView, probes: Probes) -> Iterator[Mapping[str, ClientEndpoints]]:
    """`SERVICE`, known to all clients by its own rule, which prefers no server, while the block
    runs; with the endpoints that their proxies have of it, by cluster. They are those that clients
    could use without their preference.

    Raises:
        ProbeError: it could not be made, or a proxy did not answer.
    """
    with probes.fresh_connections(view):
        yield probes.client_endpoints(view, patient(SETTLING_SECONDS), SERVICE)


def _rule(kube: KubeClient, service: str, policy: Mapping[str, Any]) -> Json:
    namespace, domain = kube.sample_namespace, kube.names.cluster_domain
    tls = client_tls(kube, host_of(kube, service))
    rule: Json = yaml.safe_load(rule_manifest(namespace, service, policy, domain, tls))
    return rule


def await_read(view: MeshView, services: Collection[str]) -> None:
    """Wait until each istiod has read the endpoints of services in all clusters, or for as long as
    that may take at most: HelloWorld need not run everywhere.

    An istiod that reads an endpoint before its Service takes that for one that is not exported, and
    looks again only where the endpoint or the export changes: an export that it read before both
    has no effect. So services are exported once they were read (source: Istio,
    `pilot/pkg/serviceregistry/kube/controller`, serviceExportCache and endpointSliceController).

    Raises:
        ProbeError: an istiod did not answer.
    """
    primaries = [each.name for each in view.scenario.primaries if each.name in view.kube]

    def unread(kube: KubeClient) -> bool:
        hosts = [host_of(kube, each) for each in services]
        return any(
            {*view.kube} - {*held.addresses.get(host, {})}
            for held in service_scopes(kube)
            for host in hosts
        )

    settle(
        lambda: any(view.each(unread, primaries).values()),
        lambda waiting: not waiting,
        deadline=patient(READ_SECONDS),
        interval=_INTERVAL,
    )


def export(view: MeshView, cluster: str, item: Json) -> None:
    """Make a ServiceExport, anew where istiod has made it by itself: see `await_read`.

    Raises:
        ProbeError: the API server cannot be asked or refuses.
    """
    if view.lab.external:
        delete(view, cluster, item)
    create(view, cluster, item)


def create(view: MeshView, cluster: str, item: Json) -> None:
    """Make an object in the namespace of the workloads; one that exists by that name was left by a
    killed run.

    Raises:
        ProbeError: the API server cannot be asked or refuses.
    """
    with KubeEditor(view.lab.clusters[cluster]) as editor:
        editor.create(item, view.kube[cluster].sample_namespace)


def delete(view: MeshView, cluster: str, item: Json) -> None:
    """Begin to remove an object of the namespace of the workloads, if it is there.

    Raises:
        ProbeError: the API server cannot be asked or refuses.
    """
    namespace = view.kube[cluster].sample_namespace
    with KubeEditor(view.lab.clusters[cluster]) as editor:
        editor.delete(resource_of(item), namespace, item["metadata"]["name"])
