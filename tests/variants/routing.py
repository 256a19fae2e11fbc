"""Preferences that a mesh has on purpose."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from mesh_fixtures.install import names
from mesh_fixtures.probe.envoy import endpoints
from mesh_fixtures.probe.workloads import SLEEP
from tests.faults.table import TWO_NETWORKS
from tests.faults.target import Manifest, Target, reference
from tests.variants.variant import Variant

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


@contextmanager
def nearest_first(target: Target) -> Iterator[None]:
    """All clients prefer servers of their own locality."""
    primaries = [each.name for each in target.scenario.primaries]
    try:
        for cluster in primaries:
            target.apply(cluster, names.SYSTEM_NAMESPACE, NEAREST_FIRST)
        for cluster in primaries:
            _await_priorities(target, cluster, 2)
        yield
    finally:
        for cluster in primaries:
            target.delete(cluster, names.SYSTEM_NAMESPACE, reference(NEAREST_FIRST))
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
            "TRAFFIC-1: cluster1: clients prefer a locality, and use v2 only where that fails",
            "TRAFFIC-1: cluster2: clients prefer a locality, and use v1 only where that fails",
        ),
    ),
)
