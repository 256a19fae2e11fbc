from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from dataclasses import replace
from fractions import Fraction

import pytest
from fake_kube import result
from hypothesis import given
from mesh_examples import SCENARIOS, meshes
from verdicts import SOURCE
from verdicts import advertised as gateway

from mesh_fixtures.probe.envoy import Endpoint, Endpoints
from mesh_fixtures.probe.gateways import NetworkGateway
from mesh_fixtures.scenario import Scenario
from mesh_fixtures.verdict.expectations import (
    Backend,
    Destination,
    count_by_destination,
    destinations,
    expected_shares,
    gateways_for,
    judge_endpoints,
    within_reach,
    without_gateway,
)

V4 = frozenset({4})
"""The families of clients that have an address of IPv4 only."""


def backends(scenario: Scenario) -> list[Backend]:
    """One pod in each cluster, as the guide deploys them."""
    return [
        Backend(
            cluster.name,
            cluster.helloworld,
            f"helloworld-{cluster.helloworld}-{cluster.name}",
            f"10.101.{at}.5",
        )
        for at, cluster in enumerate(scenario.clusters)
    ]


def advertised(scenario: Scenario) -> dict[str, list[NetworkGateway]]:
    """By each primary's istiod, a gateway in each cluster that needs one."""
    found = [
        gateway(cluster.name, f"172.18.{at}.100", network=cluster.network)
        for at, cluster in enumerate(scenario.clusters)
        if scenario.needs_gateway(cluster.name)
    ]
    return {primary.name: found for primary in scenario.primaries}


def endpoints(*weights: tuple[str, int], priority: int = 0, healthy: bool = True) -> Endpoints:
    found = []
    for target, weight in weights:
        address, _, port = target.partition(":")
        health = "" if healthy else "failed_outlier_check"
        found.append(Endpoint(address, int(port), weight, healthy, health, "", priority))
    return Endpoints(result().source, True, tuple(found))


def of(topology: str, client: str) -> tuple[Destination, ...]:
    scenario = SCENARIOS[topology]
    ways = gateways_for(scenario, client, advertised(scenario))
    return destinations(scenario, client, backends(scenario), ways, V4)


def reached(destination: Destination) -> tuple[str, list[str]]:
    return destination.name, sorted(destination.targets)


def test_on_one_network_each_version_is_reached_directly() -> None:
    for topology in ("multi-primary", "primary-remote"):
        for client in ("cluster1", "cluster2"):
            one, two = of(topology, client)
            assert reached(one) == ("v1", ["10.101.0.5:5000"])
            assert reached(two) == ("v2", ["10.101.1.5:5000"])


def test_another_network_is_reached_through_its_gateway() -> None:
    for topology in ("multi-primary-multi-network", "primary-remote-multi-network"):
        here, there = of(topology, "cluster1")
        assert reached(here) == ("v1", ["10.101.0.5:5000"])
        assert reached(there) == ("v2 (network2)", ["172.18.1.100:15443"])
        there, here = of(topology, "cluster2")
        assert reached(here) == ("v2", ["10.101.1.5:5000"])
        assert reached(there) == ("v1 (network1)", ["172.18.0.100:15443"])


def test_versions_behind_the_gateways_of_one_network_are_one_destination() -> None:
    there, here = of("three-clusters-two-networks", "cluster3")
    assert reached(there) == ("v1+v2 (network1)", ["172.18.0.100:15443", "172.18.1.100:15443"])
    assert there.versions == {"v1", "v2"}
    assert there.instances == {"helloworld-v1-cluster1", "helloworld-v2-cluster2"}
    assert reached(here) == ("v3", ["10.101.2.5:5000"])


def test_a_cluster_without_a_gateway_is_reached_through_others_of_its_network() -> None:
    scenario = SCENARIOS["three-clusters-two-networks"]
    only = [gateway("cluster2", "172.18.1.100", network="network1")]
    there, _ = destinations(scenario, "cluster3", backends(scenario), only, V4)
    assert there.targets == {"172.18.1.100:15443"}


def test_a_network_without_a_gateway_is_missing() -> None:
    scenario = SCENARIOS["multi-primary-multi-network"]
    wanted = destinations(scenario, "cluster1", backends(scenario), (), V4)
    verdict = judge_endpoints(wanted, endpoints(("10.101.0.5:5000", 1), ("10.101.1.5:5000", 1)))
    assert str(verdict) == "missing a gateway for v2 (network2); unexpected 10.101.1.5:5000"


def test_pods_of_a_network_without_a_gateway_may_be_reached_directly() -> None:
    scenario = SCENARIOS["multi-primary-multi-network"]
    pods, seen = backends(scenario), endpoints(("10.101.0.5:5000", 1), ("10.101.1.5:5000", 1))
    here, there = destinations(scenario, "cluster1", pods, (), V4, routed=True)
    assert str(judge_endpoints([here, there], seen)) == "complete"
    assert (there.name, there.cross_network, here.cross_network) == ("v2", True, False)
    way = gateway("cluster2", "172.18.1.100")
    _, there = destinations(scenario, "cluster1", pods, [way], V4, routed=True)
    assert reached(there) == ("v2 (network2)", ["172.18.1.100:15443"])


