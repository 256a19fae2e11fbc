"""Services of other clusters of which an istiod holds no endpoint, although it reads the cluster.

istiod holds a shard for each service and cluster: it is filled by the service's EndpointSlices,
whether or not other clusters have such a service or namespace, and whoever may use it: exportTo,
clusterLocal, networks, locality and exports (Multi-Cluster Services) count for what proxies get.
What keeps services out of it is looked at before anything is called lost.

What a cluster has is what its own istiods hold of it, as both are filled by the same rules; for a
cluster without one, its EndpointSlices. Only pods that take traffic are counted: endpoints from
WorkloadEntries may be in one istiod's shard and not in the other's.
Source: Istio, `pilot/pkg/model` (EndpointShards), `pilot/pkg/serviceregistry/kube/controller`;
`/debug/endpointShardz`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from mesh_fixtures.errors import NotPermitted
from mesh_fixtures.install.names import EXPORT_TO
from mesh_fixtures.kube import EndpointSlice, KubeClient, Pod, Service, Source
from mesh_fixtures.kube.admission import Selector
from mesh_fixtures.kube.resources import ENDPOINT_SLICES, NAMESPACES, SERVICES
from mesh_fixtures.parallel import parallel_map
from mesh_fixtures.probe.answers import readable
from mesh_fixtures.probe.istiod import debug, istiods, of_each, remote_clusters
from mesh_fixtures.probe.mesh_configuration import mesh_configuration
from mesh_fixtures.probe.shards import HELD, PATH, SERVICE_LABEL, addresses_of, shards_in
from mesh_fixtures.probe.view import MeshView
from mesh_fixtures.scenario import Scenario
from mesh_fixtures.wording import first_of

Addresses = Mapping[str, frozenset[str]]
"""Of endpoints, by service (`namespace/name`)."""

_KUBERNETES: Final = "Kubernetes"
_HEALTHY: Final = 1
"""Of an endpoint that takes traffic (Istio, `pilot/pkg/model`: HealthStatus)."""

_EXPORTED_SLICE: Final = "multicluster.kubernetes.io/service-name"
"""Label of EndpointSlices that istiod leaves out (KEP-1645)."""

_NOWHERE: Final = "~"
"""Namespace in `EXPORT_TO` for nobody; istiod does not follow such a service's EndpointSlices."""

_OF_KUBERNETES: Final = "kube-system"
_AT_A_TIME: Final = 8
_SHOWN: Final = 3


@dataclass(frozen=True)
class HeldServices:
    """What one istiod holds of the services of Kubernetes in each cluster.

    Attributes:
        istiod: name of the pod.
        addresses: of all endpoints, by cluster.
        serving: services that a pod takes traffic for, by cluster.
    """

    source: Source
    istiod: str
    addresses: Mapping[str, Addresses]
    serving: Mapping[str, frozenset[str]]


@dataclass(frozen=True)
class Look:
    """What istiods hold and what clusters have, at about the same time.

    Attributes:
        held: of each istiod that is ready, by its cluster.
        has: addresses of each service that a pod takes traffic for, by cluster; None for a cluster
            whose EndpointSlices may not be listed.
    """

    held: Mapping[str, Sequence[HeldServices]]
    has: Mapping[str, Addresses | None]


@dataclass(frozen=True)
class LostServices:
    """Services of a cluster of which an istiod holds no address.

    Attributes:
        reader: the istiod's cluster.
        istiod: name of its pod.
        services: with the addresses that the cluster has or had since they are missed.
    """

    source: Source
    reader: str
    istiod: str
    cluster: str
    services: Addresses


def look(view: MeshView) -> Look:
    """What istiods hold of the clusters that they read, and what these have.

    Raises:
        ProbeError: a cluster, or an istiod in one, did not answer, or not as it should.
    """
    primaries = {each.name for each in view.scenario.primaries}
    held = view.each(held_services, [name for name in view.kube if name in primaries])
    remotes = view.each(_of_slices_in, [name for name in view.kube if name not in primaries])
    own = {name: of_istiods(name, those) for name, those in held.items()}
    return Look(held, {**own, **remotes})


