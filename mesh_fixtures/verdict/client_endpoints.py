"""Waits until every client's proxy knows every version of HelloWorld, and says what it took."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from mesh_fixtures.kube import KubeClient, Pod
from mesh_fixtures.probe.envoy import Endpoints, endpoints, helloworld
from mesh_fixtures.probe.gateways import Gateway, gateways, resolved
from mesh_fixtures.probe.view import MeshView
from mesh_fixtures.probe.workloads import SLEEP, workloads
from mesh_fixtures.verdict.convergence import Settled, settle
from mesh_fixtures.verdict.expectations import (
    Destination,
    EndpointsVerdict,
    backends,
    destinations,
    judge_endpoints,
)
from mesh_fixtures.workloads import PORT, SERVICE, host

DEADLINE_SECONDS: Final = 30.0
INTERVAL_SECONDS: Final = 0.25


@dataclass(frozen=True)
class ClientEndpoints:
    """What a client's proxy knows, and what it must know.

    Attributes:
        client: name of the client's cluster.
        seconds: until the proxy knew all, or until it was not waited for any longer.
        behind_gateway: whether this cluster's gateways know every pod of their network.
        gateway_seconds: until they did, after `seconds`, or were not waited for any longer.
    """

    client: str
    wanted: tuple[Destination, ...]
    seen: Endpoints
    seconds: float
    behind_gateway: bool = True
    gateway_seconds: float = 0.0

    @property
    def verdict(self) -> EndpointsVerdict:
        return judge_endpoints(self.wanted, self.seen)


def passing_on(namespace: str, service: str = SERVICE) -> str:
    """Name of the Envoy cluster by which a gateway passes HelloWorld's traffic on, by its SNI."""
    return f"outbound_.{PORT}_._.{host(namespace, service)}"


def client_endpoints(
    view: MeshView,
    seconds: float,
    service: str = SERVICE,
    clients: Mapping[str, Pod] | None = None,
) -> dict[str, ClientEndpoints]:
    """The endpoints of Sleep's proxy in each cluster, once they are complete or the deadline has
    passed. By then the gateways know where to pass traffic on to, too, or the deadline has passed.

    Args:
        seconds: until the deadline.
        service: by which clients ask for HelloWorld.
        clients: pods whose proxies are asked, by cluster; any Sleep of each if nothing is said.

    Raises:
        ProbeError: a proxy or an API server did not answer.
    """
    found = view.each(lambda kube: (workloads(kube), gateways(kube)))
    pods = backends(each for running, _ in found.values() for each in running)
    passing = {cluster: those for cluster, (_, those) in found.items()}
    addresses = {
        cluster: [each for one in those for address in one.addresses for each in resolved(address)]
        for cluster, those in passing.items()
    }

    def observed(kube: KubeClient) -> ClientEndpoints:
        wanted = destinations(view.scenario, kube.name, pods, addresses)
        sleep = clients[kube.name] if clients else kube.pod_of(kube.sample_namespace, SLEEP)
        known = _settled(
            kube,
            sleep,
            helloworld(kube.sample_namespace, service),
            lambda held: judge_endpoints(wanted, held).complete,
            seconds,
        )
        behind = {
            f"{pod.address}:{PORT}"
            for pod in pods
            if view.scenario.same_network(pod.cluster, kube.name)
        }
        passed_on_as = passing_on(kube.sample_namespace, service)
        passed_on = [
            _settled(kube, proxy, passed_on_as, lambda held: behind <= _healthy(held), seconds)
            for proxy in _gateway_pods(view, passing[kube.name])
        ]
        return ClientEndpoints(
            client=kube.name,
            wanted=wanted,
            seen=known.value,
            seconds=known.seconds,
            behind_gateway=all(each.accepted for each in passed_on),
            gateway_seconds=sum(each.seconds for each in passed_on),
        )

    return view.each(observed)


def _gateway_pods(view: MeshView, found: Iterable[Gateway]) -> list[Pod]:
    """Pods that pass services on to their network."""
    if not view.scenario.is_multi_network:
        return []
    return [pod for gateway in found for pod in gateway.pods if pod.serving]


def _healthy(held: Endpoints) -> set[str]:
    return {each.target for each in held.endpoints if each.healthy}


def _settled(
    kube: KubeClient,
    pod: Pod,
    cluster: str,
    accept: Callable[[Endpoints], bool],
    deadline: float,
) -> Settled[Endpoints]:
    return settle(
        lambda: endpoints(kube, pod, cluster),
        accept,
        deadline=deadline,
        interval=INTERVAL_SECONDS,
    )