def test_networks_into_which_no_istiod_advertises_a_way() -> None:
    scenario = SCENARIOS["multi-primary-multi-network"]
    way = gateway("cluster2", "172.18.1.100")
    assert without_gateway(scenario, {"cluster1": [], "cluster2": [way]}) == ("network1",)
    assert without_gateway(scenario, {}) == ("network1", "network2")


def test_gateways_are_those_of_the_clients_own_istiod() -> None:
    """A host name may stand for other addresses elsewhere."""
    scenario = SCENARIOS["multi-primary-multi-network"]
    seen = {
        "cluster1": [gateway("cluster1", "10.0.0.1"), gateway("cluster2", "10.0.0.2", 31443)],
        "cluster2": [gateway("cluster1", "192.0.2.1"), gateway("cluster2", "192.0.2.2")],
    }
    assert [each.target for each in gateways_for(scenario, "cluster1", seen)] == ["10.0.0.2:31443"]
    assert [each.target for each in gateways_for(scenario, "cluster2", seen)] == ["192.0.2.1:15443"]


def test_what_the_clients_istiod_does_not_know_is_as_others_know_it() -> None:
    scenario = SCENARIOS["multi-primary-multi-network"]
    seen = {"cluster1": [], "cluster2": [gateway("cluster2", "192.0.2.2")]}
    assert [each.target for each in gateways_for(scenario, "cluster1", seen)] == ["192.0.2.2:15443"]


@pytest.mark.parametrize(
    ("clusters", "targets"),
    [
        (("cluster2", ""), ["192.0.2.1:15443"]),
        (("", ""), ["192.0.2.1:15443", "192.0.2.2:15443"]),
    ],
)
def test_gateways_of_a_network_are_used_by_clusters_that_have_none(
    clusters: tuple[str, str], targets: list[str]
) -> None:
    scenario = SCENARIOS["multi-primary-multi-network"]
    seen = {
        "cluster1": [
            NetworkGateway("network2", cluster, f"192.0.2.{number}", 15443, SOURCE)
            for number, cluster in enumerate(clusters, 1)
        ]
    }
    assert [each.target for each in gateways_for(scenario, "cluster1", seen)] == targets


def test_a_gateway_without_a_cluster_is_of_the_whole_network() -> None:
    scenario = SCENARIOS["multi-primary-multi-network"]
    anywhere = NetworkGateway("network2", "", "192.0.2.9", 443, result().source)
    _, there = destinations(scenario, "cluster1", backends(scenario), [anywhere], V4)
    assert there.targets == {"192.0.2.9:443"}


BOTH = (gateway("cluster2", "192.0.2.2"), gateway("cluster2", "2001:db8::2"))


@pytest.mark.parametrize(
    ("families", "targets", "further"),
    [
        ({4}, {"192.0.2.2:15443"}, {"[2001:db8::2]:15443"}),
        ({6}, {"[2001:db8::2]:15443"}, {"192.0.2.2:15443"}),
        ({4, 6}, {"192.0.2.2:15443", "[2001:db8::2]:15443"}, set()),
        ((), {"192.0.2.2:15443", "[2001:db8::2]:15443"}, set()),
    ],
)
def test_a_client_needs_gateways_of_its_own_families(
    families: Collection[int], targets: set[str], further: set[str]
) -> None:
    scenario = SCENARIOS["multi-primary-multi-network"]
    _, there = destinations(scenario, "cluster1", backends(scenario), BOTH, families)
    assert there.targets == targets
    assert there.further == further
    assert {each.target for each in within_reach(BOTH, families)} == targets


def test_gateways_of_another_family_alone_are_what_is_missing() -> None:
    scenario = SCENARIOS["multi-primary-multi-network"]
    wanted = destinations(scenario, "cluster1", backends(scenario), BOTH[1:], V4)
    verdict = judge_endpoints(wanted, endpoints(("10.101.0.5:5000", 1)))
    assert str(verdict) == "missing [2001:db8::2]:15443"
    assert within_reach(BOTH[1:], V4) == BOTH[1:]


