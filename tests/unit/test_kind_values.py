"""What a kind lab is told, and what an engine tells, as values."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from mesh_examples import SCENARIOS, meshes

from mesh_fixtures import patience
from mesh_fixtures.addresses import IPNetwork
from mesh_fixtures.errors import LabError, ScenarioError
from mesh_fixtures.lab.kind.boot import reason, with_context
from mesh_fixtures.lab.kind.configuration import (
    NodeNetwork,
    addresses_beside,
    cluster_configuration,
    filters,
    pools,
    require_fit,
    routes,
)
from mesh_fixtures.lab.kind.engine import subnets_in
from mesh_fixtures.lab.kind.parts import node_image
from mesh_fixtures.lab.pki import ClusterAuthority, kubeconfig
from mesh_fixtures.scenario import Scenario

SUBNET = IPv4Network("172.18.0.0/16")
THREE = SCENARIOS["three-clusters-two-networks"]


@given(meshes(), st.sampled_from([8, 12, 16, 20, 24]), st.integers(0, 2**32 - 1))
def test_pod_and_service_cidrs_overlap_neither_each_other_nor_the_container_network(
    scenario: Scenario, prefix: int, start: int
) -> None:
    subnet = IPv4Network((start, prefix), strict=False)
    if subnet.prefixlen == 8 and subnet.network_address == IPv4Address("10.0.0.0"):
        return
    addresses = addresses_beside(scenario, subnet)
    ranges: list[IPNetwork] = [subnet]
    for cluster in addresses.clusters.values():
        ranges += [cluster.pod_cidr, cluster.service_cidr]
    for position, one in enumerate(ranges):
        assert not any(one.overlaps(other) for other in ranges[position + 1 :])


def test_cidrs_of_a_scenario_that_overlap_the_container_network_are_refused() -> None:
    clusters = [each.model_copy(update={"pod_cidr": SUBNET}) for each in THREE.clusters[:1]]
    scenario = THREE.model_copy(update={"clusters": (*clusters, *THREE.clusters[1:])})
    with pytest.raises(LabError, match="beside the container network"):
        addresses_beside(scenario, SUBNET)


@given(meshes(), st.integers(16, 24))
def test_pools_are_apart_and_leave_the_lower_half_to_containers(
    scenario: Scenario, prefix: int
) -> None:
    subnet = IPv4Network(f"192.168.0.0/{prefix}")
    found = list(pools(scenario, subnet).values())
    assert len(found) == len(scenario.clusters)
    middle = subnet[subnet.num_addresses // 2]
    for pool in found:
        first, last = int(pool.first), int(pool.last)
        assert int(middle) <= first <= last < int(subnet.broadcast_address)
    for position, pool in enumerate(found):
        assert not any(other.first in pool or other.last in pool for other in found[position + 1 :])


def test_a_container_network_without_room_is_refused() -> None:
    with pytest.raises(LabError, match="room for 4 nodes and 3 pools"):
        pools(THREE, IPv4Network("172.18.0.0/29"))


def test_configuration_of_a_cluster_with_two_nodes() -> None:
    addresses = addresses_beside(THREE, SUBNET)
    made = cluster_configuration(THREE, "cluster3", addresses)
    assert [node["role"] for node in made["nodes"]] == ["control-plane", "worker"]
    assert made["networking"]["podSubnet"] == str(addresses.clusters["cluster3"].pod_cidr)
    assert made["nodes"][1]["labels"] == {
        "topology.kubernetes.io/region": "network2",
        "topology.kubernetes.io/zone": "cluster3",
    }


def test_nodes_are_labelled_with_the_localities_of_the_scenario() -> None:
    clusters = [
        each.model_copy(update={"locality": "r3", "node_localities": ("r3/z1",)})
        for each in THREE.clusters
    ]
    placed = THREE.model_copy(update={"clusters": tuple(clusters)})
    made = cluster_configuration(placed, "cluster3", addresses_beside(placed, SUBNET))
    assert [node["labels"] for node in made["nodes"]] == [
        {"topology.kubernetes.io/region": "r3", "topology.kubernetes.io/zone": "z1"},
        {"topology.kubernetes.io/region": "r3"},
    ]


def test_kubeadm_waits_longer_on_a_slow_machine() -> None:
    patience.use(patience.Patience(20.0, "given"))
    made = cluster_configuration(THREE, "cluster3", addresses_beside(THREE, SUBNET))
    patches = [yaml.safe_load(each) for each in made["kubeadmConfigPatches"]]
    assert [each["kind"] for each in patches] == ["InitConfiguration", "JoinConfiguration"]
    for each in patches:
        assert each["apiVersion"] == "kubeadm.k8s.io/v1beta4"
        assert each["timeouts"]["kubernetesAPICall"] == "1200s"


def node(number: int) -> NodeNetwork:
    address = IPv4Address(f"172.18.0.{number + 2}")
    return NodeNetwork(f"node{number}", address, IPv4Network(f"10.4.{number}.0/24"))


def test_a_node_has_a_route_to_every_other_node() -> None:
    nodes = [node(number) for number in range(3)]
    assert routes(nodes[1], nodes) == [
        ("ip", "route", "replace", "10.4.0.0/24", "via", "172.18.0.2"),
        ("ip", "route", "replace", "10.4.2.0/24", "via", "172.18.0.4"),
    ]


def test_filters_drop_both_directions() -> None:
    own, foreign = IPv4Network("10.4.0.0/20"), IPv4Network("10.6.0.0/20")
    commands = [" ".join(command) for command in filters(own, [foreign])]
    assert len(commands) == 2
    assert "--source 10.4.0.0/20 --destination 10.6.0.0/20 --jump DROP" in commands[0]
    assert "--source 10.6.0.0/20 --destination 10.4.0.0/20 --jump DROP" in commands[1]
    assert filters(own, []) == []
    assert filters(own, [own, IPv4Network("10.4.0.0/16")]) == []  # its own pods need each other


def test_a_network_with_addresses_of_its_own_is_refused() -> None:
    networks = [each.model_copy(update={"cidr": SUBNET}) for each in THREE.networks]
    with pytest.raises(ScenarioError, match="networks without `cidr`"):
        require_fit(THREE.model_copy(update={"networks": tuple(networks)}))


def test_a_cluster_name_that_makes_too_long_host_names_is_refused() -> None:
    long = THREE.clusters[0].model_copy(update={"name": "c" * 50})
    with pytest.raises(ScenarioError, match="shorter name"):
        require_fit(THREE.model_copy(update={"clusters": (long, *THREE.clusters[1:])}))


@pytest.mark.parametrize(
    "made",
    [
        [{"IPAM": {"Config": [{"Subnet": "fc00::/64"}, {"Subnet": "172.18.0.0/16"}]}}],
        [{"subnets": [{"subnet": "172.18.0.0/16", "gateway": "172.18.0.1"}]}],
    ],
    ids=["docker", "podman"],
)
def test_subnet_of_a_network(made: list[dict[str, object]]) -> None:
    assert subnets_in(made) == [SUBNET]


@pytest.mark.parametrize("made", [[], [{}], [{"IPAM": {"Config": None}}], [{"subnets": []}]])
def test_a_network_without_subnet(made: list[dict[str, object]]) -> None:
    assert subnets_in(made) == []


def test_context_of_a_kubeconfig_is_the_cluster() -> None:
    authority = ClusterAuthority("kubernetes")
    client = authority.issue("admin")
    pem = (authority.credential.certificate_pem, client.certificate_pem, client.key_pem)
    of_kind = kubeconfig("kind-x", "https://127.0.0.1:4", *pem)
    made = yaml.safe_load(with_context(of_kind, "cluster1"))
    assert made["current-context"] == "cluster1"
    assert yaml.safe_load(of_kind)["users"][0]["user"] == made["users"][0]["user"]
    assert made["clusters"][0]["cluster"]["server"] == "https://127.0.0.1:4"


@pytest.mark.parametrize(
    ("asked", "image"),
    [
        ("", ""),
        ("1.36.1", "kindest/node:v1.36.1"),
        ("v1.35.0", "kindest/node:v1.35.0"),
        ("localhost/node", "localhost/node"),
        ("node:mine", "node:mine"),
    ],
)
def test_node_image(asked: str, image: str) -> None:
    assert node_image(asked) == image


def test_reason_of_a_failure_is_what_is_called_an_error() -> None:
    log = "Creating cluster\n\nERROR: failed to init node\nI1123 fine\nerror: too many open files\n"
    assert reason(log) == "ERROR: failed to init node\nerror: too many open files"


def test_reason_of_a_failure_without_an_error_is_the_end_of_the_log() -> None:
    assert reason("one\n\ntwo\nthree\n", lines=2) == "two\nthree"
