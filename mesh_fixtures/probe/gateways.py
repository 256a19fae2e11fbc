"""East-west gateways: their addresses, their pods, and what their proxies listen at."""

from __future__ import annotations

import socket
from dataclasses import dataclass
from typing import Final

from mesh_fixtures.install.names import SYSTEM_NAMESPACE
from mesh_fixtures.kube import KubeClient, Pod, Service, Source
from mesh_fixtures.kube.resources import PODS, SERVICES
from mesh_fixtures.probe.envoy import Listeners, listeners
from mesh_fixtures.scenario import STATUS_PORT

SELECTOR: Final = "istio=eastwestgateway"
"""Label of the gateway's Service and pods, by istioctl as by Helm (Istio: Multicluster guide)."""

_METRICS_PORT: Final = 15090

OWN_PORTS: Final = frozenset({STATUS_PORT, _METRICS_PORT})
"""Ports that every proxy serves for its kubelet and for metrics (Istio: Ports used by Istio)."""


@dataclass(frozen=True)
class Gateway:
    """An east-west gateway of a cluster.

    Attributes:
        addresses: external addresses or host names of its Service; empty while pending.
        pods: those that select its Service, whatever their state.
    """

    source: Source
    cluster: str
    service: Service
    pods: tuple[Pod, ...]

    @property
    def addresses(self) -> tuple[str, ...]:
        return self.service.external

    def __str__(self) -> str:
        pods = ", ".join(f"{pod.name} {pod.state}" for pod in self.pods) or "no pod"
        addresses = ", ".join(self.addresses) or "no external address"
        return f"service {self.service.meta}: {addresses}; {pods}"


def gateways(kube: KubeClient) -> tuple[Gateway, ...]:
    """East-west gateways of a cluster, by name of their Service.

    Raises:
        ProbeError: the API server cannot be asked.
    """
    source = kube.source("services,pods", SYSTEM_NAMESPACE, f"-l {SELECTOR}")
    services = kube.list(SERVICES, SYSTEM_NAMESPACE, SELECTOR)
    pods = kube.list(PODS, SYSTEM_NAMESPACE, SELECTOR) if services else ()
    return tuple(
        Gateway(source, kube.name, service, tuple(pod for pod in pods if _selects(service, pod)))
        for service in services
        if service.kind == "LoadBalancer"
    )


def resolved(address: str) -> tuple[str, ...]:
    """IPv4 addresses of a gateway whose address may be a host name, which istiod looks up too.

    Returns:
        The name itself where this machine does not know it.
    """
    try:
        found = socket.getaddrinfo(address, None, socket.AF_INET, socket.SOCK_STREAM)
    except OSError:
        return (address,)
    return tuple(sorted({str(each[4][0]) for each in found}))


def listening(kube: KubeClient, gateway: Gateway) -> tuple[Listeners, ...]:
    """What each ready pod of a gateway listens at.

    Raises:
        ProbeError: a proxy did not answer.
    """
    return tuple(listeners(kube, pod) for pod in gateway.pods if pod.serving)


def _selects(service: Service, pod: Pod) -> bool:
    wanted = service.selector.items()
    return bool(wanted) and wanted <= pod.meta.labels.items()
