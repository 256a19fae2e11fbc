from __future__ import annotations

from ipaddress import IPv4Network
from itertools import combinations, pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh_fixtures.errors import ScenarioError
from mesh_fixtures.lab.addressing import LabAddresses, assign_addresses
from mesh_fixtures.records import SLOTS
from mesh_fixtures.scenario import Scenario


def scenario(networks: list[dict[str, Any]], clusters: list[dict[str, Any]]) -> Scenario:
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
    )


def ranges(addresses: LabAddresses) -> list[IPv4Network]:
    return [
        *(network.cidr for network in addresses.networks.values()),
        *(cluster.pod_cidr for cluster in addresses.clusters.values()),
        *(cluster.service_cidr for cluster in addresses.clusters.values()),
    ]


def overlaps(found: list[IPv4Network]) -> list[tuple[IPv4Network, IPv4Network]]:
    """Neighbours that overlap; where none do, no others do either."""
    return [(one, other) for one, other in pairwise(sorted(found)) if one.overlaps(other)]


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
    for network in addresses.networks.values():
        clusters = addresses.clusters_on(network.name)
        nodes = [node.address for cluster in clusters for node in cluster.nodes]
        assert len({*nodes, network.gateway}) == len(nodes) + 1
        assert all(node in network.cidr for node in nodes)
        for cluster in clusters:
            assert cluster.pool.first in network.cidr
            assert cluster.pool.last in network.cidr
            assert cluster.pool.first <= cluster.pool.last
            assert network.cidr.broadcast_address not in cluster.pool
            assert not any(node in cluster.pool for node in [*nodes, network.gateway])
        for one, other in combinations(clusters, 2):
            assert one.pool.last < other.pool.first or other.pool.last < one.pool.first


@given(scenarios())
def test_pods_of_nodes_are_distinct_parts_of_the_pod_cidr(example: Scenario) -> None:
    for cluster in assign_addresses(example, 0).clusters.values():
        for node in cluster.nodes:
            assert node.pod_cidr.subnet_of(cluster.pod_cidr)
        for one, other in combinations(cluster.nodes, 2):
            assert not one.pod_cidr.overlaps(other.pod_cidr)


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
