"""Existing clusters that are only read: nothing is made in them, and nothing is left behind."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from mesh_fixtures.contract import Cluster, Lab, MeshNames, Tools
from mesh_fixtures.images import ImageSet
from mesh_fixtures.lab.kubeconfig.mesh_names import mesh_names
from mesh_fixtures.lab.kubeconfig.reference import Reference, clusters_of
from mesh_fixtures.scenario import Scenario

NO_NAMESPACE: Final = "mesh-conformance-reads-only"
"""In place of that of sample workloads, which are not there: no cluster has it."""


class ReadOnlyLab(Lab):
    """Existing clusters without sample workloads."""

    def __init__(
        self,
        provider: str,
        scenario: Scenario,
        clusters: Mapping[str, Cluster],
        images: ImageSet,
        names: MeshNames,
    ) -> None:
        self._provider = provider
        self._scenario = scenario
        self._clusters = clusters
        self._images = images
        self._names = names

    @property
    def id(self) -> str:
        return NO_NAMESPACE

    @property
    def provider(self) -> str:
        return self._provider

    @property
    def scenario(self) -> Scenario:
        return self._scenario

    @property
    def folder(self) -> Path:
        return next(iter(self._clusters.values())).kubeconfig.parent

    @property
    def clusters(self) -> Mapping[str, Cluster]:
        return self._clusters

    @property
    def environment(self) -> Mapping[str, str]:
        return {}

    @property
    def tools(self) -> Tools:
        return Tools(kubectl=Path("kubectl"), istioctl=Path("istioctl"))

    @property
    def images(self) -> ImageSet:
        return self._images

    @property
    def external(self) -> bool:
        return True

    @property
    def sample_namespace(self) -> str:
        return NO_NAMESPACE

    @property
    def names(self) -> MeshNames:
        return self._names

    @property
    def installed(self) -> bool:
        return True

    def mark_installed(self) -> None:
        """It is there."""

    def wait_ready(self) -> None:
        """It is as it is."""

    def close(self, *, keep: bool = False) -> None:
        """Nothing was made."""


@contextmanager
def reading(
    provider: str,
    scenario: Scenario,
    references: Iterable[Reference],
    images: ImageSet,
    system_namespace: str = "",
) -> Iterator[ReadOnlyLab]:
    """Clusters to read for as long as this is open.

    Args:
        system_namespace: as `mesh_names`.

    Raises:
        MachineError: a kubeconfig cannot be used.
        ProbeError: a cluster cannot be asked.
        ScenarioError: as `mesh_names`.
    """
    with clusters_of(references) as files:
        clusters = {
            each.name: Cluster(each.name, each.network, files[each.name].kubeconfig)
            for each in scenario.clusters
        }
        names = mesh_names(files.values(), system_namespace)
        yield ReadOnlyLab(provider, scenario, clusters, images, names)
