"""Looks into clusters and describes the mesh that is installed there."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

from mesh_fixtures.contract import Cluster, Discovered, MeshNames
from mesh_fixtures.errors import NotInstalled
from mesh_fixtures.kube import KubeClient
from mesh_fixtures.lab.kubeconfig.inference import (
    infer,
    require_given_by_name,
    require_verifiable,
)
from mesh_fixtures.lab.kubeconfig.mesh_names import mesh_names
from mesh_fixtures.lab.kubeconfig.reference import Reference, clusters_of
from mesh_fixtures.lab.kubeconfig.survey import Installation, installation
from mesh_fixtures.parallel import parallel_map
from mesh_fixtures.scenario import Scenario


def discover(
    references: Iterable[Reference], system_namespace: str = "", *, forwards: bool = False
) -> Discovered:
    """The scenario that describes the mesh of these clusters; changes nothing there.

    Args:
        system_namespace: as `mesh_names`.
        forwards: as `KubeClient`.

    Raises:
        MachineError: a kubeconfig cannot be used.
        ProbeError: a cluster cannot be asked.
        NotInstalled: there is nothing of Istio in one of them.
        ScenarioError: they are not clusters of a mesh, or not by the mesh's names; or as
            `mesh_names`.
    """
    given = list(references)
    with clusters_of(given) as clusters:
        names = mesh_names(clusters.values(), system_namespace)
        found = installations(clusters.values(), names, forwards=forwards)
        return infer(found, _texts(given), names.cluster_domain)


def installations(
    clusters: Iterable[Cluster], names: MeshNames, *, forwards: bool = False
) -> Sequence[Installation]:
    """What of Istio is in each cluster, in their order.

    Args:
        forwards: as `KubeClient`.

    Raises:
        ProbeError: one of them cannot be asked.
    """
    by_name = {cluster.name: cluster for cluster in clusters}

    def ask(name: str) -> Installation:
        with KubeClient(by_name[name], names=names, forwards=forwards) as kube:
            return installation(kube)

    return list(parallel_map(ask, by_name).values())


def require_installed(
    scenario: Scenario,
    clusters: Collection[Cluster],
    names: MeshNames,
    references: Iterable[Reference],
) -> None:
    """See to it that there is a mesh to verify; one that is broken is for requirements to judge.

    Args:
        scenario: that the mesh is to be verified by.
        references: the clusters' kubeconfigs as they were given, for messages.

    Raises:
        ProbeError: a cluster cannot be asked.
        NotInstalled: there is nothing of Istio in any of them.
        ScenarioError: each of several clusters goes by the mesh's name of another one; or as
            `require_verifiable`.
    """
    found = installations(clusters, names)
    require_given_by_name(found, _texts(references))
    if not any(each.is_there for each in found):
        raise NotInstalled(
            wanted="Istio to be installed",
            seen="no istiod, and no webhook that injects proxies",
            where=", ".join(cluster.name for cluster in clusters),
            remedy="install the mesh first; this run installs nothing",
        )
    require_verifiable(found, [each.name for each in scenario.mesh_networks])


def _texts(references: Iterable[Reference]) -> dict[str, str]:
    return {each.cluster: str(each) for each in references}
