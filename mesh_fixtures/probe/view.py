"""All clusters of a mesh together, asked at the same time."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TypeVar

from mesh_fixtures.contract import Lab
from mesh_fixtures.kube import KubeClient
from mesh_fixtures.parallel import parallel_map
from mesh_fixtures.scenario import Scenario

Value = TypeVar("Value")


class MeshView:
    """A client for each cluster of a lab, in the scenario's order. Close it when done.

    Args:
        forwards: as `KubeClient`.

    Raises:
        ProbeError: a cluster's kubeconfig file cannot be used.
    """

    def __init__(self, lab: Lab, *, forwards: bool = False) -> None:
        self.lab = lab
        self.kube: Mapping[str, KubeClient] = {
            name: KubeClient(cluster, lab.sample_namespace, lab.names, forwards=forwards)
            for name, cluster in lab.clusters.items()
        }

    @property
    def scenario(self) -> Scenario:
        return self.lab.scenario

    @property
    def data_planes(self) -> tuple[str, ...]:
        """Names of the clusters that pods of the mesh run in."""
        elsewhere = {each.name for each in self.scenario.clusters if each.is_external}
        return tuple(name for name in self.kube if name not in elsewhere)

    def close(self) -> None:
        for client in self.kube.values():
            client.close()

    def __enter__(self) -> MeshView:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def each(
        self, probe: Callable[[KubeClient], Value], clusters: Iterable[str] | None = None
    ) -> dict[str, Value]:
        """A probe's value in each cluster of the mesh's pods, or in those named; all are asked at
        the same time.

        Raises:
            ProbeError: as one of the probes, the first of them in order.
        """
        names = self.data_planes if clusters is None else clusters
        return parallel_map(lambda name: probe(self.kube[name]), names)
