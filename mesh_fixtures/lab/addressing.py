"""Which addresses a lab uses: a pure function of the scenario and the lab's slot.

A lab owns one /12 of 10.0.0.0/8 and one /48 of fd6d:6573:6800::/40, so two labs with different
slots never share an address. Either is cut into 256 blocks, of 4096 addresses of IPv4 or a /56 of
IPv6: networks first, then a pod and a service block for each cluster.

What has addresses has one of each family of the scenario, in its order; the first is the primary
one (source: Kubernetes, IPv4/IPv6 dual-stack). Those of IPv6 are unique local ones (RFC 4193).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network
from itertools import combinations, islice
from typing import Final

from mesh_fixtures.addresses import IPAddress, IPNetwork
from mesh_fixtures.contract import AddressPool, Node
from mesh_fixtures.errors import ScenarioError
from mesh_fixtures.kube.objects import REGION_LABEL, ZONE_LABEL
from mesh_fixtures.records import SLOTS
from mesh_fixtures.scenario import DNS_LABEL, AddressRange, ClusterSpec, IpFamily, Scenario


@dataclass(frozen=True)
class _Plan:
    """How the addresses of a family are cut: prefix lengths.

    Attributes:
        whole: what the slots of all labs are cut from.
        block: of a part of a slot.
        network: of a network, the first in its block.
        service: of a cluster's services, the first in their block.
        pods_of_node: of what a node hands out, unless all pods of its cluster have fewer.
    """

    whole: IPNetwork
    slot: int
    block: int
    network: int
    service: int
    pods_of_node: int


_PLANS: Final[Mapping[IpFamily, _Plan]] = {
    "IPv4": _Plan(IPv4Network("10.0.0.0/8"), 12, 20, 20, 20, 24),
    # An API server takes no more than 2**20 addresses for services.
    "IPv6": _Plan(IPv6Network("fd6d:6573:6800::/40"), 48, 56, 64, 112, 64),
}
_FIRST_NETWORK_BLOCK = 1
_FIRST_CLUSTER_BLOCK = 64
_LARGEST_POOL = 64
_LONGEST_CLUSTER_NAME = 55
"""Leaves room for the suffix of a node's name, which is a label."""


@dataclass(frozen=True)
class NetworkAddresses:
    """A network: its subnet of each family."""

    name: str
    cidrs: tuple[IPNetwork, ...]

    @property
    def cidr(self) -> IPNetwork:
        return self.cidrs[0]

    @property
    def gateways(self) -> tuple[IPAddress, ...]:
        """The router's addresses on it."""
        return tuple(cidr[1] for cidr in self.cidrs)

    @property
    def gateway(self) -> IPAddress:
        return self.gateways[0]


@dataclass(frozen=True)
class NodeAddresses:
    """A node: name, addresses on its network, the parts of the pod CIDRs that it hands out, and its
    locality.
    """

    name: str
    addresses: tuple[IPAddress, ...]
    pod_cidrs: tuple[IPNetwork, ...]
    locality: str

    @property
    def address(self) -> IPAddress:
        return self.addresses[0]

    @property
    def pod_cidr(self) -> IPNetwork:
        return self.pod_cidrs[0]

    def as_node(self) -> Node:
        return Node(self.name, self.address)


@dataclass(frozen=True)
class ClusterAddresses:
    """Everything about a cluster that is an address, or belongs to one.

    Attributes:
        domain: under which its DNS has Services.
        kubernetes_service: ClusterIP of `kubernetes.default`, the first of the service CIDR.
        dns_services: ClusterIPs of `kube-dns`, the tenth, as kubeadm chooses it.
    """

    name: str
    domain: str
    network: NetworkAddresses
    pod_cidrs: tuple[IPNetwork, ...]
    service_cidrs: tuple[IPNetwork, ...]
    nodes: tuple[NodeAddresses, ...]
    pools: tuple[AddressPool, ...]

    @property
    def control_plane(self) -> NodeAddresses:
        return self.nodes[0]

    @property
    def pod_cidr(self) -> IPNetwork:
        return self.pod_cidrs[0]

    @property
    def service_cidr(self) -> IPNetwork:
        return self.service_cidrs[0]

    @property
    def pool(self) -> AddressPool:
        return self.pools[0]

    @property
    def kubernetes_service(self) -> IPAddress:
        return self.service_cidr[1]

    @property
    def dns_services(self) -> tuple[IPAddress, ...]:
        return tuple(cidr[10] for cidr in self.service_cidrs)

    @property
    def dns_service(self) -> IPAddress:
        return self.dns_services[0]


