"""Preferences that a mesh has on purpose."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Final

from mesh_fixtures.install import names
from mesh_fixtures.kube import KubeClient
from mesh_fixtures.probe.envoy import Balancing, balancing, endpoints, helloworld
from mesh_fixtures.probe.workloads import HELLOWORLD, SLEEP
from tests.faults import mesh_configuration
from tests.faults.policies import applied, policy
from tests.faults.target import Manifest, Target, reference
from tests.faults.topologies import TWO_NETWORKS, TWO_REGIONS
from tests.variants.variant import Variant, as_it_is

NEAREST_FIRST: Final[Manifest] = {
    "apiVersion": "networking.istio.io/v1",
    "kind": "DestinationRule",
    "metadata": {"name": "nearest-first"},
    "spec": {
        "host": "*.local",
        "trafficPolicy": {
            "outlierDetection": {
                "consecutive5xxErrors": 5,
                "interval": "30s",
                "baseEjectionTime": "30s",
            }
        },
    },
}
"""Where failing servers are ejected, clients prefer the others of their own region and zone (Istio:
Locality failover)."""

_EJECTING: Final = NEAREST_FIRST["spec"]["trafficPolicy"]
_BY_CLUSTER: Final = {"localityLbSetting": {"failoverPriority": ["topology.istio.io/cluster"]}}
OWN_CLUSTER_FIRST: Final[Manifest] = {
    **NEAREST_FIRST,
    "metadata": {"name": "own-cluster-first"},
    "spec": {"host": "*.local", "trafficPolicy": {**_EJECTING, "loadBalancer": _BY_CLUSTER}},
}
"""Source: Istio, DestinationRule (LocalityLoadBalancerSetting, failoverPriority)."""


KEPT_TO_ONE: Final = policy(
    "networking",
    "DestinationRule",
    "kept-to-one",
    host="*.local",
    trafficPolicy={"loadBalancer": {"consistentHash": {"useSourceIp": True}}},
)
"""Each client keeps to the server that a hash of its address chooses (Istio: DestinationRule,
ConsistentHashLB)."""

WARMED_UP: Final = policy(
    "networking",
    "DestinationRule",
    "warmed-up",
    host="*.local",
    trafficPolicy={
        "loadBalancer": {
            "warmup": {"duration": "90s", "minimumPercent": 1, "aggression": 0.1},
        }
    },
)
"""Servers that are new get few requests, and nearly all of their share not before the end of that
time (Istio: DestinationRule, WarmupConfiguration; Envoy: Slow start mode)."""

_APART_SECONDS: Final = 55.0

WITHIN_REGIONS: Final[Manifest] = {
    "localityLbSetting": {
        "enabled": True,
        "distribute": [
            {"from": f"{region}/*", "to": {f"{region}/*": 100}} for region in ("region1", "region2")
        ],
    }
}
"""All requests stay in their client's region (Istio: MeshConfig, localityLbSetting)."""


@contextmanager
def kept_to_one(target: Target) -> Iterator[None]:
    """All clients keep to one server of each service."""
    with _preferring(target, KEPT_TO_ONE, Balancing(by_hash=True)):
        yield


@contextmanager
def within_regions(target: Target) -> Iterator[None]:
    """The mesh configuration has weights of regions, by which no request leaves its own."""
    with mesh_configuration.changed(target, WITHIN_REGIONS):
        for each in target.scenario.primaries:
            _await_balancing(target, each.name, Balancing(by_locality=True))
        yield


@contextmanager
def warmed_up(target: Target) -> Iterator[None]:
    """All clients warm new servers up, and the last cluster's become ready later than others."""
    last = target.scenario.clusters[-1].name
    with _preferring(target, WARMED_UP, Balancing(by_age=True)), _held_back(target, last):
        yield


@contextmanager
def _preferring(target: Target, rule: Manifest, balancing: Balancing) -> Iterator[None]:
    """A rule for all services by which clients choose servers otherwise than usual."""
    primaries = [each.name for each in target.scenario.primaries]
    with applied(target, primaries, rule, namespace=names.SYSTEM_NAMESPACE):
        for cluster in primaries:
            _await_balancing(target, cluster, balancing)
        yield


