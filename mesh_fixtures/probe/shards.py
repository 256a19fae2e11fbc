"""What each istiod holds of a service in each cluster that it reads, and what these clusters have.

istiod keeps the endpoints that it reads from each cluster's EndpointSlices in a shard of its own,
and makes of these what proxies get. That a cluster was synced once says nothing of its shard now.
Source: Istio, `pilot/pkg/model` (EndpointShards), `/debug/endpointShardz`; Kubernetes,
EndpointSlice.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from mesh_fixtures.errors import ProbeError
from mesh_fixtures.kube import KubeClient, Pod, Source
from mesh_fixtures.kube.resources import ENDPOINT_SLICES
from mesh_fixtures.parallel import parallel_map
from mesh_fixtures.probe.answers import answer_in
from mesh_fixtures.probe.envoy import host_of
from mesh_fixtures.probe.istiod import debug, istiods
from mesh_fixtures.workloads import SERVICE

PATH: Final = "/debug/endpointShardz"

_SERVICE_LABEL: Final = "kubernetes.io/service-name"
_SHOWN: Final = 200


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
    pods = {pod.name: pod for pod in istiods(kube) if pod.serving}
    return tuple(parallel_map(lambda name: shards_of(kube, pods[name]), pods).values())


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
    try:
        services: Mapping[str, Any] = answer_in(answer) or {}
        held = services.get(host, {}).get(namespace, {}).get("Shards") or {}
        found = tuple(_endpoints(held))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ProbeError(
            wanted="the endpoints that istiod holds of HelloWorld",
            seen=f"{error!r} in {answer[:_SHOWN]}",
            where=f"{source.cluster} {source.subject}",
            remedy=f"by hand: {source.asked}",
        ) from error
    return Shards(source, istiod, found)


def slices(kube: KubeClient) -> Slices:
    """What a cluster's EndpointSlices of HelloWorld have.

    Raises:
        ProbeError: the API server cannot be asked.
    """
    selector, namespace = f"{_SERVICE_LABEL}={SERVICE}", kube.sample_namespace
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
            for address in each.get("Addresses") or [each.get("Address", "")]:
                yield ShardEndpoint(
                    cluster=shard.partition("/")[2],  # after the kind of registry
                    address=address,
                    network=each.get("Network", ""),
                    mutual_tls=each.get("TLSMode") == "istio",
                )
