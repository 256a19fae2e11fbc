"""Faults of localities: what nodes say of where they are."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from mesh_fixtures.kube import KubeNode
from mesh_fixtures.kube.objects import REGION_LABEL
from mesh_fixtures.kube.resources import NODES
from tests.faults.target import Target


@contextmanager
def nodes_without_region(target: Target) -> Iterator[None]:
    """No node says which region it is in, as where no cloud does it. That counts for pods to come,
    so those of the samples are replaced.
    """
    nodes = target.view.each(lambda kube: kube.list(NODES))
    try:
        for cluster, those in nodes.items():
            _label(target, cluster, those, f"{REGION_LABEL}-")
        yield
    finally:
        for cluster, those in nodes.items():
            for node in those:
                _label(target, cluster, [node], f"{REGION_LABEL}={node.region}")


def _label(target: Target, cluster: str, nodes: Sequence[KubeNode], change: str) -> None:
    names = [each.name for each in nodes]
    target.kubectl(cluster, "label", "--overwrite", "nodes", *names, change)
    target.restart_workloads(cluster)
