"""Faults of the lab and not of the mesh: what its clusters have besides.

Processes of nodes are held up, not ended: what ends is started again at once.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from mesh_fixtures.errors import LabError
from mesh_fixtures.kube.resources import DEPLOYMENTS, NODES, PODS
from mesh_fixtures.lab import load_balancer
from mesh_fixtures.lab.netns.launch import path_of
from mesh_fixtures.lab.netns.network import node_namespace
from tests.faults.gateways import address_again, unaddressed
from tests.faults.target import Target

_SYSTEM = "kube-system"
_CONTROLLER: Final = "controller"


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


@contextmanager
def no_load_balancer(target: Target) -> Iterator[None]:
    """Nobody gives addresses to the last cluster's gateway, which is made anew."""
    cluster = target.scenario.clusters[-1].name

    def scale(replicas: int) -> None:
        arguments = ("scale", f"deployment/{_CONTROLLER}", f"--replicas={replicas}")
        target.kubectl(cluster, "-n", load_balancer.NAMESPACE, *arguments)
        target.until(
            f"{replicas} controllers of the load balancer",
            cluster,
            lambda kube: [
                each.ready
                for each in kube.list(DEPLOYMENTS, load_balancer.NAMESPACE)
                if each.meta.name == _CONTROLLER
            ],
            lambda ready: ready == [replicas],
        )

    try:
        scale(0)
        unaddressed(target, cluster)
        yield
    finally:
        scale(1)
        address_again(target, cluster)


@contextmanager
def node_not_ready(target: Target) -> Iterator[None]:
    """The kubelets of the last primary say nothing of their nodes."""
    cluster = target.scenario.primaries[-1].name
    with held_up(target, cluster, "kubelet"):
        target.until(
            "no ready node",
            cluster,
            lambda kube: kube.list(NODES),
            lambda nodes: not any(each.ready for each in nodes),
        )
        yield
    target.until(
        "ready nodes",
        cluster,
        lambda kube: kube.list(NODES),
        lambda nodes: all(each.ready for each in nodes),
    )


@contextmanager
def held_up(target: Target, cluster: str, program: str) -> Iterator[None]:
    """A program of all nodes of a cluster stops for a while, in labs of network namespaces.

    Raises:
        LabError: no node runs it.
    """
    pids = [
        pid
        for node in target.lab.clusters[cluster].nodes
        for pid in running(program, path_of(node_namespace(target.lab.id, node.name)))
    ]
    if not pids:
        raise LabError(wanted=f"a process of {program}", seen="none", where=cluster)
    try:
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        yield
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)


def running(program: str, namespace: Path) -> list[int]:
    """Ids of the processes of a program in a network namespace (Linux: proc(5), namespaces(7))."""
    wanted = namespace.stat().st_ino
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            name = Path(os.fsdecode((folder / "cmdline").read_bytes().split(b"\0")[0])).name
            if name == program and (folder / "ns" / "net").stat().st_ino == wanted:
                found.append(int(folder.name))
        except OSError:  # it has ended
            continue
    return found