def held_services(kube: KubeClient) -> tuple[HeldServices, ...]:
    """What each ready istiod in a cluster holds of services; empty without any istiod.

    Raises:
        ProbeError: one of them did not answer, or not as istiod does.
    """

    def asked(istiod: Pod) -> HeldServices:
        answer = debug(kube, istiod, PATH)
        return read_services(answer.source, istiod.name, answer.text)

    return of_each(kube, asked)


def read_services(source: Source, istiod: str, answer: str) -> HeldServices:
    """Read an istiod's answer to `PATH`.

    Raises:
        ProbeError: it is none.
    """
    addresses: dict[str, dict[str, frozenset[str]]] = {}
    serving: dict[str, set[str]] = {}
    with readable(source, answer, HELD):
        for host, namespace, shards in shards_in(answer):
            name, _, domain = host.partition(".")
            if not domain.startswith(f"{namespace}.svc."):
                continue  # a ServiceEntry's
            if domain == f"{namespace}.svc.clusterset.local":
                continue  # known where the service is imported
            service = f"{namespace}/{name}"
            for shard, endpoints in shards.items():
                provider, _, cluster = shard.partition("/")
                if provider == _KUBERNETES and endpoints:
                    held = frozenset[str]().union(*map(addresses_of, endpoints))
                    addresses.setdefault(cluster, {})[service] = held
                    if any(map(_is_serving_pod, endpoints)):
                        serving.setdefault(cluster, set()).add(service)
    return HeldServices(
        source, istiod, addresses, {name: frozenset(each) for name, each in serving.items()}
    )


def _is_serving_pod(endpoint: Mapping[str, Any]) -> bool:
    """Those that are made of anything but pods are on no node."""
    return bool(endpoint.get("NodeName")) and endpoint.get("HealthStatus") == _HEALTHY


def of_istiods(cluster: str, held: Sequence[HeldServices]) -> Addresses:
    """What a cluster has by what its own istiods hold: services that each of them knows."""
    if not held:
        return {}
    known = frozenset.intersection(*(each.serving.get(cluster, frozenset()) for each in held))
    return {
        service: frozenset().union(*(each.addresses[cluster][service] for each in held))
        for service in known
    }


def of_slices(slices: Iterable[EndpointSlice]) -> Addresses:
    """What a cluster has by its EndpointSlices."""
    found: dict[str, set[str]] = {}
    for each in slices:
        service = each.meta.labels.get(SERVICE_LABEL)
        if service and each.pods and _EXPORTED_SLICE not in each.meta.labels:
            found.setdefault(f"{each.meta.namespace}/{service}", set()).update(each.pods)
    return {service: frozenset(addresses) for service, addresses in found.items()}


def _of_slices_in(kube: KubeClient) -> Addresses | None:
    try:
        return of_slices(kube.list(ENDPOINT_SLICES))
    except NotPermitted:
        return None


def missing(scenario: Scenario, seen: Look) -> tuple[LostServices, ...]:
    """Services of which an istiod holds no address that their cluster has."""
    found = []
    for reader, those in seen.held.items():
        for cluster in judged_in(scenario, reader):
            for each in those:
                of_istiod = each.addresses.get(cluster, {})
                lost = {
                    service: addresses
                    for service, addresses in sorted((seen.has.get(cluster) or {}).items())
                    if not addresses & of_istiod.get(service, frozenset())
                }
                if lost:
                    found.append(LostServices(each.source, reader, each.istiod, cluster, lost))
    return tuple(found)


def judged_in(scenario: Scenario, reader: str) -> tuple[str, ...]:
    """Clusters that an istiod reads, but for the one that it is in."""
    return tuple(name for name in scenario.read_by(reader) if name != reader)


def still_missing(lost: Iterable[LostServices], now: Look) -> tuple[LostServices, ...]:
    """Of services that were missed before, those that the same istiod holds no address of now: none
    that the cluster has, or had meanwhile.
    """
    return tuple(left for each in lost if (left := _left(each, now)).services)


