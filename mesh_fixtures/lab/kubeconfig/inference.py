"""From what is installed in clusters to the scenario that describes it: pure functions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Final

from pydantic import ValidationError

from mesh_fixtures.contract import SYSTEM_NAMESPACE, Discovered
from mesh_fixtures.errors import NotInstalled, ScenarioError
from mesh_fixtures.install.names import CONTROL_PLANE_ANNOTATION, NETWORK_LABEL
from mesh_fixtures.kube.resources import SERVICE_EXPORTS
from mesh_fixtures.lab.kubeconfig.survey import Installation
from mesh_fixtures.scenario import CLUSTER_DOMAIN, ClusterSpec, NetworkSpec, Scenario

DISCOVERED: Final = "discovered"
"""Id of a scenario that describes what was found."""

UNNAMED_NETWORK: Final = "network1"
"""Name in a scenario of the network of clusters that have none: the guide's first."""

_UNNAMED_MESH: Final = "mesh1"
_ANY: Final = "*"


def infer(
    found: Sequence[Installation],
    given: Mapping[str, str] | None = None,
    cluster_domain: str = CLUSTER_DOMAIN,
) -> Discovered:
    """The scenario that describes clusters, in their order.

    What is broken is described as far as its intent is clear.

    Args:
        given: the kubeconfig of each cluster as it was given, for messages.
        cluster_domain: of the mesh.

    Raises:
        NotInstalled: there is nothing of Istio in one of them.
        ScenarioError: they are not clusters of a mesh, or not by the mesh's names.
    """
    _require_installed(found)
    _require_apart(found)
    _require_names(found, given or {})
    found = _in_order(found)
    notes = [*_elsewhere(found), *_injection_paths(found), *_networks(found)]
    mesh, found_notes = _mesh(found)
    notes += found_notes
    clusters = []
    regions = _regions([each for each in found if not config_cluster(each, found)])
    for at, each in enumerate(found):
        primary = None
        if not is_primary(each, found):
            primary, found_notes = primary_of(each, found)
            notes += found_notes
        is_external = bool(config_cluster(each, found))
        clusters.append(
            {
                "name": each.cluster,
                "network": _own_network(found)
                if is_external
                else network_of(each) or UNNAMED_NETWORK,
                "role": "external" if is_external else "remote" if primary else "primary",
                "primary": primary,
                "helloworld": f"v{at + 1}",
                "locality": regions.get(each.cluster),
            }
        )
    joined = {str(each["network"]) for each in clusters if each["role"] != "external"}
    require_verifiable(found, joined)
    others = _others(found)
    notes += [*_about_others(others), *_about_ambient(found)]
    notes += _about_exports(found)
    dns_proxying = any(each.dns_proxying for each in found)
    mcs = any(SERVICE_EXPORTS.group in each.mcs for each in found)
    scenario = _scenario(mesh, clusters, others, cluster_domain, dns_proxying=dns_proxying, mcs=mcs)
    return Discovered(scenario, tuple(notes))


def is_primary(each: Installation, found: Sequence[Installation]) -> bool:
    """Whether a cluster's own istiod configures its proxies. One that only injects them sends them
    to the gateway of another cluster (Istio: ProxyConfig, discoveryAddress).
    """
    elsewhere = {
        address
        for other in found
        if other is not each and other.istiods
        for address in other.gateways
    }
    leads_elsewhere = bool(each.discovery) and each.discovery <= elsewhere
    return bool(each.istiods) and not leads_elsewhere


def config_cluster(each: Installation, found: Sequence[Installation]) -> str:
    """The cluster that an external istiod takes for its own: it says to be in that one, where no
    istiod is, and its cluster's pods are not injected by it. Empty for any other cluster (source:
    Istio, Install Istio with an External Control Plane).
    """
    services = [one.webhook.service for one in each.injectors]
    own = f"{each.system_namespace}/"
    injected = any(not service or service.startswith(own) for service in services)
    bare = {other.cluster for other in found if not other.istiods and other.is_there}
    named = {*each.istiods.values()} & bare
    return min(named) if named and not injected else ""