@dataclass(frozen=True)
class LabAddresses:
    """Addresses of all networks and clusters of a lab."""

    networks: Mapping[str, NetworkAddresses]
    clusters: Mapping[str, ClusterAddresses]

    def clusters_on(self, network: str) -> tuple[ClusterAddresses, ...]:
        return tuple(c for c in self.clusters.values() if c.network.name == network)


def assign_addresses(scenario: Scenario, slot: int) -> LabAddresses:
    """Addresses for a scenario in one of the `SLOTS` address ranges.

    CIDRs that the scenario names are used as they are; the others are from the slot's range.

    Raises:
        ScenarioError: a name that no lab can give, too many networks, clusters or nodes for the
            ranges, or a CIDR of the scenario that overlaps another one.
        ValueError: no such slot.
    """
    _require_names(scenario)
    ranges = [_Ranges.of(scenario, slot, family) for family in scenario.ip_families]
    networks = {
        network.name: NetworkAddresses(
            network.name, tuple(each.network(position) for each in ranges)
        )
        for position, network in enumerate(scenario.networks)
    }
    clusters: dict[str, ClusterAddresses] = {}
    for position, cluster in enumerate(scenario.clusters):
        network_addresses = networks[cluster.network]
        neighbours = [c for c in scenario.clusters if c.network == cluster.network]
        place = neighbours.index(cluster)
        first_node = 2 + sum(c.nodes for c in neighbours[:place])
        for cidr in network_addresses.cidrs:
            end = first_node + cluster.nodes
            _require_room(scenario, cluster.name, cidr, len(neighbours), end)
        pod_cidrs = tuple(each.pods(position) for each in ranges)
        clusters[cluster.name] = ClusterAddresses(
            name=cluster.name,
            domain=scenario.cluster_domain,
            network=network_addresses,
            pod_cidrs=pod_cidrs,
            service_cidrs=tuple(each.services(position) for each in ranges),
            nodes=_nodes(scenario, cluster, network_addresses, first_node, pod_cidrs),
            pools=tuple(pool_of(cidr, place, len(neighbours)) for cidr in network_addresses.cidrs),
        )
    addresses = LabAddresses(networks, clusters)
    _require_disjoint(scenario, addresses)
    return addresses


@dataclass(frozen=True)
class _Ranges:
    """Ranges of one family: the scenario's own, or those of the slot."""

    scenario: Scenario
    plan: _Plan
    blocks: Sequence[IPNetwork]
    has_own: bool

    @classmethod
    def of(cls, scenario: Scenario, slot: int, family: IpFamily) -> _Ranges:
        plan = _PLANS[family]
        return cls(scenario, plan, _blocks(plan, slot), has_own=family == "IPv4")

    def network(self, position: int) -> IPNetwork:
        own = self.scenario.networks[position].cidr if self.has_own else None
        return own or self._part(_FIRST_NETWORK_BLOCK + position, self.plan.network)

    def pods(self, position: int) -> IPNetwork:
        own = self.scenario.clusters[position].pod_cidr if self.has_own else None
        return own or self._part(_FIRST_CLUSTER_BLOCK + 2 * position, self.plan.block)

    def services(self, position: int) -> IPNetwork:
        own = self.scenario.clusters[position].service_cidr if self.has_own else None
        return own or self._part(_FIRST_CLUSTER_BLOCK + 2 * position + 1, self.plan.service)

    def _part(self, index: int, prefix: int) -> IPNetwork:
        block = _block(self.scenario, self.blocks, index)
        return next(_subnets(block, prefix))


def _require_names(scenario: Scenario) -> None:
    """A mesh may have other names, but a lab makes names of nodes, objects and files of them."""
    limits = {
        **{f"networks[{at}].name": (e.name, 63) for at, e in enumerate(scenario.networks)},
        **{
            f"clusters[{at}].name": (each.name, _LONGEST_CLUSTER_NAME)
            for at, each in enumerate(scenario.clusters)
        },
    }
    for path, (name, longest) in limits.items():
        if len(name) > longest or not re.fullmatch(DNS_LABEL, name):
            raise ScenarioError(
                wanted=f"at most {longest} lower-case letters, digits and hyphens, as a lab makes "
                "names of nodes of them",
                seen=name,
                where=f"scenario {scenario.id}, {path}",
                remedy="choose another name; an existing mesh may have this one",
            )


def _blocks(plan: _Plan, slot: int) -> list[IPNetwork]:
    if not 0 <= slot < SLOTS:
        raise ValueError(f"slot {slot} is not between 0 and {SLOTS - 1}")
    whole = next(islice(_subnets(plan.whole, plan.slot), slot, None))
    return list(_subnets(whole, plan.block))


def _subnets(whole: IPNetwork, prefix: int) -> Iterator[IPNetwork]:
    yield from whole.subnets(new_prefix=prefix)


