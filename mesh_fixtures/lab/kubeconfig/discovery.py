"""Looks into clusters and describes the mesh that is installed there."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

from mesh_fixtures.contract import Cluster, Discovered
from mesh_fixtures.errors import NotInstalled
from mesh_fixtures.kube import KubeClient
from mesh_fixtures.lab.kubeconfig import contents
from mesh_fixtures.lab.kubeconfig.inference import infer
from mesh_fixtures.lab.kubeconfig.reference import Reference
from mesh_fixtures.lab.kubeconfig.survey import Installation, installation
from mesh_fixtures.parallel import parallel_map


def discover(references: Iterable[Reference]) -> Discovered:
    """The scenario that describes the mesh of these clusters; changes nothing there.

    Raises:
        MachineError: a kubeconfig cannot be used.
        ProbeError: a cluster cannot be asked.
        NotInstalled: there is nothing of Istio in one of them.
        ScenarioError: they are not all the clusters of a mesh, or not by the mesh's names.
    """
    with contents.clusters(references) as clusters:
        return infer(installations(clusters.values()))


def installations(clusters: Iterable[Cluster]) -> Sequence[Installation]:
    """What of Istio is in each cluster, in their order.

    Raises:
        ProbeError: one of them cannot be asked.
    """
    by_name = {cluster.name: cluster for cluster in clusters}

    def ask(name: str) -> Installation:
        with KubeClient(by_name[name]) as kube:
            return installation(kube)

    return list(parallel_map(ask, by_name).values())


def require_installed(clusters: Collection[Cluster]) -> None:
    """See to it that there is a mesh to verify; one that is broken is for requirements to judge.

    Raises:
        ProbeError: a cluster cannot be asked.
        NotInstalled: there is nothing of Istio in any of them.
    """
    if not any(each.is_there for each in installations(clusters)):
        raise NotInstalled(
            wanted="Istio to be installed",
            seen="no istiod, and no webhook that injects proxies",
            where=", ".join(cluster.name for cluster in clusters),
            remedy="install the mesh first; this run installs nothing",
        )