def _in_order(found: Sequence[Installation]) -> Sequence[Installation]:
    """Clusters as they were given; before all others one from which an external istiod has its
    configuration, by which its scenario knows it.
    """
    configuring = {config_cluster(each, found) for each in found}
    return sorted(found, key=lambda each: each.cluster not in configuring)


def _own_network(found: Sequence[Installation]) -> str:
    """A name for the network of an external control plane, on which no pod of the mesh is."""
    used = {network_of(each) or UNNAMED_NETWORK for each in found}
    return next(name for at in range(len(found) + 2) if (name := f"network{at + 1}") not in used)


def require_given_by_name(found: Sequence[Installation], given: Mapping[str, str]) -> None:
    """See to it that kubeconfigs are not mixed up. What the mesh calls a cluster may be wrong where
    it is described by a scenario, but not that each goes by the name of another one.

    Raises:
        ScenarioError: they are.
    """
    names = {each.cluster: _own_name(each, found) for each in found}
    if sorted(names) == sorted(names.values()):
        _require_names(found, given)


def network_of(each: Installation) -> str:
    """The network that a cluster's pods are on, for the mesh; empty when none is set.

    Source: Istio, Install Multicluster (label of the system namespace; values.global.network; the
    injection path of a remote).
    """
    return next((network for network in _networks_of(each).values() if network), "")


def primary_of(remote: Installation, found: Sequence[Installation]) -> tuple[str, tuple[str, ...]]:
    """The cluster whose istiod is in charge of another one, and what is odd about that.

    Its proxies find istiod at the gateway of that cluster; its annotation names it; it reads the
    remote's API server. Where the first of these leaves a doubt, the next one decides.

    Raises:
        ScenarioError: nothing tells, or it was not given.
    """
    primaries = [each for each in found if each is not remote and is_primary(each, found)]
    _require_istiod(remote, primaries)
    serving = [each.cluster for each in primaries if each.gateways & remote.discovery]
    if not serving:
        _require_primary_given(remote, found)
    evidence = (
        serving,
        [each.cluster for each in primaries if each.cluster in remote.control_planes],
        [each.cluster for each in primaries if remote.cluster in (each.reads or ())],
        [each.cluster for each in primaries],
    )
    chosen = next((those[0] for those in evidence if len(those) == 1), None)
    if chosen is None:
        annotated = ", ".join(remote.control_planes) or "nothing"
        raise ScenarioError(
            wanted="one cluster whose istiod is in charge of it",
            seen=f"{CONTROL_PLANE_ANNOTATION} says {annotated}; istiod runs in "
            f"{', '.join(each.cluster for each in primaries)}",
            where=remote.cluster,
            remedy="give all clusters of the mesh by the mesh's names, or write the scenario",
        )
    (owner,) = (each for each in primaries if each.cluster == chosen)
    in_charge = config_cluster(owner, found) or chosen
    if in_charge == remote.cluster:
        return chosen, ()
    return chosen, tuple(_about_remote(remote, chosen, in_charge))


def _require_istiod(remote: Installation, primaries: Sequence[Installation]) -> None:
    """See to it that there is a control plane to ask, as where a provider runs it.

    Raises:
        ScenarioError: it is in none of the clusters.
    """
    if not primaries:
        called = {each.webhook.host or each.webhook.service for each in remote.injectors}
        by = f", and proxies are injected by {', '.join(sorted(called))}" if called - {""} else ""
        raise ScenarioError(
            wanted="an istiod that configures its proxies, in one of the clusters",
            seen=f"istiod runs in none of the clusters{by}",
            where=remote.cluster,
            remedy="give the cluster that istiod is in, too; a control plane that a provider runs "
            "elsewhere, such as that of Google's managed Cloud Service Mesh, is not verified, as "
            "it cannot be asked what it knows",
        )


