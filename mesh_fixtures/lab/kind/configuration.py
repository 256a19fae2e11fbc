"""The configuration of a kind lab as values: clusters, addresses, routes, filters of its nodes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network
from typing import Any, Final

import yaml

from mesh_fixtures import patience
from mesh_fixtures.addresses import IPNetwork
from mesh_fixtures.contract import AddressPool
from mesh_fixtures.errors import LabError, ScenarioError
from mesh_fixtures.lab.addressing import (
    LabAddresses,
    assign_addresses,
    locality_labels,
    pool_of,
)
from mesh_fixtures.records import SLOTS
from mesh_fixtures.scenario import CLUSTER_DOMAIN, IPV4_ONLY, Scenario

API_SERVER_PORT: Final = 6443
"""Where kind's control planes listen inside the container network."""

_KUBEADM: Final = {"apiVersion": "kubeadm.k8s.io/v1beta4"}
_TIMED: Final = ("InitConfiguration", "JoinConfiguration")
_KUBEADM_SECONDS: Final = {
    "controlPlaneComponentHealthCheck": 240,
    "discovery": 300,
    "etcdAPICall": 120,
    "kubeletHealthCheck": 240,
    "kubernetesAPICall": 60,
    "tlsBootstrap": 300,
}
"""How long kubeadm waits unless it is told otherwise (Kubernetes: kubeadm Configuration, v1beta4,
Timeouts). An older configuration has no such field, and kind leaves out what is for another."""

_ANY_LAB: Final = "mesh-0000"
"""As long as the ids of all labs."""

_LONGEST_HOST_NAME: Final = 63
_LONGEST_SUFFIX: Final = "-control-plane"


@dataclass(frozen=True)
class NodeNetwork:
    """A node as the others see it: its container, address, and the pods that it holds."""

    container: str
    address: IPv4Address
    pods: IPv4Network


def cluster_name(lab: str, cluster: str) -> str:
    """Kind's name of a cluster."""
    return f"{lab}-{cluster}"


def require_fit(scenario: Scenario) -> None:
    """See to it that kind can make what a scenario asks for.

    Raises:
        ScenarioError: it cannot.
    """
    for network in scenario.networks:
        if network.cidr is not None:
            raise ScenarioError(
                wanted="networks without `cidr`: kind's nodes share one network, whose addresses "
                "the container engine chooses",
                seen=f"{network.name}: {network.cidr}",
                where=f"scenario {scenario.id}",
                remedy="leave `cidr` out, or use --mesh-provider netns",
            )
    if scenario.ip_families != IPV4_ONLY:
        raise ScenarioError(
            wanted="addresses of IPv4 only: the network of kind's nodes has no others",
            seen=f"ipFamilies: {', '.join(scenario.ip_families)}",
            where=f"scenario {scenario.id}",
            remedy="use --mesh-provider netns",
        )
    for cluster in scenario.clusters:
        host = cluster_name(_ANY_LAB, cluster.name) + _LONGEST_SUFFIX
        if len(host) > _LONGEST_HOST_NAME:
            raise ScenarioError(
                wanted=f"a name of a cluster that makes host names of {_LONGEST_HOST_NAME} letters",
                seen=f"{cluster.name}, which makes {host}",
                where=f"scenario {scenario.id}",
                remedy="give the cluster a shorter name",
            )
    assign_addresses(scenario, slot=0)


def addresses_beside(scenario: Scenario, subnet: IPv4Network) -> LabAddresses:
    """Pod and service CIDRs that do not overlap the container network's subnet.

    Raises:
        LabError: the scenario's own CIDRs overlap it.
    """
    for slot in range(SLOTS):
        addresses = assign_addresses(scenario, slot)
        if not any(cidr.overlaps(subnet) for cidr in _ranges(addresses)):
            return addresses
    raise LabError(
        wanted=f"pod and service CIDRs beside the container network's {subnet}",
        seen=", ".join(map(str, _ranges(addresses))),
        where=f"scenario {scenario.id}",
        remedy="change or leave out podCIDR and serviceCIDR",
    )


def _ranges(addresses: LabAddresses) -> Iterator[IPNetwork]:
    for cluster in addresses.clusters.values():
        yield cluster.pod_cidr
        yield cluster.service_cidr


def pools(scenario: Scenario, subnet: IPv4Network) -> dict[str, AddressPool]:
    """A pool for each cluster from the upper half of the subnet.

    Engines give addresses to the gateway and to containers from the lower end.

    Raises:
        LabError: the subnet is too small.
    """
    count = len(scenario.clusters)
    nodes = sum(cluster.nodes for cluster in scenario.clusters)
    half = subnet.num_addresses // 2
    if half - 2 < max(count, nodes):
        raise LabError(
            wanted=f"a container network with room for {nodes} nodes and {count} pools",
            seen=str(subnet),
            where=f"scenario {scenario.id}",
            remedy="let the container engine make larger networks (default address pools)",
        )
    return {
        cluster.name: pool_of(subnet, place, count)
        for place, cluster in enumerate(scenario.clusters)
    }


def _timeouts() -> dict[str, str]:
    return {name: f"{patience.whole(seconds)}s" for name, seconds in _KUBEADM_SECONDS.items()}


def cluster_configuration(
    scenario: Scenario, cluster: str, addresses: LabAddresses
) -> dict[str, Any]:
    """Kind's configuration of a cluster (kind: "Configuration", v1alpha4)."""
    spec = scenario.cluster(cluster)
    of_cluster = addresses.clusters[cluster]
    roles = ("control-plane", *("worker",) * (spec.nodes - 1))
    labels = [locality_labels(each.locality) for each in of_cluster.nodes]
    patches = []
    if of_cluster.domain != CLUSTER_DOMAIN:  # kubeadm: ClusterConfiguration, networking
        patches.append(
            {"kind": "ClusterConfiguration", "networking": {"dnsDomain": of_cluster.domain}}
        )
    if patience.current().factor > patience.LEAST:
        patches += [{**_KUBEADM, "kind": kind, "timeouts": _timeouts()} for kind in _TIMED]
    own = {"kubeadmConfigPatches": [yaml.safe_dump(each) for each in patches]} if patches else {}
    return {
        "kind": "Cluster",
        "apiVersion": "kind.x-k8s.io/v1alpha4",
        "networking": {
            "ipFamily": "ipv4",
            "apiServerAddress": "127.0.0.1",
            "podSubnet": str(of_cluster.pod_cidr),
            "serviceSubnet": str(of_cluster.service_cidr),
        },
        "nodes": [{"role": role, "labels": each} for role, each in zip(roles, labels, strict=True)],
        **own,
    }


def routes(node: NodeNetwork, others: Sequence[NodeNetwork]) -> list[tuple[str, ...]]:
    """Commands that let a node reach the pods of the other nodes of its network directly."""
    return [
        ("ip", "route", "replace", str(other.pods), "via", str(other.address))
        for other in others
        if other != node
    ]


def filters(own: IPNetwork, others: Sequence[IPNetwork]) -> list[tuple[str, ...]]:
    """Commands that make a node drop what goes between its cluster's pods and another network's.

    Load balancers and API servers of the other network stay reachable. Pods that have the same
    addresses do not reach each other anyway.
    """
    apart = [other for other in others if not other.overlaps(own)]
    pairs = [pair for other in apart for pair in ((own, other), (other, own))]
    return [
        ("iptables", "--wait", "--insert", "FORWARD",
         "--source", str(source), "--destination", str(target), "--jump", "DROP")
        for source, target in pairs
    ]  # fmt: skip
