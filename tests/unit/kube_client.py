"""A client of the API server that answers what it is told to."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any

from fake_api_server import FakeApiServer

from mesh_fixtures.contract import Cluster
from mesh_fixtures.kube import KubeClient

PODS_PATH = "/api/v1/namespaces/sample/pods"


def cluster(kubeconfig: Path) -> Cluster:
    return Cluster(
        name="cluster1",
        network="network1",
        kubeconfig=kubeconfig,
        api_server="https://10.0.0.2:6443",
        pod_cidr=IPv4Network("10.101.0.0/16"),
        service_cidr=IPv4Network("10.111.0.0/16"),
        nodes=(),
        load_balancer_pool=None,
    )


@contextmanager
def client_of(server: FakeApiServer, folder: Path) -> Iterator[KubeClient]:
    with server.running(folder) as kubeconfig, KubeClient(cluster(kubeconfig)) as kube:
        yield kube


def pod(name: str, *, ready: bool = True, **more: Any) -> dict[str, Any]:
    statuses = [{"name": "sleep", "ready": ready}, {"name": "istio-proxy", "ready": True}]
    return {
        "metadata": {"name": name, "namespace": "sample", "labels": {"app": "sleep"}, **more},
        "spec": {"containers": [{"name": "sleep"}, {"name": "istio-proxy"}], "nodeName": "n1"},
        "status": {
            "phase": "Running",
            "podIP": "10.101.0.7",
            "containerStatuses": statuses,
            "conditions": [{"type": "Ready", "status": "True" if ready else "False"}],
        },
    }