def _require_primary_given(remote: Installation, found: Sequence[Installation]) -> None:
    """See to it that no other cluster is taken for the primary of a remote whose annotation names
    one that was not given: every primary of a mesh reads all of its clusters.

    Raises:
        ScenarioError: it is not there.
    """
    absent = [name for name in remote.control_planes if name in _others(found)]
    if absent and _ANY not in remote.control_planes:
        several = len(absent) > 1
        raise ScenarioError(
            wanted="the cluster whose istiod is in charge of it",
            seen=f"its {'primaries' if several else 'primary'} {', '.join(absent)} "
            f"{'were' if several else 'was'} not given",
            where=remote.cluster,
            remedy=f"give {' or '.join(absent)}, too, or leave {remote.cluster} out",
        )


def _about_remote(remote: Installation, primary: str, in_charge: str) -> Iterator[str]:
    """What is odd about a remote.

    Args:
        in_charge: what its istiod calls its own cluster.
    """
    if remote.istiods:
        yield (
            f"{remote.cluster}: its istiod injects proxies, which istiod of {primary} configures; "
            "it is described as a remote"
        )
    elif not remote.control_planes:
        missing = f"{remote.system_namespace} has no annotation {CONTROL_PLANE_ANNOTATION}"
        yield f"{remote.cluster}: {missing}; {primary} seems to be in charge"
    if remote.control_planes and not {in_charge, _ANY} & {*remote.control_planes}:
        annotated = f"{CONTROL_PLANE_ANNOTATION} is {', '.join(remote.control_planes)}"
        yield f"{remote.cluster}: {annotated}, but {primary} seems to be in charge"


def _require_installed(found: Sequence[Installation]) -> None:
    bare = [each.cluster for each in found if not each.is_there]
    if bare:
        raise NotInstalled(
            wanted="Istio to be installed in every cluster",
            seen=f"no istiod in {found[0].system_namespace}, no webhook that injects proxies, "
            f"no annotation {CONTROL_PLANE_ANNOTATION}",
            where=", ".join(bare),
            remedy="install it there, or leave the cluster out",
        )


def _require_apart(found: Sequence[Installation]) -> None:
    known: dict[str, str] = {}
    for each in found:
        other = known.setdefault(each.uid, each.cluster)
        if each.uid and other != each.cluster:
            raise ScenarioError(
                wanted="clusters that differ",
                seen=f"{other} and {each.cluster} are the same one",
                where="kubeconfigs",
                remedy="name another file or context for one of them",
            )


def _require_names(found: Sequence[Installation], given: Mapping[str, str]) -> None:
    names = {each.cluster: _own_name(each, found) for each in found}
    for name in names.values():
        those = [_with_file(each, given) for each, own in names.items() if own == name]
        if len(those) > 1:
            raise ScenarioError(
                wanted="clusters that differ in the mesh's names of them",
                seen=f"{len(those)} clusters of this mesh call themselves {name}: "
                f"{', '.join(those)}",
                where="kubeconfigs",
                remedy="install one of them with another global.multiCluster.clusterName, or give "
                "the kubeconfig of another cluster",
            )
    wrong = {each: own for each, own in names.items() if each != own}
    if wrong:
        called = (f"{_with_file(each, given)} {own}" for each, own in wrong.items())
        right = (f"{own}={given.get(each, '')}" for each, own in wrong.items())
        instead = (f"{each}={given.get(each, '')}" for each in wrong)
        raise ScenarioError(
            wanted="every cluster by the mesh's name of it",
            seen=f"the mesh calls {', '.join(called)}",
            where="kubeconfigs",
            remedy=f"write {' '.join(right)} in place of {' '.join(instead)}",
        )


def _elsewhere(found: Sequence[Installation]) -> Iterator[str]:
    """Where the control plane is, unless there is no other, and it is where the guide has it."""
    others = frozenset.intersection(*(each.others for each in found))
    beside = f", beside another in {', '.join(sorted(others))}" if others else ""
    for namespace in dict.fromkeys(each.system_namespace for each in found):
        if beside or namespace != SYSTEM_NAMESPACE:
            yield f"the control plane is in namespace {namespace}{beside}"


