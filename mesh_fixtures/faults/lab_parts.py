"""Faults of the lab and not of the mesh: what its clusters have besides."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager

from mesh_fixtures.faults.target import Target

_SYSTEM = "kube-system"
_LOAD_BALANCER = "metallb-system"


@contextmanager
def no_dns(target: Target) -> Iterator[None]:
    """The last cluster has no name server."""
    cluster = target.scenario.clusters[-1].name

    def scale(replicas: int) -> None:
        arguments = ("scale", "deployment/coredns", f"--replicas={replicas}")
        target.kubectl(cluster, "-n", _SYSTEM, *arguments)
        target.until(
            f"{replicas} name servers",
            cluster,
            lambda kube: [pod for pod in kube.pods(_SYSTEM) if pod.name.startswith("coredns")],
            lambda pods: [pod.serving for pod in pods] == [True] * replicas,
        )

    try:
        scale(0)
        yield
    finally:
        scale(1)


@contextmanager
def no_load_balancer(target: Target) -> Iterator[None]:
    """Nothing announces the addresses of the last cluster's load balancers."""
    cluster = target.scenario.clusters[-1].name

    def place(node: str | None) -> None:
        patch = {"spec": {"template": {"spec": {"nodeSelector": {"nobody": node}}}}}
        arguments = ("patch", "daemonset/speaker", "--patch", json.dumps(patch))
        target.kubectl(cluster, "-n", _LOAD_BALANCER, *arguments)
        target.until(
            "the speaker of MetalLB to go" if node else "the speaker of MetalLB to be back",
            cluster,
            lambda kube: [
                pod for pod in kube.pods(_LOAD_BALANCER) if pod.name.startswith("speaker")
            ],
            lambda pods: not pods if node else bool(pods) and all(pod.serving for pod in pods),
        )

    try:
        place("here")
        yield
    finally:
        place(None)
