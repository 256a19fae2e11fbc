from __future__ import annotations

from collections.abc import Sequence
from ipaddress import IPv6Network
from itertools import combinations, pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh_fixtures.addresses import IPNetwork
from mesh_fixtures.errors import ScenarioError
from mesh_fixtures.lab.addressing import LabAddresses, assign_addresses
from mesh_fixtures.records import SLOTS
from mesh_fixtures.scenario import IPV4_ONLY, IpFamily, Scenario

FAMILIES: list[tuple[IpFamily, ...]] = [
    ("IPv4",),
    ("IPv6",),
    ("IPv4", "IPv6"),
    ("IPv6", "IPv4"),
]


def scenario(
    networks: list[dict[str, Any]],
    clusters: list[dict[str, Any]],
    families: Sequence[IpFamily] = IPV4_ONLY,
) -> Scenario:
    return Scenario.model_validate(
        {
            "id": "example",
            "title": "Example",
            "mesh": "mesh1",
            "networks": networks,
            "clusters": [
                {"role": "primary", "helloworld": f"v{n}", **cluster}
                for n, cluster in enumerate(clusters, 1)
            ],
            "ipFamilies": families,
        }
    )


@st.composite
def scenarios(draw: st.DrawFn) -> Scenario:
    network_count = draw(st.integers(1, 6))
    extra = draw(st.lists(st.integers(0, network_count - 1), max_size=8))
    places = [*range(network_count), *extra]
    return scenario(
        [{"name": f"network{n}"} for n in range(network_count)],
        [
            {"name": f"cluster{n}", "network": f"network{place}", "nodes": draw(st.integers(1, 5))}
            for n, place in enumerate(places)
        ],
        draw(st.sampled_from(FAMILIES)),
    )


def ranges(addresses: LabAddresses) -> list[IPNetwork]:
    return [
        *(cidr for network in addresses.networks.values() for cidr in network.cidrs),
        *(cidr for cluster in addresses.clusters.values() for cidr in cluster.pod_cidrs),
        *(cidr for cluster in addresses.clusters.values() for cidr in cluster.service_cidrs),
    ]


def overlaps(found: list[IPNetwork]) -> list[tuple[IPNetwork, IPNetwork]]:
    """Neighbours that overlap; where none do, no others do either."""
    ordered = sorted(found, key=lambda each: (each.version, each.network_address.packed))
    return [(one, other) for one, other in pairwise(ordered) if one.overlaps(other)]


@given(scenarios(), st.integers(0, SLOTS - 1))
def test_no_two_ranges_overlap(example: Scenario, slot: int) -> None:
    assert overlaps(ranges(assign_addresses(example, slot))) == []


@given(scenarios())
def test_two_slots_share_no_address(example: Scenario) -> None:
    both = ranges(assign_addresses(example, 2)) + ranges(assign_addresses(example, 3))
    assert overlaps(both) == []


@given(scenarios())
def test_hosts_gateways_and_pools_of_a_network_are_distinct(example: Scenario) -> None:
    addresses = assign_addresses(example, 0)
    networks = [
        (network, at) for network in addresses.networks.values() for at in range(len(network.cidrs))
    ]
    for network, at in networks:
        clusters = addresses.clusters_on(network.name)
        cidr, gateway = network.cidrs[at], network.gateways[at]
        nodes = [node.addresses[at] for cluster in clusters for node in cluster.nodes]
        pools = [cluster.pools[at] for cluster in clusters]
        assert len({*nodes, gateway}) == len(nodes) + 1
        assert all(node in cidr for node in nodes)
        for pool in pools:
            assert pool.first in cidr
            assert pool.last in cidr
            assert int(pool.first) <= int(pool.last)
            assert cidr.broadcast_address not in pool
            assert not any(node in pool for node in [*nodes, gateway])
        for one, other in combinations(pools, 2):
            assert one.last not in other
            assert one.first not in other


@given(scenarios())
def test_pods_of_nodes_are_distinct_parts_of_the_pod_cidr(example: Scenario) -> None:
    for cluster in assign_addresses(example, 0).clusters.values():
        of_all = [cidr for node in cluster.nodes for cidr in node.pod_cidrs]
        assert overlaps(of_all) == []
        for node in cluster.nodes:
            for own, whole in zip(node.pod_cidrs, cluster.pod_cidrs, strict=True):
                assert own.network_address in whole
                assert own.broadcast_address in whole


