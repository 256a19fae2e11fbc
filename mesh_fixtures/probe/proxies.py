"""The proxies of a cluster: sidecars of the sample workloads, and those of gateways.

Source: Istio, Installing the Sidecar; Envoy, Administration interface (`/config_dump`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

from mesh_fixtures.errors import ProbeError
from mesh_fixtures.kube import KubeClient, Pod, Source
from mesh_fixtures.kube.resources import PODS
from mesh_fixtures.parallel import parallel_map
from mesh_fixtures.probe.envoy import PROXY, admin
from mesh_fixtures.probe.gateways import gateways

_NODE: Final = "config_dump?mask=bootstrap.node.metadata"
_SHOWN: Final = 200

Value = TypeVar("Value")


@dataclass(frozen=True)
class Proxy:
    """A pod whose proxy was started, and that is not going away; it need not be ready.

    Attributes:
        cluster: the scenario's name of its cluster.
    """

    source: Source
    cluster: str
    pod: Pod

    @property
    def id(self) -> str:
        """How istiod calls it: `pod.namespace`."""
        return f"{self.pod.name}.{self.pod.meta.namespace}"

    def __str__(self) -> str:
        return str(self.pod.meta)


@dataclass(frozen=True)
class NodeMetadata:
    """What a running proxy reports to istiod about itself. Each is empty when not reported."""

    source: Source
    cluster_id: str
    network: str
    mesh_id: str


@dataclass(frozen=True)
class ProxyAnswers(Generic[Value]):
    """What proxies answered, each by itself.

    Attributes:
        silent: those that did not answer, and why.
    """

    answered: tuple[tuple[Proxy, Value], ...]
    silent: tuple[tuple[Proxy, ProbeError], ...] = ()


def proxies(kube: KubeClient) -> tuple[Proxy, ...]:
    """The proxies of the sample workloads and of gateways, by namespace and name.

    Raises:
        ProbeError: the API server cannot be asked.
    """
    passing = [pod for gateway in gateways(kube) for pod in gateway.pods]
    pods = {
        (pod.meta.namespace, pod.name): pod
        for pod in (*passing, *kube.list(PODS, kube.sample_namespace))
    }
    return tuple(
        Proxy(kube.source("pods", namespace), kube.name, pod)
        for (namespace, _), pod in sorted(pods.items())
        if _has_started(pod)
    )


def _has_started(pod: Pod) -> bool:
    """Whether its proxy should be connected, also while the pod waits for just that: a native
    sidecar is started before the other containers, and the pod is pending until then.
    """
    container = pod.container(PROXY)
    return container is not None and container.running and not pod.terminating


def ask_each(kube: KubeClient, ask: Callable[[KubeClient, Pod], Value]) -> ProxyAnswers[Value]:
    """What each ready proxy of a cluster answers; all are asked at the same time.

    Raises:
        ProbeError: as `proxies`.
    """

    def asked(proxy: Proxy) -> Value | ProbeError:
        try:
            return ask(kube, proxy.pod)
        except ProbeError as error:
            return error

    ready = {proxy.id: proxy for proxy in proxies(kube) if proxy.pod.serving}
    found = parallel_map(lambda name: asked(ready[name]), ready)
    answered, silent = [], []
    for name, seen in found.items():
        if isinstance(seen, ProbeError):
            silent.append((ready[name], seen))
        else:
            answered.append((ready[name], seen))
    return ProxyAnswers(tuple(answered), tuple(silent))


def node_metadata(kube: KubeClient, pod: Pod) -> NodeMetadata:
    """The metadata by which a pod's proxy introduces itself to istiod.

    Raises:
        ProbeError: the proxy did not answer, or not as Envoy does.
    """
    source, answer = admin(kube, pod, _NODE)
    try:
        (bootstrap,) = (each["bootstrap"] for each in answer["configs"] if "bootstrap" in each)
        metadata = bootstrap["node"]["metadata"]
        return NodeMetadata(
            source=source,
            cluster_id=str(metadata.get("CLUSTER_ID", "")),
            network=str(metadata.get("NETWORK", "")),
            mesh_id=str(metadata.get("MESH_ID", "")),
        )
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise ProbeError(
            wanted="the metadata of a proxy's node",
            seen=f"{error!r} in {str(answer)[:_SHOWN]}",
            where=f"{source.cluster} {source.subject}",
            remedy=f"by hand: {source.asked}",
        ) from error
