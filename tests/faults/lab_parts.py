"""Faults of the lab and not of the mesh: what its clusters have besides."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from mesh_fixtures.kube.resources import PODS
from tests.faults.target import Target

_SYSTEM = "kube-system"


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
            lambda kube: [
                pod for pod in kube.list(PODS, _SYSTEM) if pod.name.startswith("coredns")
            ],
            lambda pods: [pod.serving for pod in pods] == [True] * replicas,
        )

    try:
        scale(0)
        yield
    finally:
        scale(1)
