"""The names that an existing mesh was installed with: where its control plane is, which namespace's
configuration holds for all, and its cluster domain.

Source: Istio, chart istiod (global.istioNamespace, global.proxy.clusterDomain); Global Mesh Options
(rootNamespace); pilot-discovery (--domain).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from mesh_fixtures.contract import (
    CLUSTER_DOMAIN,
    SYSTEM_NAMESPACE,
    Cluster,
    MeshNames,
)
from mesh_fixtures.errors import ScenarioError
from mesh_fixtures.kube import Deployment, KubeClient
from mesh_fixtures.kube.resources import CONFIG_MAPS, DEPLOYMENTS
from mesh_fixtures.lab.kubeconfig.survey import (
    IstiodNamespaces,
    istiod_namespaces,
    root_namespace,
)
from mesh_fixtures.parallel import parallel_map
from mesh_fixtures.probe.istiod import CONTAINER
from mesh_fixtures.probe.istiod import SELECTOR as ISTIOD

OPTION: Final = "--mesh-system-namespace"

_DOMAIN: Final = "--domain"

Namespaces = Mapping[str, IstiodNamespaces]
"""By cluster."""


@dataclass(frozen=True)
class MeshSettings:
    """What the istiods of a cluster were installed with; empty where there is none.

    Attributes:
        cluster_domains: of each of them.
    """

    root_namespace: str = ""
    cluster_domains: frozenset[str] = frozenset()


def mesh_names(clusters: Iterable[Cluster], system_namespace: str = "") -> MeshNames:
    """The names of the mesh of these clusters; changes nothing.

    Args:
        system_namespace: of its control plane; empty for the one that there is.

    Raises:
        ProbeError: a cluster cannot be asked.
        ScenarioError: the clusters differ in what must be the same, or several could be meant.
    """
    with ExitStack() as closing:
        kube = {each.name: closing.enter_context(KubeClient(each)) for each in clusters}
        found = parallel_map(lambda name: istiod_namespaces(kube[name]), kube)
        system = chosen_namespace(found, system_namespace)
        return names_of(system, parallel_map(lambda name: settings(kube[name], system), kube))


def chosen_namespace(found: Namespaces, asked: str = "") -> str:
    """The namespace of a mesh's control plane; the guide's where none is found. Of several that are
    common to the clusters, it is that of the one that injects proxies where none is asked for by
    name, as there are istiods that only namespaces of other meshes ask for, or only gateways.

    Args:
        asked: the one that is asked for; empty where none is.

    Raises:
        ScenarioError: it is not that of all clusters, or several could be meant.
    """
    present = {cluster: those for cluster, those in found.items() if those}
    where = ", ".join(present)
    if asked:
        if any(asked not in those for those in present.values()):
            raise ScenarioError(
                wanted=f"an istiod in namespace {asked}, as {OPTION} asks for",
                seen=_shown(present),
                where=where,
                remedy="name the namespace that istiod is in, or leave the option out",
            )
        return asked
    if not present:
        return SYSTEM_NAMESPACE
    common = frozenset.intersection(*(frozenset(those) for those in present.values()))
    usual = {each for each in common if any(those[each] for those in present.values())}
    for meant in (common, usual):
        if len(meant) == 1:
            return min(meant)
    if common:
        raise ScenarioError(
            wanted="one control plane to verify",
            seen=f"istiods in the namespaces {_listed(common)}",
            where=where,
            remedy=f"choose one of them by {OPTION}",
        )
    raise ScenarioError(
        wanted="the control plane of all clusters in namespaces of one name",
        seen=_shown(present),
        where=where,
        remedy="install it in one namespace: an istiod looks for what other clusters tell of "
        "themselves, such as their network, in the namespace that is named like its own",
    )


def settings(kube: KubeClient, system_namespace: str) -> MeshSettings:
    """What the istiods of a cluster were installed with.

    Raises:
        ProbeError: the API server cannot be asked.
    """
    istiods = kube.list(DEPLOYMENTS, system_namespace, ISTIOD)
    if not istiods:
        return MeshSettings()
    return MeshSettings(
        root_namespace(kube.list(CONFIG_MAPS, system_namespace)),
        frozenset(map(cluster_domain, istiods)),
    )


def cluster_domain(istiod: Deployment) -> str:
    """The domain under which an istiod has Services."""
    container = istiod.container(CONTAINER)
    arguments = () if container is None else container.arguments
    for argument, following in pairwise((*arguments, "")):
        name, equals, value = argument.partition("=")
        if name == _DOMAIN and (value if equals else following):
            return value if equals else following
    return CLUSTER_DOMAIN


def names_of(system_namespace: str, found: Mapping[str, MeshSettings]) -> MeshNames:
    """The names of a mesh, by what its istiods were installed with.

    Raises:
        ScenarioError: they have several cluster domains.
    """
    domains = {name: each.cluster_domains for name, each in found.items() if each.cluster_domains}
    all_domains = frozenset[str]().union(*domains.values())
    if len(all_domains) > 1:
        raise ScenarioError(
            wanted="one cluster domain for the whole mesh",
            seen=_shown(domains),
            where=", ".join(domains),
            remedy="install all clusters with one global.proxy.clusterDomain: a service has one "
            "full name in a mesh, by which gateways pass its traffic on",
        )
    return MeshNames(
        system_namespace=system_namespace,
        root_namespace=next(
            (each.root_namespace for each in found.values() if each.root_namespace),
            SYSTEM_NAMESPACE,
        ),
        cluster_domain=min(all_domains, default=CLUSTER_DOMAIN),
    )


def _shown(found: Mapping[str, Iterable[str]]) -> str:
    return "; ".join(f"{cluster}: {_listed(those)}" for cluster, those in found.items())


def _listed(names: Iterable[str]) -> str:
    return ", ".join(sorted(names))
