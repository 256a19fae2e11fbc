"""Waits until every client's proxy knows every version of HelloWorld, and says what it took."""

from __future__ import annotations

import threading
import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from functools import partial
from math import inf
from typing import Final

from mesh_fixtures.addresses import families, with_port
from mesh_fixtures.kube import KubeClient, Pod
from mesh_fixtures.probe.envoy import (
    PLAIN,
    Balancing,
    Endpoints,
    balancing,
    endpoints,
    helloworld,
    host_of,
)
from mesh_fixtures.probe.gateways import NetworkGateway, advertised, gateways
from mesh_fixtures.probe.view import MeshView
from mesh_fixtures.probe.workloads import SLEEP, workloads
from mesh_fixtures.verdict.convergence import settle
from mesh_fixtures.verdict.expectations import (
    Backend,
    Destination,
    EndpointsVerdict,
    backends,
    destinations,
    gateways_for,
    held_in_reserve,
    judge_endpoints,
)
from mesh_fixtures.workloads import PORT, SERVICE

DEADLINE_SECONDS: Final = 30.0
INTERVAL_SECONDS: Final = 0.25
REFRESH_SECONDS: Final = 1.0


@dataclass(frozen=True)
class ClientEndpoints:
    """What a client's proxy knows, and what it must know.

    Attributes:
        client: name of the client's cluster.
        balancing: how the proxy chooses among the endpoints.
        seconds: until the proxy knew all, or until it was not waited for any longer.
        behind_gateway: whether this cluster's gateways know every pod of their network.
        gateway_seconds: until they did, after `seconds`, or were not waited for any longer.
    """

    client: str
    wanted: tuple[Destination, ...]
    seen: Endpoints
    seconds: float = 0.0
    behind_gateway: bool = True
    gateway_seconds: float = 0.0
    balancing: Balancing = PLAIN

    @property
    def verdict(self) -> EndpointsVerdict:
        return judge_endpoints(self.wanted, self.seen)

    @property
    def reserve(self) -> frozenset[str]:
        """Versions that the proxy uses only where others fail."""
        return held_in_reserve(self.wanted, self.seen)

    @property
    def leaves_out(self) -> bool:
        """Whether endpoints are missing, and nothing else is wrong, of a proxy that gets none of
        localities without a weight: whether it should, its own endpoints do not tell.
        """
        verdict = self.verdict
        only_missing = bool(verdict.missing) and not (verdict.unexpected or verdict.unhealthy)
        return self.balancing.by_locality and only_missing

    @property
    def prefers(self) -> bool:
        """Whether the proxy leaves out or holds in reserve what it could use, on purpose."""
        return bool(self.reserve) or not self.balancing.is_plain


def passing_on(kube: KubeClient, service: str = SERVICE) -> str:
    """Name of the Envoy cluster by which a cluster's gateways pass HelloWorld's traffic on, by its
    SNI.
    """
    return f"outbound_.{PORT}_._.{host_of(kube, service)}"


class _Mesh:
    """What clients must know: pods and gateways, looked at anew once that is `REFRESH_SECONDS` old.
    Threads share it.
    """

    def __init__(self, view: MeshView) -> None:
        self._view = view
        self._lock = threading.Lock()
        self._until = -inf
        self._pods: tuple[Backend, ...] = ()
        self._advertised: Mapping[str, tuple[NetworkGateway, ...]] = {}

    def behind(self, cluster: str) -> frozenset[str]:
        """Targets of the pods on a cluster's network."""
        self._refresh()
        return frozenset(
            with_port(pod.address, PORT)
            for pod in self._pods
            if self._view.scenario.same_network(pod.cluster, cluster)
        )

    def wanted(self, client: str, addresses: Collection[str]) -> tuple[Destination, ...]:
        """What a client in a cluster must know that has these addresses of its own."""
        self._refresh()
        scenario, routed = self._view.scenario, self._view.lab.external
        ways = gateways_for(scenario, client, self._advertised)
        own = families(addresses)
        return destinations(scenario, client, self._pods, ways, own, routed=routed)

    def _refresh(self) -> None:
        view = self._view
        with self._lock:
            if time.monotonic() < self._until:
                return
            running = view.each(workloads).values()
            self._pods = backends(each for those in running for each in those)
            if view.scenario.is_multi_network:
                primaries = [each.name for each in view.scenario.primaries]
                self._advertised = view.each(advertised, primaries)
            self._until = time.monotonic() + REFRESH_SECONDS


def client_endpoints(
    view: MeshView,
    seconds: float,
    service: str = SERVICE,
    clients: Mapping[str, Pod] | None = None,
) -> dict[str, ClientEndpoints]:
    """The endpoints of Sleep's proxy in each cluster, once they are complete or the deadline has
    passed. By then the gateways know where to pass traffic on to, too, or the deadline has passed.

    What they must be is looked at again and again: pods come and go, and gateways get addresses.

    Args:
        seconds: until the deadline.
        service: by which clients ask for HelloWorld.
        clients: pods whose proxies are asked, by cluster; any Sleep of each if nothing is said.

    Raises:
        ProbeError: a proxy, an istiod or an API server did not answer.
    """
    mesh = _Mesh(view)

    def known(kube: KubeClient) -> ClientEndpoints:
        sleep = clients[kube.name] if clients else kube.pod_of(kube.sample_namespace, SLEEP)
        name = helloworld(kube, service)
        held, chosen = endpoints(kube, sleep, name), balancing(kube, sleep, name)
        wanted = mesh.wanted(kube.name, sleep.addresses)
        return ClientEndpoints(kube.name, wanted, held, balancing=chosen)

    def is_passed_on(kube: KubeClient, gateway: Pod) -> bool:
        """Whether a gateway's proxy knows every pod of its network."""
        held = endpoints(kube, gateway, passing_on(kube, service))
        return mesh.behind(kube.name) <= {each.target for each in held.endpoints if each.healthy}

    def observed(kube: KubeClient) -> ClientEndpoints:
        client = settle(
            lambda: known(kube),
            lambda seen: seen.verdict.complete or seen.leaves_out,
            deadline=seconds,
            interval=INTERVAL_SECONDS,
        )
        passed_on = [
            settle(
                partial(is_passed_on, kube, gateway),
                lambda passed: passed,
                deadline=seconds,
                interval=INTERVAL_SECONDS,
            )
            for gateway in _gateway_pods(view, kube)
        ]
        return replace(
            client.value,
            seconds=client.seconds,
            behind_gateway=all(each.value for each in passed_on),
            gateway_seconds=sum(each.seconds for each in passed_on),
        )

    return view.each(observed)


def _gateway_pods(view: MeshView, kube: KubeClient) -> list[Pod]:
    """Pods that pass services on to their network."""
    if not view.scenario.is_multi_network:
        return []
    found = [each for each in gateways(kube) if each.passes_on]
    return [pod for gateway in found for pod in gateway.serving]
