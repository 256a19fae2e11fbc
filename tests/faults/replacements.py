"""Faults that nobody sees until a part of the mesh is gone for a while, or is to be replaced."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import yaml

from mesh_fixtures.install import names
from mesh_fixtures.patience import whole
from mesh_fixtures.probe.workloads import HELLOWORLD
from mesh_fixtures.workloads import PORT, SERVICE, fresh_connections_manifest
from tests.faults.target import Target, reference

_SYSTEM: Final = names.SYSTEM_NAMESPACE
_QUOTA: Final = "quota/fault"

TTL_SECONDS: Final = 8.0
"""Less than istiod is down for in RESILIENCE-3."""


@contextmanager
def short_lived_certificates(target: Target) -> Iterator[None]:
    """The first cluster's Sleep needs a new certificate from istiod every few seconds, and shows it
    with each request: what connections there are would go on by the certificate that they began
    with.
    """
    cluster = target.scenario.clusters[0].name
    metadata = {"SECRET_TTL": f"{whole(TTL_SECONDS)}s", "SECRET_GRACE_PERIOD_RATIO": "0.75"}
    rule: dict[str, Any] = yaml.safe_load(fresh_connections_manifest(target.namespace))
    try:
        target.apply(cluster, target.namespace, rule)
        configure_sleep(target, cluster, yaml.safe_dump({"proxyMetadata": metadata}))
        yield
    finally:
        configure_sleep(target, cluster, None)
        target.delete(cluster, target.namespace, reference(rule))


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


def configure_sleep(target: Target, cluster: str, configuration: str | None) -> None:
    """Have Sleep's proxy configured otherwise; None for as it was."""
    template: dict[str, Any] = {"metadata": {"annotations": {names.PROXY_CONFIG: configuration}}}
    change = json.dumps({"spec": {"template": template}})
    target.sample(cluster, "patch", "deployment/sleep", "--type=merge", "-p", change)
    target.await_rollout(cluster, target.namespace, "sleep")
