"""Faults of workloads: HelloWorld and Sleep, and how their namespace is set up."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager

from mesh_fixtures.install import ids
from mesh_fixtures.kube.resources import PODS
from mesh_fixtures.probe.workloads import HELLOWORLD
from tests.faults.target import Target


@contextmanager
def injection_off(target: Target) -> Iterator[None]:
    """No sidecars are injected in the last cluster."""
    cluster = target.scenario.clusters[-1].name
    try:
        _inject(target, cluster, "disabled")
        yield
    finally:
        _inject(target, cluster, "enabled")


@contextmanager
def service_missing(target: Target) -> Iterator[None]:
    """The first cluster has no Service of HelloWorld."""
    cluster = target.scenario.clusters[0].name
    try:
        target.delete(cluster, target.namespace, "service/helloworld")
        yield
    finally:
        target.run_steps(target.workloads, ids.helloworld_service(cluster))


@contextmanager
def scaled_to_zero(target: Target) -> Iterator[None]:
    """The last cluster's HelloWorld has no pod."""
    cluster = target.scenario.clusters[-1].name
    deployment = f"deployment/{_helloworld(target, cluster)}"
    try:
        target.sample(cluster, "scale", deployment, "--replicas=0")
        target.until(
            "HelloWorld's pods to go",
            cluster,
            lambda kube: kube.list(PODS, target.namespace, HELLOWORLD),
            lambda pods: all(pod.terminating for pod in pods),
        )
        yield
    finally:
        target.sample(cluster, "scale", deployment, "--replicas=1")
        target.run_steps(target.workloads, ids.helloworld_ready(cluster))


@contextmanager
def missing(target: Target) -> Iterator[None]:
    """The last cluster has no HelloWorld."""
    cluster = target.scenario.clusters[-1].name
    deployment = f"deployment/{_helloworld(target, cluster)}"
    try:
        target.delete(cluster, target.namespace, deployment)
        target.until(
            "HelloWorld's pods to go",
            cluster,
            lambda kube: kube.list(PODS, target.namespace, HELLOWORLD),
            lambda pods: all(pod.terminating for pod in pods),
        )
        yield
    finally:
        target.run_steps(target.workloads, ids.helloworld(cluster), ids.helloworld_ready(cluster))


@contextmanager
def port_without_name(target: Target) -> Iterator[None]:
    """HelloWorld's Service says in no cluster which protocol its port speaks."""
    clusters = [cluster.name for cluster in target.scenario.clusters]
    nameless = json.dumps([{"op": "remove", "path": "/spec/ports/0/name"}])
    try:
        for cluster in clusters:
            target.sample(cluster, "patch", "service/helloworld", "--type=json", "-p", nameless)
        yield
    finally:
        for cluster in clusters:
            target.run_steps(target.workloads, ids.helloworld_service(cluster))


def _helloworld(target: Target, cluster: str) -> str:
    return f"helloworld-{target.scenario.cluster(cluster).helloworld}"


def _inject(target: Target, cluster: str, how: str) -> None:
    label = f"istio-injection={how}"
    target.kubectl(cluster, "label", "namespace", target.namespace, label, "--overwrite")
    deployments = ("sleep", _helloworld(target, cluster))
    target.restart(cluster, *((target.namespace, each) for each in deployments))