def _block(scenario: Scenario, blocks: Sequence[IPNetwork], index: int) -> IPNetwork:
    limit = _FIRST_CLUSTER_BLOCK if index < _FIRST_CLUSTER_BLOCK else len(blocks)
    if index >= limit or (
        index >= _FIRST_CLUSTER_BLOCK and len(scenario.networks) >= _FIRST_CLUSTER_BLOCK
    ):
        raise ScenarioError(
            wanted=f"at most {_FIRST_CLUSTER_BLOCK - _FIRST_NETWORK_BLOCK} networks and "
            f"{(len(blocks) - _FIRST_CLUSTER_BLOCK) // 2} clusters",
            seen=f"{len(scenario.networks)} networks and {len(scenario.clusters)} clusters",
            where=f"scenario {scenario.id}",
        )
    return blocks[index]


def _require_room(
    scenario: Scenario, cluster: str, cidr: IPNetwork, neighbours: int, nodes_end: int
) -> None:
    half = cidr.num_addresses // 2
    if nodes_end > half or half - 2 < neighbours:
        raise ScenarioError(
            wanted=f"a network with room for nodes and load balancers of {neighbours} clusters",
            seen=f"{cidr} with {cidr.num_addresses} addresses",
            where=f"scenario {scenario.id}, cluster {cluster}",
            remedy="give the network a larger `cidr`, or none",
        )


def _nodes(
    scenario: Scenario,
    cluster: ClusterSpec,
    network: NetworkAddresses,
    first: int,
    pod_cidrs: Sequence[IPNetwork],
) -> tuple[NodeAddresses, ...]:
    parts = [
        _parts_of_nodes(scenario, cluster, pod_cidr, _PLANS[family].pods_of_node)
        for family, pod_cidr in zip(scenario.ip_families, pod_cidrs, strict=True)
    ]
    return tuple(
        NodeAddresses(
            f"{cluster.name}-node{number + 1}",
            tuple(cidr[first + number] for cidr in network.cidrs),
            tuple(part[number] for part in parts),
            locality,
        )
        for number, locality in enumerate(_localities(cluster))
    )


def _parts_of_nodes(
    scenario: Scenario, cluster: ClusterSpec, pod_cidr: IPNetwork, longest: int
) -> list[IPNetwork]:
    prefix = max(longest, pod_cidr.prefixlen)
    parts = 2 ** (prefix - pod_cidr.prefixlen)
    if cluster.nodes > parts:
        raise ScenarioError(
            wanted=f"at most {parts} nodes, one /{prefix} of {pod_cidr} each",
            seen=f"nodes: {cluster.nodes}",
            where=f"scenario {scenario.id}, cluster {cluster.name}",
            remedy="give the cluster a larger `podCIDR` or fewer nodes",
        )
    return list(islice(_subnets(pod_cidr, prefix), cluster.nodes))


def _localities(cluster: ClusterSpec) -> tuple[str, ...]:
    """The locality of each node of a cluster: where the scenario has none, a region for each
    network and a zone for each cluster.
    """
    return tuple(each or f"{cluster.network}/{cluster.name}" for each in cluster.localities)


def locality_labels(locality: str) -> dict[str, str]:
    """Labels by which a node is in a locality: of them, Istio makes those of proxies and endpoints.

    Source: Kubernetes, Well-Known Labels; Istio, Locality Load Balancing.
    """
    region, _, zone = locality.partition("/")
    return {REGION_LABEL: region, **({ZONE_LABEL: zone} if zone else {})}


def pool_of(cidr: IPNetwork, place: int, neighbours: int) -> AddressPool:
    """A cluster's pool: the upper half of a network belongs to load balancers, an equal share to
    each of its clusters.

    Args:
        place: which of them, from 0.
    """
    half = cidr.num_addresses // 2
    size = min(_LARGEST_POOL, (half - 1) // neighbours)
    first = half + place * size
    return AddressPool(cidr[first], cidr[first + size - 1])


def _require_disjoint(scenario: Scenario, addresses: LabAddresses) -> None:
    ranges = [
        (f"network {network.name}", AddressRange(cidr))
        for network in addresses.networks.values()
        for cidr in network.cidrs
    ]
    for cluster in addresses.clusters.values():
        name, network = cluster.name, cluster.network.name
        ranges += [(f"pods of {name}", AddressRange(c, network)) for c in cluster.pod_cidrs]
        ranges += [
            (f"services of {name}", AddressRange(c, network, name)) for c in cluster.service_cidrs
        ]
    for (one, first), (other, second) in combinations(ranges, 2):
        if first.conflicts(second):
            raise ScenarioError(
                wanted="address ranges that do not overlap",
                seen=f"{one} {first.cidr} overlaps {other} {second.cidr}",
                where=f"scenario {scenario.id}",
                remedy="change or leave out one of these CIDRs in the scenario",
            )
