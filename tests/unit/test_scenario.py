"""Derived facts of scenarios: who needs which secret, gateway and exposure."""

from __future__ import annotations

import pytest
from hypothesis import given
from mesh_examples import MORE, SCENARIOS, SHIPPED, meshes
from pydantic import ValidationError

from mesh_fixtures.scenario import (
    FEATURES,
    ClusterSpec,
    NetworkSpec,
    RemoteSecretSpec,
    Scenario,
)


@given(meshes())
def test_each_primary_holds_a_secret_of_every_other_cluster(scenario: Scenario) -> None:
    expected = {
        RemoteSecretSpec(of=other.name, installed_in=primary.name)
        for primary in scenario.primaries
        for other in scenario.clusters
        if other != primary
    }
    assert set(scenario.remote_secrets) == expected
    assert len(scenario.remote_secrets) == len(expected)


@given(meshes())
def test_gateways_exactly_where_traffic_must_enter(scenario: Scenario) -> None:
    for cluster in scenario.clusters:
        reasons = scenario.is_multi_network or bool(scenario.remotes_of(cluster.name))
        assert scenario.needs_gateway(cluster.name) == reasons
        assert bool(scenario.gateway_ports(cluster.name)) == reasons


@given(meshes())
def test_every_cluster_has_a_primary_as_its_control_plane(scenario: Scenario) -> None:
    for cluster in scenario.clusters:
        control_plane = scenario.cluster(scenario.control_plane_of(cluster.name))
        assert control_plane.is_primary
        assert (control_plane == cluster) == cluster.is_primary


@given(meshes())
def test_features_are_known_and_networks_are_one_or_many(scenario: Scenario) -> None:
    assert scenario.features <= FEATURES
    assert ("single-network" in scenario.features) != ("multi-network" in scenario.features)


@pytest.mark.parametrize(
    ("scenario_id", "features"),
    [
        ("multi-primary", {"multi-cluster", "single-network", "shared-network", "multi-primary"}),
        (
            "multi-primary-multi-network",
            {"multi-cluster", "multi-network", "multi-primary", "east-west-gateway"},
        ),
        (
            "primary-remote",
            {
                "multi-cluster",
                "single-network",
                "shared-network",
                "primary-remote",
                "east-west-gateway",
            },
        ),
        (
            "primary-remote-multi-network",
            {"multi-cluster", "multi-network", "primary-remote", "east-west-gateway"},
        ),
        (
            "three-clusters-two-networks",
            {
                "multi-cluster",
                "multi-network",
                "shared-network",
                "multi-primary",
                "east-west-gateway",
                "three-or-more-clusters",
                "multi-node",
                "dns-proxying",
            },
        ),
        (
            "two-regions",
            {
                "multi-cluster",
                "multi-network",
                "multi-primary",
                "east-west-gateway",
                "locality",
                "region-per-network",
            },
        ),
        (
            "primary-remote-and-primary",
            {
                "multi-cluster",
                "multi-network",
                "shared-network",
                "multi-primary",
                "primary-remote",
                "east-west-gateway",
                "three-or-more-clusters",
            },
        ),
        (
            "two-remotes-two-networks",
            {
                "multi-cluster",
                "multi-network",
                "shared-network",
                "primary-remote",
                "east-west-gateway",
                "three-or-more-clusters",
            },
        ),
        (
            "four-networks",
            {
                "multi-cluster",
                "multi-network",
                "multi-primary",
                "east-west-gateway",
                "three-or-more-clusters",
            },
        ),
    ],
)
def test_features_of_the_scenarios(scenario_id: str, features: set[str]) -> None:
    assert SHIPPED[scenario_id].features == features


@pytest.mark.parametrize(
    ("first", "second", "applies"),
    [
        ("region1/zone1", "region2/zone1", True),
        ("region1", "region2", True),
        ("region1/zone1", "region1/zone2", False),
        ("region1/zone1", None, False),
        (None, None, False),
    ],
)
def test_localities_that_differ_are_regions(
    first: str | None, second: str | None, applies: bool
) -> None:
    scenario = SCENARIOS["multi-primary"]
    clusters = tuple(
        cluster.model_copy(update={"locality": locality})
        for cluster, locality in zip(scenario.clusters, (first, second), strict=True)
    )
    features = scenario.model_copy(update={"clusters": clusters}).features
    assert ("locality" in features) == applies


@pytest.mark.parametrize(
    ("scenario_id", "regions", "apart"),
    [
        ("multi-primary", ("r1", "r2"), True),
        ("three-clusters-two-networks", ("r1", "r1", "r2"), True),
        ("three-clusters-two-networks", ("r1", "r2", "r1"), False),
    ],
)
def test_regions_of_a_network(scenario_id: str, regions: tuple[str, ...], apart: bool) -> None:
    scenario = SCENARIOS[scenario_id]
    clusters = tuple(
        cluster.model_copy(update={"locality": region})
        for cluster, region in zip(scenario.clusters, regions, strict=True)
    )
    features = scenario.model_copy(update={"clusters": clusters}).features
    assert "locality" in features
    assert ("region-per-network" in features) == apart