def _with_file(cluster: str, given: Mapping[str, str]) -> str:
    return f"{cluster} ({given[cluster]})" if cluster in given else cluster


def _own_name(each: Installation, found: Sequence[Installation]) -> str:
    """What the mesh calls a cluster; the given name where it does not say, or says it too."""
    ids = {name for name in each.istiods.values() if name}
    if config_cluster(each, found):
        return each.cluster  # of which the mesh knows nothing
    if not each.istiods:
        ids = _named_by_paths(each)
        if each.cluster in {name for other in found for name in other.reads or ()}:
            return each.cluster
    return each.cluster if each.cluster in ids or not ids else min(ids)


def _named_by_paths(each: Installation) -> set[str]:
    return {injector.cluster for injector in each.injectors if injector.cluster}


def _injection_paths(found: Sequence[Installation]) -> Iterator[str]:
    for each in found:
        named = _named_by_paths(each)
        if not each.istiods and named and each.cluster not in named:
            yield f"{each.cluster}: its injection path calls it {min(named)}"


def _networks_of(each: Installation) -> dict[str, str]:
    values = {value.network for value in each.values if value.network}
    paths = {injector.network for injector in each.injectors if injector.network}
    return {
        f"the label {NETWORK_LABEL} of {each.system_namespace}": each.network,
        "the injection path": min(paths, default=""),
        "values.global.network": min(values, default=""),
    }


def _networks(found: Sequence[Installation]) -> Iterator[str]:
    for each in [each for each in found if not config_cluster(each, found)]:
        networks = {where: network for where, network in _networks_of(each).items() if network}
        if len(set(networks.values())) > 1:
            words = " and ".join(f"{network} by {where}" for where, network in networks.items())
            yield f"{each.cluster}: its network is {words}"
        elif not networks:
            yield f"{each.cluster}: no network is set; it is described as {UNNAMED_NETWORK}"


def _regions(found: Sequence[Installation]) -> dict[str, str]:
    """The region of each cluster, by which clients may prefer some to others: none where all are in
    the same, or where a cluster is in none or in several.
    """
    regions = {each.cluster: each.regions or frozenset() for each in found}
    if not all(len(those) == 1 and all(those) for those in regions.values()):
        return {}
    single = {cluster: min(those) for cluster, those in regions.items()}
    return single if len(set(single.values())) > 1 else {}


def require_verifiable(found: Sequence[Installation], networks: Collection[str]) -> None:
    """See to it that clusters are joined by what requirements are about.

    Args:
        networks: that the mesh joins.

    Raises:
        ScenarioError: istiods know other clusters otherwise, or networks are joined for the ambient
            mode alone.
    """
    _require_remote_secrets(found)
    _require_sidecars(found, networks)


def _require_remote_secrets(found: Sequence[Installation]) -> None:
    """See to it that istiods that may know clusters' services otherwise read these clusters.

    Raises:
        ScenarioError: one of them reads no other cluster.
    """
    names = {each.cluster for each in found}
    peering = [
        each.cluster
        for each in found
        if len(names) > 1
        and each.peers
        and each.reads is not None
        and each.reads & names <= {each.cluster}
    ]
    if peering:
        raise ScenarioError(
            wanted="istiods that read the other clusters, by remote secrets",
            seen="istiods that read none, and know services of other clusters by peering",
            where=", ".join(peering),
            remedy="peering, as of Solo's builds of Istio, is not verified: services of other "
            "clusters are known only where they are made global, by other names and gateways",
        )


def _require_sidecars(found: Sequence[Installation], networks: Collection[str]) -> None:
    """See to it that the networks are joined for sidecars, which ambient's gateways are not for.

    Raises:
        ScenarioError: they are joined for the ambient mode alone.
    """
    ambient = {*networks} & {name for each in found for name in each.ambient_networks}
    if len(networks) > 1 and ambient == {*networks}:
        raise ScenarioError(
            wanted="a mesh whose networks are joined for sidecars",
            seen=f"gateways of {', '.join(sorted(ambient))} for the ambient mode (HBONE) only",
            where=", ".join(each.cluster for each in found),
            remedy="the ambient mode is not verified: neither ztunnel, nor waypoints, nor gateways "
            "of the class istio-east-west",
        )