def test_families_are_looked_at_once_the_gateways_of_a_cluster_are_chosen() -> None:
    """No cluster that has gateways is reached by those of another one."""
    scenario = SCENARIOS["three-clusters-two-networks"]
    ways = [
        gateway("cluster1", "2001:db8::1", network="network1"),
        gateway("cluster2", "192.0.2.2", network="network1"),
    ]
    there, _ = destinations(scenario, "cluster3", backends(scenario), ways, V4)
    assert there.targets == {"[2001:db8::1]:15443", "192.0.2.2:15443"}
    assert within_reach(ways, V4) == tuple(ways)
    anywhere = [
        NetworkGateway("network1", "", "2001:db8::1", 15443, SOURCE),
        gateway("cluster2", "192.0.2.2", network="network1"),
    ]
    there, _ = destinations(scenario, "cluster3", backends(scenario), anywhere, V4)
    assert there.targets == {"192.0.2.2:15443"}
    assert there.further == {"[2001:db8::1]:15443"}
    assert within_reach(anywhere, V4) == tuple(anywhere[1:])


def test_older_istiods_send_addresses_of_any_family() -> None:
    scenario = SCENARIOS["multi-primary-multi-network"]
    wanted = destinations(scenario, "cluster1", backends(scenario), BOTH, V4)
    beyond = Endpoint("2001:db8::2", 15443, 1, False, "failed_outlier_check", "", 0)
    near = endpoints(("10.101.0.5:5000", 2), ("192.0.2.2:15443", 1))
    seen = Endpoints(SOURCE, True, (*near.endpoints, beyond))
    assert judge_endpoints(wanted, seen).complete
    in_use = Endpoints(SOURCE, True, (*near.endpoints, replace(beyond, healthy=True, health="")))
    assert expected_shares(wanted, in_use) == {
        "v1": Fraction(1, 2),
        "v2 (network2)": Fraction(1, 2),
    }


@given(meshes())
def test_every_pod_belongs_to_one_destination_of_each_client(scenario: Scenario) -> None:
    pods = backends(scenario)
    for client in scenario.clusters:
        ways = gateways_for(scenario, client.name, advertised(scenario))
        wanted = destinations(scenario, client.name, pods, ways, V4)
        instances = Counter(pod for each in wanted for pod in each.instances)
        assert instances == Counter(pod.pod for pod in pods)
        assert len({each.name for each in wanted}) == len(wanted)
        targets = Counter(target for each in wanted for target in each.targets)
        assert set(targets.values()) == {1}
        complete = endpoints(*((target, 1) for target in targets))
        assert judge_endpoints(wanted, complete).complete
        assert sum(expected_shares(wanted, complete).values()) == 1


def test_complete_endpoints() -> None:
    seen = endpoints(("10.101.0.5:5000", 1), ("172.18.1.100:15443", 1))
    verdict = judge_endpoints(of("multi-primary-multi-network", "cluster1"), seen)
    assert verdict.complete
    assert str(verdict) == "complete"


def test_missing_unexpected_and_unhealthy_endpoints() -> None:
    wanted = of("multi-primary", "cluster1")
    seen = endpoints(("10.101.0.5:5000", 1), ("172.18.1.100:15443", 1), healthy=False)
    assert str(judge_endpoints(wanted, seen)) == (
        "missing 10.101.1.5:5000; unexpected 172.18.1.100:15443; not healthy "
        "10.101.0.5:5000 (failed_outlier_check), 172.18.1.100:15443 (failed_outlier_check)"
    )


def test_shares_follow_weights() -> None:
    wanted = of("three-clusters-two-networks", "cluster3")
    seen = endpoints(("10.101.2.5:5000", 2), ("172.18.0.100:15443", 2), ("172.18.1.100:15443", 4))
    assert expected_shares(wanted, seen) == {
        "v1+v2 (network1)": Fraction(3, 4),
        "v3": Fraction(1, 4),
    }


def test_a_destination_that_is_missing_has_no_share() -> None:
    shares = expected_shares(of("multi-primary", "cluster1"), endpoints(("10.101.0.5:5000", 1)))
    assert shares == {"v1": 1, "v2": 0}


def test_an_endpoint_that_leads_nowhere_known_takes_its_share() -> None:
    seen = endpoints(("10.101.0.5:5000", 1), ("10.9.9.9:5000", 1))
    assert expected_shares(of("multi-primary", "cluster1"), seen) == {
        "v1": Fraction(1, 2),
        "v2": 0,
        "unexpected 10.9.9.9:5000": Fraction(1, 2),
    }


@pytest.mark.parametrize("seen", [endpoints(), endpoints(("10.101.0.5:5000", 1), healthy=False)])
def test_no_endpoint_in_use_means_no_shares(seen: Endpoints) -> None:
    assert expected_shares(of("multi-primary", "cluster1"), seen) == {}


def test_answers_count_for_the_destination_of_their_pod() -> None:
    wanted = of("three-clusters-two-networks", "cluster3")
    answers = {"helloworld-v1-cluster1": 3, "helloworld-v2-cluster2": 4, "helloworld-v9-x": 1}
    assert count_by_destination(wanted, answers) == {
        "v1+v2 (network1)": 7,
        "v3": 0,
        "unexpected helloworld-v9-x": 1,
    }
