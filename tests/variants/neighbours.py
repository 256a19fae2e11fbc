"""Workloads of others, in a mesh that works: some of them do not, which says nothing of it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, Final

from mesh_fixtures.artifacts.images import PAUSE
from mesh_fixtures.install import names
from mesh_fixtures.kube.resources import PODS
from mesh_fixtures.parallel import parallel_map
from mesh_fixtures.probe.shards import SERVICE_LABEL
from tests.faults.policies import policy
from tests.faults.target import Manifest, Target
from tests.faults.topologies import TWO_NETWORKS
from tests.variants.gateways import further_namespace
from tests.variants.variant import Variant

_SYSTEM: Final = names.SYSTEM_NAMESPACE
_SHOP: Final = "shop"
_MARKET: Final = "market"
_SERVICES: Final = 600
_ENDPOINTS: Final = 8
"""Of each service."""
_PORTS: Final = 20
"""That services are at: Envoy has a listener and routes for each."""
_RULED: Final = 4
"""Each how many services have rules of Istio's."""
_ROUND_ROBIN: Final = {"loadBalancer": {"simple": "ROUND_ROBIN"}}
_MADE_SECONDS: Final = 120.0
_ABSENT: Final = "localhost/nobody-has-this:1"
_DASHBOARD: Final = "dashboard"


@contextmanager
def in_trouble(target: Target) -> Iterator[None]:
    """A pod that crashes, one whose image is not there, one that fits on no node, a Service that
    gets no address, a host that nobody knows, and a crashing dashboard beside istiod.
    """
    with ExitStack() as stack:
        for each in target.scenario.clusters:
            cluster = each.name
            stack.enter_context(further_namespace(target, cluster, _SHOP))
            target.kubectl(cluster, "label", "namespace", _SHOP, "istio-injection=enabled")
            pull_policy = target.lab.images.pull_policy
            target.apply(cluster, _SHOP, *_shop(pull_policy))
            stack.callback(target.delete, cluster, _SYSTEM, f"pod/{_DASHBOARD}")
            target.apply(cluster, _SYSTEM, _crashing(_DASHBOARD, pull_policy, injected=False))
        for each in target.scenario.clusters:
            target.until(
                "a pod that crashes",
                each.name,
                lambda kube: kube.list(PODS, _SHOP),
                lambda pods: any(
                    container.restarts
                    for pod in pods
                    if pod.name == "crashing" and (container := pod.container("crashing"))
                ),
            )
        yield


@contextmanager
def in_numbers(target: Target) -> Iterator[None]:
    """Hundreds of services of others, the same in each cluster, with the rules for them."""
    made = json.dumps({"apiVersion": "v1", "kind": "List", "items": [*_market()]})
    with ExitStack() as stack:
        for each in target.scenario.clusters:
            stack.enter_context(further_namespace(target, each.name, _MARKET))
        create = ("-n", _MARKET, "create", "-f", "-")
        parallel_map(
            lambda each: target.kubectl(each.name, *create, stdin=made, seconds=_MADE_SECONDS),
            target.scenario.clusters,
        )
        yield


def _market() -> Iterator[Manifest]:
    for number in range(_SERVICES):
        name = f"stall-{number}"
        yield {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": name, "labels": {"app": name}},
            "spec": {"ports": [{"name": "http", "port": 8000 + number % _PORTS}]},
        }
        yield {
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {"name": name, "labels": {SERVICE_LABEL: name}},
            "addressType": "IPv4",
            "ports": [{"name": "http", "port": 8080}],
            "endpoints": [
                {
                    "addresses": [f"198.18.{number % 250}.{each}"],
                    "conditions": {"ready": True},
                }
                for each in range(1, _ENDPOINTS + 1)
            ],
        }
        if number % _RULED:
            continue
        host = {"host": name}
        yield policy("networking", "DestinationRule", name, **host, trafficPolicy=_ROUND_ROBIN)
        yield policy(
            "networking",
            "VirtualService",
            name,
            hosts=[name],
            http=[{"route": [{"destination": host}], "retries": {"attempts": 3}}],
        )
        yield policy(
            "security",
            "AuthorizationPolicy",
            name,
            selector={"matchLabels": {"app": name}},
            rules=[{"from": [{"source": {"namespaces": [_MARKET]}}]}],
        )


def _shop(pull_policy: str) -> tuple[Manifest, ...]:
    waiting = _pod("waiting", {"image": PAUSE, "imagePullPolicy": pull_policy})
    waiting["spec"]["nodeSelector"] = {"disk": "of-another-century"}
    return (
        _crashing("crashing", pull_policy, injected=True),
        _pod("absent", {"image": _ABSENT, "imagePullPolicy": "IfNotPresent"}),
        waiting,
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": "shop"},
            "spec": {
                "type": "LoadBalancer",
                "loadBalancerClass": "example.test/by-nobody",
                "selector": {"app": "crashing"},
                "ports": [{"name": "http", "port": 80}],
            },
        },
        policy(
            "networking",
            "ServiceEntry",
            "elsewhere",
            hosts=["elsewhere.invalid"],
            ports=[{"number": 443, "name": "tls", "protocol": "TLS"}],
            resolution="DNS",
        ),
    )


def _crashing(name: str, pull_policy: str, *, injected: bool) -> Manifest:
    container = {"image": PAUSE, "imagePullPolicy": pull_policy, "command": ["/absent"]}
    made = _pod(name, container)
    if not injected:
        made["metadata"]["labels"]["sidecar.istio.io/inject"] = "false"
    return made


def _pod(name: str, container: Manifest) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": {"app": name}},
        "spec": {
            "containers": [{"name": name, **container}],
            "terminationGracePeriodSeconds": 0,
        },
    }


VARIANTS: Final = (
    Variant(
        id="neighbours-in-trouble",
        mesh="Workloads of others crash, wait or lack their image, and one of them is beside "
        "istiod.",
        topology=TWO_NETWORKS,
        make=in_trouble,
    ),
    Variant(
        id="neighbours-in-numbers",
        mesh="Others have hundreds of services in it, and rules for them.",
        topology=TWO_NETWORKS,
        make=in_numbers,
    ),
)