@given(scenarios(), st.integers(0, SLOTS - 1))
def test_addresses_are_of_the_families_in_their_order(example: Scenario, slot: int) -> None:
    versions = [int(family[-1]) for family in example.ip_families]
    for cluster in assign_addresses(example, slot).clusters.values():
        assert [each.version for each in cluster.pod_cidrs] == versions
        assert [each.version for each in cluster.service_cidrs] == versions
        assert [each.version for each in cluster.network.cidrs] == versions
        assert [each.first.version for each in cluster.pools] == versions
        for node in cluster.nodes:
            assert [each.version for each in node.addresses] == versions


@given(scenarios(), st.integers(0, SLOTS - 1))
def test_a_family_has_the_same_addresses_beside_another_one(example: Scenario, slot: int) -> None:
    both = example.model_copy(update={"ip_families": ("IPv6", "IPv4")})
    alone = ranges(assign_addresses(example, slot))
    assert {*alone} <= {*ranges(assign_addresses(both, slot))}


@given(scenarios(), st.integers(0, SLOTS - 1))
def test_addresses_of_ipv6_are_unique_local_ones(example: Scenario, slot: int) -> None:
    found = ranges(assign_addresses(example, slot))
    private = IPv6Network("fd00::/8")
    assert all(each.network_address in private for each in found if each.version == 6)


@given(scenarios())
def test_services_are_no_more_than_an_api_server_takes(example: Scenario) -> None:
    for cluster in assign_addresses(example, 0).clusters.values():
        assert all(each.num_addresses <= 2**20 for each in cluster.service_cidrs)


def test_cidrs_of_the_scenario_are_used() -> None:
    example = scenario(
        [{"name": "network1", "cidr": "192.168.8.0/24"}],
        [
            {
                "name": "cluster1",
                "network": "network1",
                "podCIDR": "172.20.0.0/22",
                "serviceCIDR": "172.21.0.0/24",
            }
        ],
    )
    cluster = assign_addresses(example, 0).clusters["cluster1"]
    assert str(cluster.network.cidr) == "192.168.8.0/24"
    assert str(cluster.nodes[0].address) == "192.168.8.2"
    assert str(cluster.nodes[0].pod_cidr) == "172.20.0.0/24"
    assert str(cluster.dns_service) == "172.21.0.10"


def test_a_cidr_over_a_range_of_the_slot_is_refused() -> None:
    example = scenario(
        [{"name": "network1"}],
        [{"name": "cluster1", "network": "network1", "podCIDR": "10.0.0.0/8"}],
    )
    with pytest.raises(ScenarioError, match=r"overlaps"):
        assign_addresses(example, 0)


def two_clusters(networks: tuple[str, str], **ranges: str) -> Scenario:
    """Two clusters that want the same addresses."""
    return scenario(
        [{"name": name} for name in dict.fromkeys(networks)],
        [{"name": f"cluster{n}", "network": name, **ranges} for n, name in enumerate(networks)],
    )


def test_pods_have_the_same_addresses_on_different_networks_only() -> None:
    same = two_clusters(("network1", "network2"), podCIDR="100.96.0.0/16")
    found = assign_addresses(same, 0)
    assert len({cluster.pod_cidr for cluster in found.clusters.values()}) == 1
    with pytest.raises(ValueError, match=r"overlaps clusters\[0\]\.podCIDR"):
        two_clusters(("network1", "network1"), podCIDR="100.96.0.0/16")


def test_services_have_the_same_addresses_in_all_clusters() -> None:
    assign_addresses(two_clusters(("network1", "network1"), serviceCIDR="100.64.0.0/16"), 0)
    both = {"podCIDR": "100.64.0.0/17", "serviceCIDR": "100.64.0.0/16"}
    with pytest.raises(ValueError, match=r"overlaps clusters\[0\]\.podCIDR"):
        two_clusters(("network1", "network2"), **both)


def test_a_network_that_is_too_small_for_all_its_clusters_is_refused() -> None:
    example = scenario(
        [{"name": "network1", "cidr": "192.168.8.0/24"}],
        [{"name": f"cluster{n}", "network": "network1", "nodes": 16} for n in range(10)],
    )
    with pytest.raises(ScenarioError, match=r"larger `cidr`"):
        assign_addresses(example, 0)


def test_an_unknown_slot_is_refused() -> None:
    example = scenario([{"name": "network1"}], [{"name": "cluster1", "network": "network1"}])
    with pytest.raises(ValueError, match="slot 16"):
        assign_addresses(example, SLOTS)