@contextmanager
def _held_back(target: Target, cluster: str) -> Iterator[None]:
    """No node of a cluster takes a pod, until the next HelloWorld has waited for some time."""
    over = threading.Event()
    nodes = target.kubectl(cluster, "get", "nodes", "-o", "name").split()
    waiting = ("-l", HELLOWORLD, "--field-selector=status.phase=Pending", "-o", "name")

    def let_go() -> None:
        while not over.wait(1.0):
            if target.kubectl(cluster, "get", "pods", "--all-namespaces", *waiting):
                over.wait(_APART_SECONDS)
                target.kubectl(cluster, "uncordon", *nodes)
                return

    later = threading.Thread(target=let_go, daemon=True)
    try:
        target.kubectl(cluster, "cordon", *nodes)
        later.start()
        yield
    finally:
        over.set()
        if later.is_alive():
            later.join()
        target.kubectl(cluster, "uncordon", *nodes)


def _await_balancing(target: Target, cluster: str, wanted: Balancing) -> None:
    def chosen(kube: KubeClient) -> Balancing:
        return balancing(kube, kube.pod_of(target.namespace, SLEEP), helloworld(kube))

    target.until(str(wanted), cluster, chosen, lambda seen: seen == wanted)


def nearest_first(target: Target) -> AbstractContextManager[None]:
    """All clients prefer servers of their own locality."""
    return _with_priorities(target, NEAREST_FIRST)


def own_cluster_first(target: Target) -> AbstractContextManager[None]:
    """All clients prefer servers of their own cluster, wherever nodes are."""
    return _with_priorities(target, OWN_CLUSTER_FIRST)


@contextmanager
def _with_priorities(target: Target, rule: Manifest) -> Iterator[None]:
    """All clients prefer some servers by a rule."""
    primaries = [each.name for each in target.scenario.primaries]
    try:
        for cluster in primaries:
            target.apply(cluster, names.SYSTEM_NAMESPACE, rule)
        for cluster in primaries:
            _await_priorities(target, cluster, 2)
        yield
    finally:
        for cluster in primaries:
            target.delete(cluster, names.SYSTEM_NAMESPACE, reference(rule))
        for cluster in primaries:
            _await_priorities(target, cluster, 1)


def _await_priorities(target: Target, cluster: str, count: int) -> None:
    namespace = target.namespace
    target.until(
        f"endpoints of {count} priorities",
        cluster,
        lambda kube: endpoints(kube, kube.pod_of(namespace, SLEEP)),
        lambda held: len({each.priority for each in held.endpoints}) == count,
    )


VARIANTS: Final = (
    Variant(
        id="nearest-first",
        mesh="A DestinationRule for all services ejects failing servers, by which clients prefer "
        "those of their own region.",
        topology=TWO_NETWORKS,
        make=nearest_first,
        notes=(
            "TRAFFIC-1: cluster1: clients prefer other endpoints, and use v2 only where those fail",
            "TRAFFIC-1: cluster2: clients prefer other endpoints, and use v1 only where those fail",
        ),
    ),
    Variant(
        id="own-cluster-first",
        mesh="A DestinationRule for all services has clients prefer servers of their own cluster.",
        topology=TWO_NETWORKS,
        make=own_cluster_first,
        notes=(
            "TRAFFIC-1: cluster1: clients prefer other endpoints, and use v2 only where those fail",
            "TRAFFIC-1: cluster2: clients prefer other endpoints, and use v1 only where those fail",
        ),
    ),
    Variant(
        id="nearest-first-by-namespace",
        mesh="An annotation of the run's namespace has clients prefer what is nearest.",
        topology=TWO_NETWORKS,
        make=as_it_is,
        arguments=(
            "--namespace-annotation",
            "networking.istio.io/traffic-distribution=PreferClose",
        ),
        notes=(
            "TRAFFIC-1: cluster1: clients prefer other endpoints, and use v2 only where those fail",
            "TRAFFIC-1: cluster2: clients prefer other endpoints, and use v1 only where those fail",
        ),
    ),
    Variant(
        id="kept-to-one-server",
        mesh="A DestinationRule for all services has each client keep to one server.",
        topology=TWO_NETWORKS,
        make=kept_to_one,
        notes=("TRAFFIC-2: cluster1: clients keep to servers that a hash chooses",),
    ),
    Variant(
        id="warmed-up",
        mesh="A DestinationRule for all services has clients warm new servers up, and HelloWorld "
        "becomes ready later in cluster2 than in cluster1.",
        topology=TWO_NETWORKS,
        make=warmed_up,
        notes=("TRAFFIC-2: cluster1: clients warm new servers up by fewer requests",),
    ),
    Variant(
        id="kept-within-regions",
        mesh="The mesh configuration has weights for regions, by which no request leaves its own.",
        topology=TWO_REGIONS,
        make=within_regions,
        applies=("LOCALITY-2",),
        notes=(
            "DISCOVERY-2: cluster1: clients choose servers by weights of localities",
            "TRAFFIC-1: cluster2: clients choose servers by weights of localities, by which",
        ),
    ),
)
