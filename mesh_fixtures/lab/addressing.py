"""Which addresses a lab uses: a pure function of the scenario and the lab's slot.

A lab owns one /12 of 10.0.0.0/8, so two labs with different slots never share an address. The /12
is cut into blocks of 4096 addresses: networks first, then a pod and a service block for each
cluster.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network

from mesh_fixtures.contract import AddressPool, Node
from mesh_fixtures.errors import ScenarioError
from mesh_fixtures.kube.objects import REGION_LABEL, ZONE_LABEL
from mesh_fixtures.records import SLOTS
from mesh_fixtures.scenario import DNS_LABEL, ClusterSpec, Scenario

_WHOLE = IPv4Network("10.0.0.0/8")
_SLOT_PREFIX = 12
_BLOCK_PREFIX = 20
_POD_CIDR_OF_NODE_PREFIX = 24
_FIRST_NETWORK_BLOCK = 1
_FIRST_CLUSTER_BLOCK = 64
_LARGEST_POOL = 64
_LONGEST_CLUSTER_NAME = 55
"""Leaves room for the suffix of a node's name, which is a label."""


@dataclass(frozen=True)
class NetworkAddresses:
    """A network: its subnet and the router's address on it."""

    name: str
    cidr: IPv4Network
    gateway: IPv4Address


@dataclass(frozen=True)
class NodeAddresses:
    """A node: name, address on its network, the part of the pod CIDR that it hands out, and its
    locality.
    """

    name: str
    address: IPv4Address
    pod_cidr: IPv4Network
    locality: str

    def as_node(self) -> Node:
        return Node(self.name, self.address)


@dataclass(frozen=True)
class ClusterAddresses:
    """Everything about a cluster that is an address, or belongs to one.

    Attributes:
        domain: under which its DNS has Services.
        kubernetes_service: ClusterIP of `kubernetes.default`, the first of the service CIDR.
        dns_service: ClusterIP of `kube-dns`, the tenth, as kubeadm chooses it.
    """

    name: str
    domain: str
    network: NetworkAddresses
    pod_cidr: IPv4Network
    service_cidr: IPv4Network
    nodes: tuple[NodeAddresses, ...]
    pool: AddressPool

    @property
    def control_plane(self) -> NodeAddresses:
        return self.nodes[0]

    @property
    def kubernetes_service(self) -> IPv4Address:
        return self.service_cidr[1]

    @property
    def dns_service(self) -> IPv4Address:
        return self.service_cidr[10]


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
    blocks = _blocks(slot)
    networks: dict[str, NetworkAddresses] = {}
    for position, network in enumerate(scenario.networks):
        cidr = network.cidr or _block(scenario, blocks, _FIRST_NETWORK_BLOCK + position)
        networks[network.name] = NetworkAddresses(network.name, cidr, cidr[1])
    clusters: dict[str, ClusterAddresses] = {}
    for position, cluster in enumerate(scenario.clusters):
        network_addresses = networks[cluster.network]
        neighbours = [c for c in scenario.clusters if c.network == cluster.network]
        place = neighbours.index(cluster)
        first_node = 2 + sum(c.nodes for c in neighbours[:place])
        pod_cidr = cluster.pod_cidr or _block(scenario, blocks, _FIRST_CLUSTER_BLOCK + 2 * position)
        service_cidr = cluster.service_cidr or _block(
            scenario, blocks, _FIRST_CLUSTER_BLOCK + 2 * position + 1
        )
        _require_room(
            scenario,
            cluster.name,
            network_addresses.cidr,
            len(neighbours),
            first_node + cluster.nodes,
        )
        clusters[cluster.name] = ClusterAddresses(
            name=cluster.name,
            domain=scenario.cluster_domain,
            network=network_addresses,
            pod_cidr=pod_cidr,
            service_cidr=service_cidr,
            nodes=_nodes(scenario, cluster, network_addresses.cidr, first_node, pod_cidr),
            pool=pool_of(network_addresses.cidr, place, len(neighbours)),
        )
    addresses = LabAddresses(networks, clusters)
    _require_disjoint(scenario, addresses)
    return addresses


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


def _blocks(slot: int) -> list[IPv4Network]:
    if not 0 <= slot < SLOTS:
        raise ValueError(f"slot {slot} is not between 0 and {SLOTS - 1}")
    whole = list(_WHOLE.subnets(new_prefix=_SLOT_PREFIX))[slot]
    return list(whole.subnets(new_prefix=_BLOCK_PREFIX))


def _block(scenario: Scenario, blocks: list[IPv4Network], index: int) -> IPv4Network:
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
    scenario: Scenario, cluster: str, cidr: IPv4Network, neighbours: int, nodes_end: int
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
    cidr: IPv4Network,
    first: int,
    pod_cidr: IPv4Network,
) -> tuple[NodeAddresses, ...]:
    prefix = max(_POD_CIDR_OF_NODE_PREFIX, pod_cidr.prefixlen)
    parts = 2 ** (prefix - pod_cidr.prefixlen)
    if cluster.nodes > parts:
        raise ScenarioError(
            wanted=f"at most {parts} nodes, one /{prefix} of {pod_cidr} each",
            seen=f"nodes: {cluster.nodes}",
            where=f"scenario {scenario.id}, cluster {cluster.name}",
            remedy="give the cluster a larger `podCIDR` or fewer nodes",
        )
    subnets = pod_cidr.subnets(new_prefix=prefix)
    return tuple(
        NodeAddresses(
            f"{cluster.name}-node{number + 1}", cidr[first + number], next(subnets), locality
        )
        for number, locality in enumerate(_localities(cluster))
    )


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


def pool_of(cidr: IPv4Network, place: int, neighbours: int) -> AddressPool:
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
    ranges = [(f"network {n.name}", n.cidr) for n in addresses.networks.values()]
    for cluster in addresses.clusters.values():
        ranges.append((f"pods of {cluster.name}", cluster.pod_cidr))
        ranges.append((f"services of {cluster.name}", cluster.service_cidr))
    for position, (name, cidr) in enumerate(ranges):
        for other_name, other in ranges[position + 1 :]:
            if cidr.overlaps(other):
                raise ScenarioError(
                    wanted="address ranges that do not overlap",
                    seen=f"{name} {cidr} overlaps {other_name} {other}",
                    where=f"scenario {scenario.id}",
                    remedy="change or leave out one of these CIDRs in the scenario",
                )