def _left(lost: LostServices, now: Look) -> LostServices:
    has = now.has.get(lost.cluster) or {}
    istiod = next((each for each in now.held[lost.reader] if each.istiod == lost.istiod), None)
    if istiod is None:  # it is gone, and what it held with it
        return replace(lost, services={})
    held = istiod.addresses.get(lost.cluster, {})
    known = {
        service: before | has[service]
        for service, before in lost.services.items()
        if service in has
    }
    return replace(
        lost,
        services={
            service: addresses
            for service, addresses in known.items()
            if not addresses & held.get(service, frozenset())
        },
    )


def expected(view: MeshView, lost: Iterable[LostServices]) -> tuple[LostServices, ...]:
    """Without what an istiod need not hold: services of a cluster that is not synced, of namespaces
    that its discoverySelectors leave out, or that are exported to no namespace at all.

    Raises:
        ProbeError: somebody who is asked for that does not answer.
    """
    missed = tuple(lost)
    if not missed:
        return ()
    kept = {
        cluster: _followed(view.kube[cluster])
        for cluster in dict.fromkeys(each.cluster for each in missed)
    }
    synced = {
        reader: _synced(view.kube[reader]) for reader in dict.fromkeys(one.reader for one in missed)
    }
    found = []
    for each in missed:
        if each.cluster in synced[each.reader].get(each.istiod, ()):
            selectors = _selectors(view.kube[each.reader], each.istiod)
            followed = {
                service: addresses
                for service, addresses in each.services.items()
                if service in kept[each.cluster]
            }
            selected = _selected(view.kube[each.cluster], selectors, followed)
            left = {
                service: addresses
                for service, addresses in followed.items()
                if _namespace(service) in selected
            }
            if left:
                found.append(replace(each, services=left))
    return tuple(found)


def in_order(services: Iterable[str], system_namespace: str) -> tuple[str, ...]:
    """Services by name: those of Kubernetes and of the mesh itself come last.

    Args:
        system_namespace: of the mesh's control plane.
    """
    last = (_OF_KUBERNETES, system_namespace)
    return tuple(sorted(services, key=lambda name: (_namespace(name) in last, name)))


def in_short(services: Iterable[str]) -> str:
    """How many services, and the names of the first."""
    names = list(services)
    return f"{len(names)} service{'s' * (len(names) > 1)}: {first_of(names, _SHOWN, ', ')}"


def _synced(kube: KubeClient) -> Mapping[str, frozenset[str]]:
    """Ids of the clusters that each istiod says are synced, by its pod."""
    return {
        known.istiod: frozenset(each.id for each in known.clusters if each.synced)
        for known in remote_clusters(kube)
    }


def _followed(kube: KubeClient) -> frozenset[str]:
    """Services whose EndpointSlices an istiod follows."""
    return frozenset(str(each.meta) for each in kube.list(SERVICES) if is_followed(each))


def is_followed(service: Service) -> bool:
    """Whether an istiod follows a service's EndpointSlices."""
    exported = service.meta.annotations.get(EXPORT_TO, "")
    return _NOWHERE not in [each.strip() for each in exported.split(",")]


def _selectors(kube: KubeClient, istiod: str) -> tuple[Selector, ...]:
    pods: dict[str, Pod] = {pod.name: pod for pod in istiods(kube)}
    return mesh_configuration(kube, pods[istiod]).selectors


def _selected(
    kube: KubeClient, selectors: Sequence[Selector], services: Iterable[str]
) -> frozenset[str]:
    """Namespaces of services that one of the selectors is for; all of them without selectors."""
    names = dict.fromkeys(map(_namespace, services))
    if not selectors:
        return frozenset(names)
    found = parallel_map(lambda name: kube.get(NAMESPACES, "", name), names, at_most=_AT_A_TIME)
    return frozenset(
        name
        for name, each in found.items()
        if each is not None and any(one.matches(each.meta.labels) for one in selectors)
    )


def _namespace(service: str) -> str:
    return service.partition("/")[0]
