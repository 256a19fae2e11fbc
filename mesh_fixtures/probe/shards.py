"""What each istiod holds of a service in each cluster that it reads, and what these clusters have.

istiod keeps the endpoints that it reads from each cluster's EndpointSlices in a shard of its own,
and makes of these what proxies get. That a cluster was synced once says nothing of its shard now.
Source: Istio, `pilot/pkg/model` (EndpointShards), `/debug/endpointShardz`; Kubernetes,
EndpointSlice.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from mesh_fixtures.kube import KubeClient, Pod, Source
from mesh_fixtures.kube.resources import ENDPOINT_SLICES
from mesh_fixtures.probe.answers import answer_in, readable
from mesh_fixtures.probe.envoy import host_of
from mesh_fixtures.probe.istiod import debug, of_each
from mesh_fixtures.workloads import SERVICE

PATH: Final = "/debug/endpointShardz"
HELD: Final = "the endpoints that istiod holds"

Addresses = Mapping[str, Mapping[str, frozenset[str]]]
"""Addresses of endpoints, by host and by the id of the cluster that they were read from."""

SERVICE_LABEL: Final = "kubernetes.io/service-name"


@dataclass(frozen=True)
class ShardEndpoint:
    """An address of a service, as an istiod holds it.

    Attributes:
        cluster: id of the cluster that it was read from.
        mutual_tls: whether istiod takes it for one that has a proxy.
    """

    cluster: str
    address: str
    network: str
    mutual_tls: bool


@dataclass(frozen=True)
class Shards:
    """All that one istiod holds of HelloWorld.

    Attributes:
        istiod: name of the pod.
    """

    source: Source
    istiod: str
    endpoints: tuple[ShardEndpoint, ...]

    def of(self, cluster: str) -> frozenset[str]:
        """Addresses that it read from a cluster."""
        return frozenset(each.address for each in self.endpoints if each.cluster == cluster)


@dataclass(frozen=True)
class HeldNetworks:
    """The networks on which one istiod takes all endpoints to be that it holds.

    Attributes:
        istiod: name of the pod.
        counts: how many endpoints, by cluster and network; a network that it does not know is "".
    """

    source: Source
    istiod: str
    counts: Mapping[str, Counter[str]]

    def of(self, cluster: str) -> str | None:
        """The network of most of a cluster's endpoints; None if it holds none."""
        found = self.counts.get(cluster)
        return found.most_common(1)[0][0] if found else None


@dataclass(frozen=True)
class Slices:
    """What a cluster's EndpointSlices of HelloWorld have.

    Attributes:
        ready: addresses that take traffic.
        not_ready: addresses that do not, or not any more.
    """

    source: Source
    ready: frozenset[str]
    not_ready: frozenset[str]


def shards(kube: KubeClient) -> tuple[Shards, ...]:
    """What each ready istiod in a cluster holds of HelloWorld; empty without any istiod.

    Raises:
        ProbeError: one of them did not answer, or not as istiod does.
    """
    return of_each(kube, lambda pod: shards_of(kube, pod))


def held_networks(kube: KubeClient) -> tuple[HeldNetworks, ...]:
    """The networks of all endpoints that each ready istiod in a cluster holds.

    istiod takes a pod for one of the network that the pod's own label says, else the label of its
    cluster's system namespace, else the mesh configuration's `meshNetworks`.
    Source: Istio, Resource Labels (topology.istio.io/network); Global Mesh Options, MeshNetworks.

    Raises:
        ProbeError: one of them did not answer, or not as istiod does.
    """

    def asked(istiod: Pod) -> HeldNetworks:
        answer = debug(kube, istiod, PATH)
        return read_networks(answer.source, istiod.name, answer.text)

    return of_each(kube, asked)


def shards_of(kube: KubeClient, istiod: Pod) -> Shards:
    """What an istiod holds of HelloWorld.

    Raises:
        ProbeError: as `shards`.
    """
    answer = debug(kube, istiod, PATH)
    return read_shards(
        answer.source, istiod.name, kube.sample_namespace, host_of(kube), answer.text
    )


