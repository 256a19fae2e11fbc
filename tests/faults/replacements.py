"""Faults that nobody sees until a part of the mesh is gone for a while, or is to be replaced."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from mesh_fixtures.install import names
from mesh_fixtures.probe.workloads import HELLOWORLD
from mesh_fixtures.workloads import PORT, SERVICE
from tests.faults.target import Target, reference

_SYSTEM: Final = names.SYSTEM_NAMESPACE
_QUOTA: Final = "quota/fault"


@contextmanager
def no_more_pods(target: Target) -> Iterator[None]:
    """A quota in the last cluster's istio-system lets no pod be made; those that run, run on."""
    cluster = target.scenario.clusters[-1].name
    try:
        target.system(cluster, "create", "quota", "fault", "--hard=pods=0")
        yield
    finally:
        target.delete(cluster, _SYSTEM, _QUOTA)
        # a controller that was refused for long asks again only after as long
        target.restart(cluster, (_SYSTEM, names.GATEWAY))


@contextmanager
def endpoint_by_hand(target: Target) -> Iterator[None]:
    """An EndpointSlice in the first cluster that nobody keeps up to date has the address that its
    HelloWorld has now, and will have it when the pod is gone.
    """
    cluster = target.scenario.clusters[0].name
    pod = target.kube[cluster].pod_of(target.namespace, HELLOWORLD)
    by_hand = {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {"name": "fault", "labels": {"kubernetes.io/service-name": SERVICE}},
        "addressType": "IPv4",
        "ports": [{"name": "http", "port": PORT}],
        "endpoints": [{"addresses": [pod.ip], "conditions": {"ready": True}}],
    }
    try:
        target.apply(cluster, target.namespace, by_hand)
        yield
    finally:
        target.delete(cluster, target.namespace, reference(by_hand))
