"""Faults of workloads: HelloWorld and Sleep, and how their namespace is set up."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from mesh_fixtures.install import ids, names
from mesh_fixtures.kube import KubeClient
from mesh_fixtures.kube.resources import PODS, SERVICE_EXPORTS
from mesh_fixtures.probe.workloads import HELLOWORLD, SLEEP, redirections
from mesh_fixtures.workloads import SERVICE
from tests.faults.fault import Injection
from tests.faults.target import Manifest, Target

INJECTOR: Final = "istio-sidecar-injector"
"""ConfigMap of what proxies are injected with (Istio: Sidecar injection)."""


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
def not_exported(target: Target) -> Iterator[None]:
    """HelloWorld is not exported from the last cluster."""
    cluster = target.scenario.clusters[-1].name
    try:
        target.delete(cluster, target.namespace, f"{SERVICE_EXPORTS.plural}/{SERVICE}")
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
        _await_gone(target, cluster)
        yield
    finally:
        target.sample(cluster, "scale", deployment, "--replicas=1")
        target.run_steps(target.workloads, ids.helloworld_ready(cluster))


FAILING: Final = """
import os, sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count
numbers, version, instance = count(1), os.environ["SERVICE_VERSION"], os.environ["HOSTNAME"]
class Hello(BaseHTTPRequestHandler):
    def do_GET(self):
        fails = self.path.startswith("/hello") and next(numbers) % 10 == 0
        body = f"Hello version: {version}, instance: {instance}\\n".encode()
        self.send_response(503 if fails else 200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
ThreadingHTTPServer(("", 5000), Hello).serve_forever()
"""
"""A HelloWorld that answers each tenth request with an error of its own."""


@contextmanager
def application_fails(target: Target) -> Iterator[None]:
    """The last cluster's HelloWorld answers some requests with errors."""
    cluster = target.scenario.clusters[-1].name
    name = _helloworld(target, cluster)
    kept = target.read(cluster, target.namespace, "deployment", name)
    command = {"name": "helloworld", "command": ["python3", "-c", FAILING]}
    change = {"spec": {"template": {"spec": {"containers": [command]}}}}
    try:
        target.sample(cluster, "patch", f"deployment/{name}", "-p", json.dumps(change))
        target.restart(cluster, (target.namespace, name))
        yield
    finally:
        back = ("-n", target.namespace, "replace", "-f", "-")
        target.kubectl(cluster, *back, stdin=json.dumps(kept))
        target.restart(cluster, (target.namespace, name))


@contextmanager
def services_excluded(target: Target) -> Iterator[None]:
    """The first cluster's injector excludes the addresses of services from what proxies get."""
    cluster = target.scenario.clusters[0].name
    service = target.read(cluster, target.namespace, "service", "helloworld")
    excluded = f"{service['spec']['clusterIP']}/16"
    kept = target.read(cluster, names.SYSTEM_NAMESPACE, "configmap", INJECTOR)
    sleep = (target.namespace, "sleep")
    try:
        target.apply(cluster, names.SYSTEM_NAMESPACE, excluding(kept, excluded))
        _restart_until(target, cluster, sleep, excluded)
        yield
    finally:
        target.apply(cluster, names.SYSTEM_NAMESPACE, kept)
        _restart_until(target, cluster, sleep, "")


def excluding(injector: Manifest, ranges: str) -> Manifest:
    """The injector's ConfigMap with addresses that proxies do not get the requests to."""
    values = json.loads(injector["data"]["values"])
    values["global"]["proxy"]["excludeIPRanges"] = ranges
    return {**injector, "data": {**injector["data"], "values": json.dumps(values)}}


def _restart_until(
    target: Target, cluster: str, deployment: tuple[str, str], excluded: str
) -> None:
    """Restart until the injector, which reads its ConfigMap in its own time, excludes addresses."""

    def seen(kube: KubeClient) -> set[str]:
        target.restart(cluster, deployment)
        pods = kube.list(PODS, target.namespace, SLEEP)
        settings = [each for pod in pods if not pod.terminating for each in redirections(pod)]
        return {each.value for each in settings if each.name == "excludeOutboundIPRanges"}

    target.until(
        f"{excluded or 'nothing'} to be excluded",
        cluster,
        seen,
        lambda found: found == ({excluded} if excluded else set()),
    )


@contextmanager
def missing(target: Target) -> Iterator[None]:
    """The last cluster has no HelloWorld."""
    cluster = target.scenario.clusters[-1].name
    deployment = f"deployment/{_helloworld(target, cluster)}"
    try:
        target.delete(cluster, target.namespace, deployment)
        _await_gone(target, cluster)
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


def service_changed(path: str, value: Any) -> Injection:
    """The last cluster's Service of HelloWorld has another value.

    Args:
        path: where, from the Service's `spec` on (RFC 6901).
    """

    @contextmanager
    def inject(target: Target) -> Iterator[None]:
        cluster = target.scenario.clusters[-1].name
        right: Any = target.read(cluster, target.namespace, "service", "helloworld")["spec"]
        for key in path.split("/"):
            right = right[int(key) if isinstance(right, list) else key]
        try:
            _set(target, cluster, path, value)
            yield
        finally:
            _set(target, cluster, path, right)

    return inject


def _set(target: Target, cluster: str, path: str, value: Any) -> None:
    change = json.dumps([{"op": "replace", "path": f"/spec/{path}", "value": value}])
    target.sample(cluster, "patch", "service/helloworld", "--type=json", "-p", change)


def _helloworld(target: Target, cluster: str) -> str:
    return f"helloworld-{target.scenario.cluster(cluster).helloworld}"


def _inject(target: Target, cluster: str, how: str) -> None:
    label = f"istio-injection={how}"
    target.kubectl(cluster, "label", "namespace", target.namespace, label, "--overwrite")
    deployments = ("sleep", _helloworld(target, cluster))
    target.restart(cluster, *((target.namespace, each) for each in deployments))


def _await_gone(target: Target, cluster: str) -> None:
    target.until(
        "HelloWorld's pods to go",
        cluster,
        lambda kube: kube.list(PODS, target.namespace, HELLOWORLD),
        lambda pods: all(pod.terminating for pod in pods),
    )