def test_the_shipped_scenarios_are_complete() -> None:
    assert list(MORE) == [
        "external-control-plane",
        "four-networks",
        "multi-primary-multi-network-dual-stack",
        "multi-primary-multi-network-ipv6",
        "multi-primary-multi-network-mcs",
        "multi-primary-multi-network-revision",
        "multi-primary-multi-network-same-addresses",
        "multi-primary-revision",
        "primary-remote-and-primary",
        "primary-remote-ipv6",
        "primary-remote-multi-network-mcs",
        "primary-remote-multi-network-revision",
        "primary-remote-revision",
        "two-remotes-two-networks",
    ]
    assert list(SCENARIOS) == [
        "multi-primary",
        "multi-primary-multi-network",
        "primary-remote",
        "primary-remote-multi-network",
        "three-clusters-two-networks",
        "two-regions",
    ]


@pytest.mark.parametrize("guides", [each for each in SCENARIOS if f"{each}-revision" in MORE])
def test_the_guides_topologies_by_revision_differ_in_nothing_else(guides: str) -> None:
    by_revision = MORE[f"{guides}-revision"]
    assert by_revision.revision == "canary"
    plain = by_revision.model_copy(update={"revision": None})
    assert plain.clusters == SCENARIOS[guides].clusters
    assert plain.networks == SCENARIOS[guides].networks
    assert plain.features == SCENARIOS[guides].features


def test_a_primary_with_a_remote_beside_another_primary() -> None:
    scenario = MORE["primary-remote-and-primary"]
    assert set(scenario.remote_secrets) == {
        RemoteSecretSpec(of="cluster2", installed_in="cluster1"),
        RemoteSecretSpec(of="cluster3", installed_in="cluster1"),
        RemoteSecretSpec(of="cluster1", installed_in="cluster3"),
        RemoteSecretSpec(of="cluster2", installed_in="cluster3"),
    }
    ports = {each.name: scenario.gateway_ports(each.name) for each in scenario.clusters}
    both = {15443, 15012, 15017}
    assert ports == {"cluster1": both, "cluster2": {15443}, "cluster3": {15443}}
    assert scenario.has_choice_behind_gateway


def test_two_remotes_of_one_primary_on_two_networks() -> None:
    scenario = MORE["two-remotes-two-networks"]
    assert {secret.installed_in for secret in scenario.remote_secrets} == {"cluster1"}
    assert [each.name for each in scenario.remotes_of("cluster1")] == ["cluster2", "cluster3"]
    assert scenario.same_network("cluster1", "cluster2")
    assert not scenario.same_network("cluster1", "cluster3")
    exposing = [each.name for each in scenario.clusters if scenario.exposes_services(each.name)]
    assert exposing == ["cluster1"]


def test_four_networks_have_nothing_in_common() -> None:
    scenario = MORE["four-networks"]
    assert len(scenario.remote_secrets) == 4 * 3
    assert not scenario.has_choice_behind_gateway
    names = [each.name for each in scenario.clusters]
    assert not any(scenario.same_network(a, b) for a in names for b in names if a != b)


def test_primary_remote_across_networks() -> None:
    scenario = SCENARIOS["primary-remote-multi-network"]
    assert scenario.remote_secrets == (RemoteSecretSpec(of="cluster2", installed_in="cluster1"),)
    assert scenario.gateway_ports("cluster1") == {15443, 15012, 15017}
    assert scenario.gateway_ports("cluster2") == {15443}
    assert scenario.exposes_services("cluster1")
    assert not scenario.exposes_services("cluster2")
    assert not scenario.same_network("cluster1", "cluster2")


def test_a_remote_on_its_primarys_network_has_no_gateway() -> None:
    scenario = SCENARIOS["primary-remote"]
    assert scenario.gateway_ports("cluster1") == {15012, 15017}
    assert not scenario.needs_gateway("cluster2")


def test_helloworld_versions_follow_the_position() -> None:
    clusters = SCENARIOS["three-clusters-two-networks"].clusters
    assert [cluster.helloworld for cluster in clusters] == ["v1", "v2", "v3"]


def test_an_unknown_cluster_is_named_with_the_known_ones() -> None:
    with pytest.raises(KeyError, match="cluster1, cluster2"):
        SCENARIOS["multi-primary"].cluster("cluster9")


def test_digest_is_that_of_the_content_not_of_the_id() -> None:
    one = SCENARIOS["multi-primary"]
    assert one.model_copy(update={"id": "other"}).digest == one.digest
    assert one.model_copy(update={"mesh_id": "mesh2"}).digest != one.digest
    assert len({scenario.digest for scenario in SHIPPED.values()}) == len(SHIPPED)


def test_digest_of_what_has_no_localities_is_as_it_was_before_there_were_any() -> None:
    # baselines of users have it
    assert SCENARIOS["multi-primary"].digest.startswith("bef9059396cdbb9b56c8f945682d7654")


def test_a_scenario_made_in_code_is_checked_too() -> None:
    cluster = ClusterSpec(name="a", network="nowhere", role="primary", helloworld="v1")
    with pytest.raises(ValidationError, match=r"clusters\[0\]\.network"):
        Scenario(
            id="x", title="x", mesh="m", networks=(NetworkSpec(name="n"),), clusters=(cluster,)
        )


def test_values_cannot_be_changed() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        SCENARIOS["multi-primary"].clusters[0].nodes = 3


def test_shipped_scenarios_leave_addresses_to_the_provider() -> None:
    for scenario in SHIPPED.values():
        assert all(network.cidr is None for network in scenario.networks)
        if scenario.id == "multi-primary-multi-network-same-addresses":
            continue
        assert all(c.pod_cidr is None and c.service_cidr is None for c in scenario.clusters)