def _about_ambient(found: Sequence[Installation]) -> Iterator[str]:
    for each in found:
        if each.ambient:
            parts = ", ".join(f"{count} {kind}" for kind, count in sorted(each.ambient.items()))
            yield f"{each.cluster}: the ambient mode beside sidecars ({parts}) is not verified"


def _about_exports(found: Sequence[Installation]) -> Iterator[str]:
    for each in found:
        if others := each.mcs - {SERVICE_EXPORTS.group}:
            yield (
                f"{each.cluster}: services that are exported by ServiceExports of "
                f"{', '.join(sorted(others))} are not verified, but those of "
                f"{SERVICE_EXPORTS.group}"
            )


def _others(found: Sequence[Installation]) -> dict[str, list[str]]:
    """Clusters that were not given, and by which of those that were they are read."""
    given = {each.cluster for each in found}
    others = {name for each in found for name in each.reads or ()} - given
    return {
        name: [each.cluster for each in found if name in (each.reads or ())]
        for name in sorted(others)
    }


def _about_others(others: Mapping[str, Sequence[str]]) -> Iterator[str]:
    for name, readers in others.items():
        yield f"istiod of {', '.join(readers)} reads {name}: no cluster of this name was given"


def _mesh(found: Sequence[Installation]) -> tuple[str, tuple[str, ...]]:
    """The mesh's id, and what is odd about it."""
    ids = {each.cluster: _mesh_id(each) for each in found if each.istiods}
    named = {cluster: name for cluster, name in ids.items() if name}
    different = sorted(set(named.values()))
    if len(different) > 1:
        each_id = ", ".join(f"{name} in {cluster}" for cluster, name in named.items())
        return next(iter(named.values())), (f"the mesh has more than one id: {each_id}",)
    return (different[0], ()) if different else (_UNNAMED_MESH, ("the mesh has no id",))


def _mesh_id(each: Installation) -> str:
    """Without a mesh id, proxies get the trust domain (Istio: injection template)."""
    return next((value.mesh_id for value in each.values if value.mesh_id), each.trust_domain)


def _scenario(
    mesh: str,
    clusters: Sequence[dict[str, str | None]],
    others: Iterable[str],
    cluster_domain: str,
    *,
    dns_proxying: bool,
    mcs: bool,
) -> Scenario:
    networks = list(dict.fromkeys(str(each["network"]) for each in clusters))
    roles = Counter(str(each["role"]) for each in clusters)
    parts = ["external control plane"] if roles["external"] else []
    parts += [_counted(roles["primary"], "primary", "primaries")] if roles["primary"] else []
    parts += [_counted(roles["remote"], "remote", "remotes")] if roles["remote"] else []
    joined = {str(each["network"]) for each in clusters if each["role"] != "external"}
    where = _counted(len(joined), "network", "networks")
    try:
        return Scenario(
            id=DISCOVERED,
            title=f"Mesh {mesh}: {' and '.join(parts)} on {where}",
            mesh=mesh,
            networks=tuple(NetworkSpec(name=name) for name in networks),
            clusters=tuple(ClusterSpec.model_validate(each) for each in clusters),
            others=tuple(others),
            clusterDomain=cluster_domain,
            dnsProxying=dns_proxying,
            mcs=mcs,
        )
    except ValidationError as error:
        refused = "; ".join(f"{each['input']}: {each['msg']}" for each in error.errors())
        raise ScenarioError(
            wanted="a mesh whose names a scenario can have",
            seen=refused,
            where="what was found",
        ) from error


def _counted(count: int, one: str, many: str) -> str:
    return f"{count} {one if count == 1 else many}"
