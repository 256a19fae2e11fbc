"""Which proxies each istiod configures, and what they have accepted: what `istioctl proxy-status`
shows.

Source: Istio, Debugging Envoy and Istiod; Envoy, xDS protocol (ACK and NACK).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from math import inf
from typing import Any, Final

from mesh_fixtures.kube import KubeClient, Pod, Source
from mesh_fixtures.probe.answers import answer_in, readable
from mesh_fixtures.probe.istiod import debug, of_each

SYNCED: Final = "synced"
NOT_SENT: Final = "not sent"

AMBIENT: Final = frozenset({"ztunnel", "waypoint"})
"""Kinds of the proxies of the ambient mode (Istio: Ambient, Architecture)."""

ROUTER: Final = "router"
"""Kind of the proxy of a gateway; that of a workload is `sidecar`."""

SYNC_PATH: Final = "/debug/syncz"
_TYPES: Final = {
    "CDS": ("cluster", "type.googleapis.com/envoy.config.cluster.v3.Cluster"),
    "LDS": ("listener", "type.googleapis.com/envoy.config.listener.v3.Listener"),
    "EDS": ("endpoint", "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment"),
    "RDS": ("route", "type.googleapis.com/envoy.config.route.v3.RouteConfiguration"),
}
_SHOWN: Final = 200

Json = Mapping[str, Any]


@dataclass(frozen=True)
class XdsClient:
    """A proxy that is connected to an istiod.

    Attributes:
        proxy: `pod.namespace`.
        kind: `sidecar` or `router`.
        cluster_id: the mesh's name of its cluster, as the proxy says.
        states: by `CDS`, `LDS`, `EDS` and `RDS`: `synced`, `stale`, `not sent`, or
            `rejected: ...` with Envoy's words.
    """

    proxy: str
    kind: str
    cluster_id: str
    states: Mapping[str, str]

    def __str__(self) -> str:
        return ", ".join(f"{kind} {state}" for kind, state in self.states.items())


@dataclass(frozen=True)
class XdsClients:
    """Every proxy that is connected to one istiod, by its id.

    Attributes:
        istiod: name of the pod.
        age: of the pod, in seconds; infinite where it is not known.
    """

    source: Source
    cluster: str
    istiod: str
    clients: Mapping[str, XdsClient]
    age: float = inf


def xds_clients(kube: KubeClient) -> tuple[XdsClients, ...]:
    """The proxies of each ready istiod in a cluster; empty without any istiod.

    Raises:
        ProbeError: one of them did not answer, or not as istiod does.
    """
    return of_each(kube, lambda pod: _asked(kube, pod))


def _asked(kube: KubeClient, pod: Pod) -> XdsClients:
    answer = debug(kube, pod, SYNC_PATH)
    clients = read_clients(answer.source, answer.text)
    return XdsClients(answer.source, kube.name, pod.name, clients, _age(kube, pod))


def _age(kube: KubeClient, pod: Pod) -> float:
    try:
        created = datetime.fromisoformat(pod.meta.created)
    except ValueError:
        return inf
    return (kube.now() - created).total_seconds()


def read_clients(source: Source, answer: str) -> Mapping[str, XdsClient]:
    """Read an istiod's answer to `/debug/syncz`.

    Raises:
        ProbeError: it is none.
    """
    by_hand = f"istioctl --context={source.cluster} proxy-status"
    with readable(source, answer, "the proxies that istiod configures", by_hand):
        statuses: Iterable[Json] = answer_in(answer)
        return {
            each["proxy"]: XdsClient(
                proxy=each["proxy"],
                kind=each["proxy_type"],
                cluster_id=each.get("cluster_id", ""),
                states={kind: _state(each, *names) for kind, names in _TYPES.items()},
            )
            for each in statuses
        }


def _state(status: Json, name: str, type_url: str) -> str:
    sent, accepted = status.get(f"{name}_sent"), status.get(f"{name}_acked")
    rejection = (status.get("resources") or {}).get(type_url, {}).get("lastError")
    if not sent:
        return NOT_SENT
    if sent == accepted:
        return SYNCED
    return f"rejected: {_shortened(rejection)}" if rejection else "stale"


def _shortened(rejection: str) -> str:
    """Envoy's words without the resource, which it prints whole before it says what is wrong."""
    words = " ".join(rejection.split())
    return words if len(words) <= _SHOWN else f"... {words[-_SHOWN:]}"
