"""What must hold between the parts of a scenario."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from ipaddress import IPv4Network
from itertools import combinations
from typing import Protocol

from mesh_fixtures.addresses import IPNetwork

NODE_POD_PREFIX = 24
"""Prefix length of the pod CIDR that Kubernetes gives to each node by default."""

LARGEST_SERVICE_PREFIX = 12
"""Shortest prefix length of a service CIDR that kube-apiserver accepts."""


@dataclass(frozen=True)
class Defect:
    """One thing wrong in a scenario.

    Attributes:
        path: key path, e.g. `clusters[1].primary`; empty for the file as a whole.
        wanted: what belongs there, with the valid values.
        seen: what is there.
    """

    path: str
    wanted: str
    seen: str

    def __str__(self) -> str:
        return f"{self.path}: wanted {self.wanted}, seen {self.seen}"


@dataclass(frozen=True)
class AddressRange:
    """Addresses of a network's nodes and load balancers, or of a cluster's pods or services.

    Attributes:
        network: on which the pods or services are; empty for the addresses of a network itself,
            which are reached from all others.
        services_of: the cluster whose services have the addresses, which never leave it; empty for
            all else.
    """

    cidr: IPNetwork
    network: str = ""
    services_of: str = ""

    def conflicts(self, other: AddressRange) -> bool:
        """Whether somebody could mean either by one address. On different networks, pods have the
        same addresses in many a mesh (Istio: Deployment Models, Multiple networks).
        """
        return self._meets(other) and self.cidr.overlaps(other.cidr)

    def _meets(self, other: AddressRange) -> bool:
        if not (self.network and other.network):
            return True
        if self.services_of and other.services_of:
            return self.services_of == other.services_of
        return self.network == other.network


class _Network(Protocol):
    @property
    def name(self) -> str: ...
    @property
    def cidr(self) -> IPv4Network | None: ...


class _Cluster(Protocol):
    @property
    def name(self) -> str: ...
    @property
    def network(self) -> str: ...
    @property
    def is_primary(self) -> bool: ...
    @property
    def is_external(self) -> bool: ...
    @property
    def primary(self) -> str | None: ...
    @property
    def nodes(self) -> int: ...
    @property
    def pod_cidr(self) -> IPv4Network | None: ...
    @property
    def service_cidr(self) -> IPv4Network | None: ...
    @property
    def locality(self) -> str | None: ...
    @property
    def node_localities(self) -> tuple[str, ...]: ...


def contradictions(
    networks: Mapping[int, _Network],
    clusters: Mapping[int, _Cluster],
    *,
    others: Sequence[str] = (),
    revision: str = "",
    ip_families: Sequence[str] = ("IPv4",),
    unread_networks: Collection[str] = (),
    unread_clusters: Collection[str] = (),
) -> tuple[Defect, ...]:
    """Everything that the parts contradict each other in.

    Args:
        networks: well-formed networks by position in the file.
        clusters: well-formed clusters by position in the file.
        others: names of clusters that are not described.
        revision: as which every istiod is installed; empty for none.
        ip_families: families of addresses that the clusters have.
        unread_networks: names in malformed entries, so that they are not reported as missing.
        unread_clusters: likewise.
    """
    unread = bool(unread_networks or unread_clusters)
    return (
        *_repeated_names("networks", {at: network.name for at, network in networks.items()}),
        *_repeated_names("clusters", {at: cluster.name for at, cluster in clusters.items()}),
        *_described_others(clusters, others),
        *_dangling_networks(networks, clusters, unread_networks),
        *_roles(clusters, unread_clusters),
        *_external(clusters, unread_clusters, revision),
        *(() if unread else _unused_networks(networks, clusters)),
        *_node_localities(clusters),
        *_cidr_sizes(networks, clusters),
        *_overlaps(networks, clusters),
        *_repeated_families(ip_families),
        *_cidrs_of_no_family(networks, clusters, ip_families),
    )


def closest(name: str, valid: Collection[str]) -> str:
    """A sentence that names the valid values, the likely one first."""
    by_letters = {_letters(each): each for each in sorted(valid)}
    near = [by_letters[key] for key in get_close_matches(_letters(name), by_letters, n=1)]
    listed = f"one of {', '.join(sorted(valid))}" if valid else "nothing"
    return f"{listed} (did you mean {near[0]}?)" if near else listed


def _letters(name: str) -> str:
    return "".join(character for character in name.lower() if character.isalnum())


def _repeated_names(where: str, names: Mapping[int, str]) -> Iterator[Defect]:
    first: dict[str, int] = {}
    for at, name in names.items():
        if name in first:
            seen = f"{name}, which is also the name of {where}[{first[name]}]"
            yield Defect(f"{where}[{at}].name", "a name of its own", seen)
        first.setdefault(name, at)


def _described_others(clusters: Mapping[int, _Cluster], others: Sequence[str]) -> Iterator[Defect]:
    described = {cluster.name for cluster in clusters.values()}
    for at, name in enumerate(others):
        if name in described or name in others[:at]:
            seen = f"{name}, which is named before"
            yield Defect(f"others[{at}]", "a cluster that is not described", seen)


def _dangling_networks(
    networks: Mapping[int, _Network], clusters: Mapping[int, _Cluster], unread: Collection[str]
) -> Iterator[Defect]:
    known = {network.name for network in networks.values()} | set(unread)
    for at, cluster in clusters.items():
        if cluster.network not in known:
            wanted = closest(cluster.network, known)
            yield Defect(f"clusters[{at}].network", wanted, cluster.network)


def _unused_networks(
    networks: Mapping[int, _Network], clusters: Mapping[int, _Cluster]
) -> Iterator[Defect]:
    used = {cluster.network for cluster in clusters.values()}
    for at, network in networks.items():
        if network.name not in used:
            seen = f"{network.name}, which none is on"
            yield Defect(f"networks[{at}]", "a network that a cluster is on", seen)


def _roles(clusters: Mapping[int, _Cluster], unread: Collection[str]) -> Iterator[Defect]:
    primaries = {cluster.name for cluster in clusters.values() if cluster.is_primary}
    remotes = {cluster.name for cluster in clusters.values() if not cluster.is_primary}
    if clusters and not primaries and not unread:
        yield Defect("clusters", "at least one cluster with role primary or external", "none")
    for at, cluster in clusters.items():
        path = f"clusters[{at}].primary"
        if cluster.is_primary:
            if cluster.primary is not None:
                role = "external" if cluster.is_external else "primary"
                yield Defect(path, f"no such key in a cluster with role {role}", cluster.primary)
        elif cluster.primary is None:
            wanted = f"the cluster whose istiod this remote uses, {closest('', primaries)}"
            yield Defect(path, wanted, "nothing")
        elif cluster.primary not in primaries | set(unread):
            what = "a remote itself" if cluster.primary in remotes else "not a cluster"
            wanted = (
                f"a cluster with role primary or external, {closest(cluster.primary, primaries)}"
            )
            yield Defect(path, wanted, f"{cluster.primary}, {what}")


def _external(
    clusters: Mapping[int, _Cluster], unread: Collection[str], revision: str
) -> Iterator[Defect]:
    """An external control plane has no pods of the mesh, serves remotes, and is the only one; its
    first remote has its configuration (source: Istio, Install Istio with an External Control
    Plane).
    """
    found = {at: cluster for at, cluster in clusters.items() if cluster.is_external}
    if not found:
        return
    first = next(iter(found.values()))
    for at, cluster in clusters.items():
        if cluster.is_primary and cluster is not first:
            wanted = f"remote, as {first.name} is an external control plane, the only one"
            role = "external" if cluster.is_external else "primary"
            yield Defect(f"clusters[{at}].role", wanted, role)
    for at, cluster in found.items():
        if not unread and not any(each.primary == cluster.name for each in clusters.values()):
            wanted = f"at least one remote with `primary: {cluster.name}`"
            yield Defect(f"clusters[{at}].role", wanted, "none")
    if revision:
        wanted = "no such key, as external control planes are installed without a revision"
        yield Defect("revision", wanted, revision)


def _node_localities(clusters: Mapping[int, _Cluster]) -> Iterator[Defect]:
    """A cluster may span zones, but not regions: who is in its region is nearer than all others."""
    for at, cluster in clusters.items():
        path = f"clusters[{at}].nodeLocalities"
        given = cluster.node_localities
        region = (cluster.locality or "").partition("/")[0]
        if given and not region:
            yield Defect(path, "the cluster's `locality` too", "none")
        elif len(given) > cluster.nodes:
            wanted = f"at most one for each of {cluster.nodes} nodes"
            yield Defect(path, wanted, f"{len(given)}")
        for place, locality in enumerate(given):
            if region and locality.partition("/")[0] != region:
                yield Defect(f"{path}[{place}]", f"a zone of the cluster's {region}", locality)


def _cidr_sizes(
    networks: Mapping[int, _Network], clusters: Mapping[int, _Cluster]
) -> Iterator[Defect]:
    for at, network in networks.items():
        if network.cidr is not None and network.cidr.prefixlen > 24:
            yield Defect(f"networks[{at}].cidr", "a prefix of /24 or shorter", str(network.cidr))
    for at, cluster in clusters.items():
        pods, services = cluster.pod_cidr, cluster.service_cidr
        if pods is not None and cluster.nodes << pods.prefixlen > 1 << NODE_POD_PREFIX:
            room = f"room for /{NODE_POD_PREFIX} on each of {cluster.nodes} nodes"
            yield Defect(f"clusters[{at}].podCIDR", room, str(pods))
        if services is not None and not LARGEST_SERVICE_PREFIX <= services.prefixlen <= 24:
            wanted = f"a prefix from /{LARGEST_SERVICE_PREFIX} to /24"
            yield Defect(f"clusters[{at}].serviceCIDR", wanted, str(services))


def _overlaps(
    networks: Mapping[int, _Network], clusters: Mapping[int, _Cluster]
) -> Iterator[Defect]:
    for (one, first), (other, second) in combinations(_cidrs(networks, clusters), 2):
        if first.conflicts(second):
            seen = f"{second.cidr}, which overlaps {one} {first.cidr}"
            yield Defect(other, "addresses that nothing within its reach uses", seen)


def _repeated_families(ip_families: Sequence[str]) -> Iterator[Defect]:
    for at, family in enumerate(ip_families):
        if family in ip_families[:at]:
            yield Defect(f"ipFamilies[{at}]", "each family once", f"{family} again")


def _cidrs_of_no_family(
    networks: Mapping[int, _Network], clusters: Mapping[int, _Cluster], ip_families: Sequence[str]
) -> Iterator[Defect]:
    """CIDRs are of IPv4; providers choose those of IPv6."""
    if "IPv4" not in ip_families:
        for path, each in _cidrs(networks, clusters):
            wanted = "no such key where `ipFamilies` is without IPv4: the provider chooses"
            yield Defect(path, wanted, str(each.cidr))


def _cidrs(
    networks: Mapping[int, _Network], clusters: Mapping[int, _Cluster]
) -> Iterator[tuple[str, AddressRange]]:
    for at, network in networks.items():
        if network.cidr is not None:
            yield f"networks[{at}].cidr", AddressRange(network.cidr)
    for at, cluster in clusters.items():
        if cluster.pod_cidr is not None:
            yield f"clusters[{at}].podCIDR", AddressRange(cluster.pod_cidr, cluster.network)
        if cluster.service_cidr is not None:
            services = AddressRange(cluster.service_cidr, cluster.network, cluster.name)
            yield f"clusters[{at}].serviceCIDR", services