def read_shards(source: Source, istiod: str, namespace: str, host: str, answer: str) -> Shards:
    """Read an istiod's answer to `PATH`.

    Args:
        namespace: of HelloWorld.
        host: full name of its service.

    Raises:
        ProbeError: it is none.
    """
    with readable(source, answer, HELD):
        services: Mapping[str, Any] = answer_in(answer) or {}
        held = services.get(host, {}).get(namespace, {}).get("Shards") or {}
        return Shards(source, istiod, tuple(_endpoints(held)))


def read_networks(source: Source, istiod: str, answer: str) -> HeldNetworks:
    """Read the networks of all endpoints in an istiod's answer to `PATH`.

    Raises:
        ProbeError: it is none.
    """
    counts: dict[str, Counter[str]] = {}
    with readable(source, answer, HELD):
        for _, _, held in shards_in(answer):
            for each in _endpoints(held):
                counts.setdefault(each.cluster, Counter())[each.network] += 1
    return HeldNetworks(source, istiod, counts)


def read_addresses(source: Source, answer: str) -> Addresses:
    """Read the addresses of all endpoints in an istiod's answer to `PATH`.

    Raises:
        ProbeError: it is none.
    """
    found: dict[str, dict[str, set[str]]] = {}
    with readable(source, answer, HELD):
        for host, _, held in shards_in(answer):
            for each in _endpoints(held):
                found.setdefault(host, {}).setdefault(each.cluster, set()).add(each.address)
    return {
        host: {cluster: frozenset(addresses) for cluster, addresses in clusters.items()}
        for host, clusters in found.items()
    }


def shards_in(answer: str) -> Iterator[tuple[str, str, Mapping[str, Any]]]:
    """Host, namespace and shards of each service in an istiod's answer to `PATH`.

    Raises:
        ValueError, TypeError, AttributeError: it is none; `readable` says so.
    """
    services: Mapping[str, Any] = answer_in(answer) or {}
    for host, by_namespace in services.items():
        for namespace, service in by_namespace.items():
            yield host, namespace, service.get("Shards") or {}


def addresses_of(endpoint: Mapping[str, Any]) -> Sequence[str]:
    """Addresses of an endpoint of a shard, of all families."""
    return endpoint.get("Addresses") or [endpoint.get("Address", "")]


def slices(kube: KubeClient) -> Slices:
    """What a cluster's EndpointSlices of HelloWorld have.

    Raises:
        ProbeError: the API server cannot be asked.
    """
    selector, namespace = f"{SERVICE_LABEL}={SERVICE}", kube.sample_namespace
    found = kube.list(ENDPOINT_SLICES, namespace, selector)
    return Slices(
        kube.source("endpointslices", namespace, f"-l {selector}"),
        frozenset(address for each in found for address in each.addresses),
        frozenset(address for each in found for address in each.not_ready),
    )


def difference(held: Iterable[str], ready: Iterable[str], not_ready: Iterable[str]) -> str:
    """How addresses that an istiod holds of a cluster differ from what it has, in words; empty
    where they agree. Whether istiod holds those that are not ready depends on its settings.
    """
    missing = sorted({*ready} - {*held})
    gone = sorted({*held} - {*ready} - {*not_ready})
    parts = [
        *([f"lacks {', '.join(missing)}"] if missing else []),
        *([f"still has {', '.join(gone)}"] if gone else []),
    ]
    return " and ".join(parts)


def _endpoints(held: Mapping[str, Any]) -> Iterator[ShardEndpoint]:
    for shard, endpoints in sorted(held.items()):
        for each in endpoints or ():
            for address in addresses_of(each):
                yield ShardEndpoint(
                    cluster=shard.partition("/")[2],  # after the kind of registry
                    address=address,
                    network=each.get("Network", ""),
                    mutual_tls=each.get("TLSMode") == "istio",
                )
