"""Existing clusters, and a namespace for the run in each of them; removed by the run's journal."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Sequence
from pathlib import Path

from mesh_fixtures import records
from mesh_fixtures.contract import GUIDE_NAMES, Cluster, MeshNames, Tools
from mesh_fixtures.errors import MeshConformanceError
from mesh_fixtures.images import ImageSet
from mesh_fixtures.interruption import run_apart
from mesh_fixtures.kube import KubeClient
from mesh_fixtures.lab.kubeconfig import discovery, namespace, sample
from mesh_fixtures.lab.kubeconfig.exposed_namespaces import require_exposed
from mesh_fixtures.lab.kubeconfig.mesh_names import mesh_names
from mesh_fixtures.lab.kubeconfig.overrides import SampleOptions
from mesh_fixtures.lab.kubeconfig.reference import Reference, write_kubeconfigs
from mesh_fixtures.lab.processes import end_processes
from mesh_fixtures.lab.recorded import RecordedLab
from mesh_fixtures.lab.upkeep import attempt, require_nothing_left
from mesh_fixtures.parallel import parallel_map
from mesh_fixtures.progress import Progress
from mesh_fixtures.scenario import Scenario


class KubeconfigLab(RecordedLab):
    """Existing clusters."""

    def __init__(
        self,
        scenario: Scenario,
        record: records.Record,
        references: Sequence[Reference],
        images: ImageSet,
        options: SampleOptions,
        progress: Progress,
        system_namespace: str = "",
    ) -> None:
        """Choose the clusters; nothing is done yet.

        Args:
            system_namespace: as `mesh_names`.
        """
        super().__init__(scenario, record, progress)
        self._system_namespace = system_namespace
        self._names = GUIDE_NAMES
        self._references = references
        self._images = images
        self._options = options
        self._stopping = threading.Event()
        self._clusters = {
            cluster.name: Cluster(
                name=cluster.name,
                network=cluster.network,
                kubeconfig=kubeconfig_of(record, cluster.name),
                labels=namespace.owner_labels(record.id),
            )
            for cluster in scenario.clusters
        }

    @property
    def tools(self) -> Tools:
        """From PATH, for who wants them: no probe does."""
        return Tools(kubectl=_in_path("kubectl"), istioctl=_in_path("istioctl"))

    @property
    def images(self) -> ImageSet:
        return self._images

    @property
    def external(self) -> bool:
        return True

    @property
    def sample_namespace(self) -> str:
        return namespace.name_of(self.id, self._options.namespace)

    @property
    def names(self) -> MeshNames:
        return self._names

    def require_installed(self) -> None:
        clusters = list(self._clusters.values())
        discovery.require_installed(self.scenario, clusters, self._names, self._references)
        if self.scenario.is_multi_network:
            parallel_map(self._require_exposed, self._clusters)

    def _require_exposed(self, name: str) -> None:
        with KubeClient(self._clusters[name], names=self._names) as kube:
            given = bool(self._options.namespace)
            require_exposed(kube, self.sample_namespace, given=given)

    def deploy_sample(self) -> None:
        """Make the run's own namespace in every cluster with HelloWorld and Sleep in it.

        Raises:
            LabError: a cluster does not run them.
            ProbeError: an API server cannot be asked or refuses.
        """
        order = sample.Order(
            lab=self.id,
            scenario=self.scenario,
            images=self._images,
            options=self._options,
            journal=self._record.journal,
            stopping=self._stopping,
            names=self._names,
        )
        clusters = {each.name: self._clusters[each.name] for each in self.scenario.data_planes}
        run_apart(
            lambda: parallel_map(
                lambda name: sample.deploy(order, clusters[name], self._progress), clusters
            ),
            self._stopping.set,
        )

    def stop(self) -> None:
        self._stopping.set()
        end_processes(self.id, self._record.journal)

    def resume(self) -> bool:
        try:
            self._boot()
            return all(parallel_map(self._holds_namespace, self._clusters).values())
        except MeshConformanceError:
            return False

    def _holds_namespace(self, name: str) -> bool:
        with KubeClient(self._clusters[name]) as kube:
            return namespace.holds(kube, self.sample_namespace, self.id)

    def _boot(self) -> None:
        write_kubeconfigs(self._references, self.folder)
        self._names = mesh_names(self._clusters.values(), self._system_namespace)

    def _settle(self) -> None:
        pass

    def _tear_down(self) -> None:
        tear_down(self._record)


def _in_path(program: str) -> Path:
    """The program; only its name where there is none, so that what starts it says so."""
    return Path(shutil.which(program) or program)


def kubeconfig_of(record: records.Record, cluster: str) -> Path:
    """File by which a lab reaches one of its clusters."""
    return record.folder / f"{cluster}.kubeconfig"


def tear_down(record: records.Record) -> None:
    """Remove what a lab made in its clusters, see that it is gone, and then the lab's folder.

    Raises:
        LabError: a namespace is still there, or a cluster could not be asked; names them all.
    """
    failures = attempt((lambda: end_processes(record.id, record.journal),))
    made = namespace.recorded(record.journal)
    found = parallel_map(lambda cluster: _left_in(record, cluster, made[cluster]), made)
    left = [*failures, *(each for each in found.values() if each)]
    gone = "where a cluster is gone for good, remove the folder"
    require_nothing_left(record, left, otherwise=gone)
    shutil.rmtree(record.folder)


def _left_in(record: records.Record, cluster: str, name: str) -> str:
    """What may be left in a cluster; empty when nothing is."""
    reached = Cluster(cluster, network="", kubeconfig=kubeconfig_of(record, cluster))
    try:
        namespace.remove(reached, name, record.id)
    except (MeshConformanceError, OSError) as error:
        return f"namespace {name} in {cluster}: {error}"
    return ""
