"""The API servers that each istiod reads.

istiod answers its debug interface without a token on its own loopback address: through a forwarded
port, or to the client that its image holds (`pilot-discovery request`), by an exec.
Source: Istio, istioctl remote-clusters; pilot-discovery request.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final, TypeVar

from mesh_fixtures.errors import ProbeError
from mesh_fixtures.kube import HttpAnswer, KubeClient, Pod, Source
from mesh_fixtures.kube.resources import PODS
from mesh_fixtures.parallel import parallel_map
from mesh_fixtures.probe.answers import answer_in, readable

OWN_KUBECONFIG: Final = "istio-kubeconfig"
"""Secret by which an external istiod reads the cluster that it has its configuration from. istioctl
labels it like a remote secret, so that istiod reads that cluster a second time, under the name of
the entry, where it looks for these in its own cluster (Istio: create-remote-secret, --type=config;
LOCAL_CLUSTER_SECRET_WATCHER)."""

SELECTOR: Final = "app=istiod"
CONTAINER: Final = "discovery"
SYNCED: Final = "synced"

_PORT: Final = 15014
"""Where an istiod answers (Istio: Ports used by Istio)."""

_NOT_FOUND: Final = "404 page not found"
"""What `pilot-discovery request` prints, and calls a success."""

MESH_PATH: Final = "/debug/mesh"
METRICS_PATH: Final = "/metrics"
_SIGNING_UNTIL: Final = "citadel_server_cert_chain_expiry_timestamp"
"""Metric of istiod: seconds since 1970 of the end of the certificate that it signs with."""

_CLOSED: Final = (
    "let istiod answer at /debug, which from elsewhere than its own pod takes a token: remove "
    "ENABLE_DEBUG_ON_HTTP=false from its environment"
)
"""An istiod without it does not answer over xDS either, but what proxies have accepted (Istio:
pilot/pkg/xds, AddDebugHandlers, DebugGen)."""

_CLUSTERS_PATH: Final = "/debug/clusterz"
_SHOWN: Final = 200


Value = TypeVar("Value")


class DebugClosed(ProbeError):
    """An istiod answers, but has no debug interface."""


@dataclass(frozen=True)
class RemoteCluster:
    """A cluster that an istiod reads, its own one included.

    Attributes:
        id: the cluster's name within the mesh.
        secret: `namespace/name` of the secret with its kubeconfig; empty for istiod's own.
        sync_status: `synced`, `syncing` or `timeout`.
        istiod: name of the pod that reports it.
    """

    id: str
    secret: str
    sync_status: str
    istiod: str

    @property
    def synced(self) -> bool:
        return self.sync_status == SYNCED

    def __str__(self) -> str:
        return f"{self.id} {self.sync_status}"


@dataclass(frozen=True)
class KnownClusters:
    """Every cluster that one istiod reads, by id.

    Attributes:
        again: its own one, by `OWN_KUBECONFIG`, under other names.
    """

    source: Source
    istiod: str
    clusters: tuple[RemoteCluster, ...]
    again: tuple[RemoteCluster, ...] = ()

    def __str__(self) -> str:
        return ", ".join(map(str, self.clusters)) or "none"

    def reading(self, cluster: str) -> str:
        """`namespace/name` of the secret by which a cluster is read; empty unless it is synced."""
        return next((one.secret for one in self.clusters if one.id == cluster and one.synced), "")


def istiods(kube: KubeClient) -> tuple[Pod, ...]:
    """Pods of istiod in a cluster, whatever their state.

    Raises:
        ProbeError: the API server cannot be asked.
    """
    return kube.list(PODS, kube.names.system_namespace, SELECTOR)


def of_each(kube: KubeClient, ask: Callable[[Pod], Value]) -> tuple[Value, ...]:
    """What each ready istiod in a cluster says, asked at the same time; empty without any istiod.

    Raises:
        ProbeError: the API server cannot be asked.
        Exception: as `ask`.
    """
    pods = {pod.name: pod for pod in istiods(kube) if pod.serving}
    return tuple(parallel_map(lambda name: ask(pods[name]), pods).values())


def remote_clusters(kube: KubeClient) -> tuple[KnownClusters, ...]:
    """The API servers that each ready istiod in a cluster reads; empty without any.

    Raises:
        ProbeError: one of them did not answer.
    """
    return of_each(kube, lambda pod: _asked(kube, pod))


def debug(kube: KubeClient, pod: Pod, path: str) -> HttpAnswer:
    """What an istiod's debug interface answers to a GET.

    Args:
        path: begins with `/debug/`, or is `/metrics`.

    Raises:
        DebugClosed: it has none.
        ProbeError: no answer.
    """
    if kube.forwards:
        answer = kube.ask(pod.meta.namespace, pod.name, _PORT, path)
        if answer.status == HTTPStatus.NOT_FOUND:
            raise _closed(answer.source, path)
        if answer.status != HTTPStatus.OK:
            raise _silent(answer.source, path, f"HTTP {answer.status} {answer.text[:_SHOWN]}")
        return answer
    argv = ("pilot-discovery", "request", "GET", path)
    result = kube.exec(pod.meta.namespace, pod.name, CONTAINER, argv)
    if result.exit_status != 0:
        raise _silent(result.source, path, result.stderr.strip() or f"exit {result.exit_status}")
    if result.stdout.startswith(_NOT_FOUND):
        raise _closed(result.source, path)
    return HttpAnswer(result.source, HTTPStatus.OK, result.stdout)


def signing_until(kube: KubeClient, pod: Pod) -> float | None:
    """When the certificate ends that an istiod signs with by now, in seconds since 1970; None
    where it does not say.

    Raises:
        ProbeError: no answer.
    """
    return metric_in(debug(kube, pod, METRICS_PATH).text, _SIGNING_UNTIL)


def metric_in(text: str, name: str) -> float | None:
    """The value of a metric without labels; None where it is not among an istiod's metrics.

    Args:
        text: the answer at `METRICS_PATH` (source: Prometheus, Exposition formats).
    """
    match = re.search(rf"^{name} (\S+)$", text, re.MULTILINE)
    return float(match[1]) if match else None


def require_debug(kube: KubeClient) -> None:
    """See to it that the ready istiods of a cluster have a debug interface, as far as they answer.

    Raises:
        DebugClosed: one of them has none.
    """
    try:
        remote_clusters(kube)
    except DebugClosed:
        raise
    except ProbeError:
        return  # which is for requirements to judge


def _silent(source: Source, path: str, seen: str) -> ProbeError:
    return ProbeError(
        wanted=f"an answer of istiod's {path}",
        seen=seen,
        where=f"{source.cluster} {source.subject}",
        remedy=f"by hand: {source.asked}",
    )


def _closed(source: Source, path: str) -> DebugClosed:
    return DebugClosed(
        wanted=f"an answer of istiod's {path}",
        seen=_NOT_FOUND,
        where=f"{source.cluster} {source.subject}",
        remedy=_CLOSED,
    )


def _asked(kube: KubeClient, pod: Pod) -> KnownClusters:
    result = debug(kube, pod, _CLUSTERS_PATH)
    return read_clusters(result.source, pod.name, result.text)


def read_clusters(source: Source, istiod: str, answer: str) -> KnownClusters:
    """Read an istiod's answer to `/debug/clusterz`.

    Raises:
        ProbeError: it is none.
    """
    by_hand = f"istioctl --context={source.cluster} remote-clusters"
    with readable(source, answer, "the list of clusters that istiod reads", by_hand):
        known: list[dict[str, Any]] = answer_in(answer)
        clusters = [
            RemoteCluster(each["id"], each.get("secretName", ""), each["syncStatus"], istiod)
            for each in known
        ]
    own = [each for each in clusters if each.secret.rpartition("/")[2] == OWN_KUBECONFIG]
    others = [each for each in clusters if each not in own]
    return KnownClusters(
        source, istiod, tuple(sorted(others, key=lambda each: each.id)), tuple(own)
    )
