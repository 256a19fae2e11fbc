"""Verdicts on written-down observations: each can hold, and each can fail. Networks."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from ipaddress import IPv4Address
from typing import Any

import pytest
from fake_kube import pod
from mesh_examples import SCENARIOS
from verdicts import SOURCE, FakeView, advertised, checked, found, gateway, mesh

from mesh_fixtures.contract import AddressPool
from mesh_fixtures.errors import ProbeError
from mesh_fixtures.kube import Pod
from mesh_fixtures.probe.gateways import Gateway, NetworkGateway, PassingGateway
from mesh_fixtures.probe.network import Connection, Reach
from mesh_fixtures.probe.workloads import Discovery
from mesh_fixtures.requirements import Outcome, gateway_1, network_1
from mesh_fixtures.scenario import Scenario
from mesh_fixtures.workloads import PORT

# NETWORK-1 ----------------------------------------------------------------------------------------


def check_network(
    topology: str | Scenario,
    reach: Callable[[str, str], Reach],
    *,
    external: bool = False,
    used: Iterable[str] = (),
    further: bool = False,
) -> Outcome:
    def connection(kube: Any, client: Pod, address: str, port: int, *, seconds: float) -> Any:
        state = reach(kube.name, address)
        return Connection(SOURCE, address, port, state, 0, 0, "")

    scenario = SCENARIOS[topology] if isinstance(topology, str) else topology
    view = FakeView(scenario, external=external)
    for name, kube in view.kube.items():
        made = replace(pod("p", ip=name), further_ips=(f"{name}-6",) if further else ())
        kube.pod_of = lambda namespace, selector, made=made: made
    probes = network_1.Probes(connection=connection, addresses=lambda kube: frozenset(used))
    return checked(network_1, mesh(view), probes)


def within(client: str, server: str) -> Reach:
    return Reach.OPEN if client == server else Reach.TIMED_OUT


def test_networks() -> None:
    assert check_network("multi-primary", lambda client, server: Reach.OPEN).result == "met"
    apart = check_network("multi-primary-multi-network", within)
    assert apart.result == "met"
    assert apart.figures["cluster1.to.cluster2"] == "timed out"
    finding = found(check_network("multi-primary", within))
    assert "cluster1: expected pod sample/p of cluster2 to be reachable for pods" in finding
    leaky = check_network("multi-primary-multi-network", lambda client, server: Reach.OPEN)
    assert "to be out of reach for pods, but saw cluster2:15021 open" in found(leaky)


@pytest.mark.parametrize("external", [True, False])
def test_pods_that_have_the_same_addresses_on_several_networks_say_nothing(external: bool) -> None:
    same = check_network(
        "multi-primary-multi-network",
        lambda client, server: Reach.OPEN,
        external=external,
        used=["cluster1", "cluster2"],
    )
    assert same.result == "met"
    (note, _) = same.notes
    assert "cluster2, an address of HelloWorld in cluster2, is one of a pod on cluster1's" in note
    one = check_network(
        "multi-primary-multi-network", lambda client, server: Reach.OPEN, used=["cluster2"]
    )
    assert "pod sample/p of cluster1 to be out of reach" in found(one)
    assert "pod sample/p of cluster2" not in found(one)


def test_networks_of_an_existing_mesh_may_be_kept_apart_by_istiod_alone() -> None:
    routed = check_network(
        "multi-primary-multi-network", lambda client, server: Reach.OPEN, external=True
    )
    assert routed.result == "met"
    assert "pods of cluster1 reach those of cluster2 past its gateways" in routed.notes[0]
    divided = check_network("multi-primary", within, external=True)
    assert "to be reachable for pods" in found(divided)


@pytest.mark.parametrize("external", [True, False])
def test_what_a_mesh_of_one_family_does_not_use_need_not_be_routed(external: bool) -> None:
    """Kubernetes of both families, of which Istio uses the primary one."""

    def reach(client: str, address: str) -> Reach:
        return Reach.REFUSED if address.endswith("-6") else Reach.OPEN

    outcome = check_network("multi-primary", reach, external=external, further=True)
    assert (outcome.result, outcome.notes) == ("met", ())
    assert "cluster1.to.cluster2.other_family" not in outcome.figures


@pytest.mark.parametrize("closed", [frozenset({"cluster1"}), frozenset({"cluster1", "cluster2"})])
def test_addresses_of_the_other_family_need_not_be_reached_in_an_existing_mesh(
    closed: frozenset[str],
) -> None:
    """As proxies go over to the primary one."""

    def reach(client: str, address: str) -> Reach:
        server, _, other = address.partition("-")
        return Reach.TIMED_OUT if other and server in closed else Reach.OPEN

    topology = SCENARIOS["multi-primary"].model_copy(update={"ip_families": ("IPv4", "IPv6")})
    outcome = check_network(topology, reach, external=True, further=True)
    assert outcome.result == "met"
    assert len(outcome.notes) == 2 * len(closed)
    assert "pods of cluster1 do not reach those of cluster1 at cluster1-6" in outcome.notes[0]
    ours = check_network(topology, reach, further=True)
    assert ours.result == "inconclusive"


def test_a_network_is_not_judged_by_a_pod_that_nobody_reaches() -> None:
    outcome = check_network("multi-primary-multi-network", lambda *_: Reach.REFUSED)
    assert outcome.result == "inconclusive"
    assert outcome.figures["cluster1.to.cluster1"] == "refused"
    with pytest.raises(ProbeError, match="within its own cluster"):
        outcome.require()


# GATEWAY-1 ----------------------------------------------------------------------------------------

REMOTE = SCENARIOS["primary-remote-multi-network"]
OPEN = {15443, 15012, 15017}
KNOWN = (advertised("cluster1", "10.0.0.1"), advertised("cluster2", "10.0.0.2"))
V6 = advertised("cluster2", "2001:db8::2")
"""Of a gateway that has addresses of both families, where clients have one of IPv4 only."""


def check_gateways(
    *,
    scenario: Scenario = REMOTE,
    known: Iterable[NetworkGateway] = KNOWN,
    second: tuple[Gateway, ...] = (gateway("cluster2", "10.0.0.2"),),
    istiod: Discovery | None = None,
    answering: Iterable[int] = OPEN,
    http_status: int = 0,
    unreachable: str = "",
    has_samples: bool = True,
    external: bool = False,
    serving: bool = True,
    near: Iterable[str] = (),
    exposing: bool = False,
) -> Outcome:
    those = {"cluster1": (gateway("cluster1", "10.0.0.1"),), "cluster2": second}
    if istiod is None:
        istiod = at(("10.0.0.1", 15012), ("10.0.0.1", 15017))

    def connections(kube: Any, sleep: Pod, targets: Any, *, seconds: float) -> Any:
        return [
            Connection(SOURCE, address, port, Reach.OPEN, 0, http_status, "")
            if port in answering and address != unreachable
            else Connection(SOURCE, address, port, Reach.REFUSED, 7, 0, "Connection refused")
            for address, port in targets
        ]

    probes = gateway_1.Probes(
        advertised=lambda kube: tuple(known),
        gateways=lambda kube: those[kube.name],
        discovery=lambda kube, address: istiod,
        connections=connections,
        servers=lambda kube: (replace(pod("helloworld", ip=f"pod of {kube.name}"), ready=serving),),
        addresses=lambda kube: frozenset(near),
        passing=lambda kube: (PassingGateway("Gateway g", ("*.local",)),) if exposing else (),
    )
    pool = None if external else AddressPool(IPv4Address("10.0.0.1"), IPv4Address("10.0.0.9"))
    view = FakeView(scenario, pool, external=external)
    return checked(gateway_1, mesh(view, has_samples=has_samples), probes)


def at(*targets: tuple[str, int], selects: bool = False) -> Discovery:
    return Discovery(SOURCE, "istio-system/istiod", frozenset(targets), selects)


@pytest.mark.parametrize(
    "sound",
    [
        {},
        {
            "known": (KNOWN[0], advertised("cluster2", "10.0.0.2", 31443)),
            "answering": {*OPEN, 31443},
        },
        {"answering": {*OPEN, 8080, 15021}},
        {"second": (), "known": (KNOWN[0], NetworkGateway("network2", "", "x", 15443, SOURCE))},
        {"istiod": at(("10.2.0.5", 15012), selects=True), "answering": {15443}},
        {"istiod": at(("istiod.example", 15012))},
        {"scenario": SCENARIOS["primary-remote"], "known": ()},
        {"has_samples": False, "answering": ()},
        {"known": (*KNOWN, V6), "unreachable": V6.address},
    ],
)
def test_gateways(sound: dict[str, Any]) -> None:
    assert check_gateways(**sound).result == "met"


@pytest.mark.parametrize(
    ("wrong", "finding"),
    [
        (
            {"known": KNOWN[:1], "second": ()},
            "cluster2: expected a gateway of network2 that istiod advertises, but saw none",
        ),
        ({"known": KNOWN[:1], "second": (gateway("cluster2"),)}, "no external address; gw-1"),
        (
            {"known": KNOWN[:1], "second": (), "has_samples": False},
            "cluster2: expected a gateway of network2 that istiod advertises, but saw none",
        ),
        (
            {"known": (KNOWN[0], advertised("cluster2", "10.0.0.1"))},
            "10.0.0.1:15443, which is also a gateway of network1",
        ),
        ({"second": (gateway("cluster2", "10.0.0.10"),)}, "from the pool 10.0.0.1-10.0.0.9, but"),
        (
            {"answering": OPEN - {15443}},
            "cluster1: expected port 15443 of 10.0.0.2, the gateway of cluster2 into network2, to",
        ),
        (
            {"answering": OPEN - {15012}},
            "cluster2: expected port 15012 of 10.0.0.1, the way to istiod of cluster1, to be open",
        ),
        (
            {"known": (KNOWN[0], V6), "unreachable": V6.address},
            "cluster1: expected port 15443 of 2001:db8::2, the gateway of cluster2 into network2",
        ),
        ({"http_status": 404}, "the gateway of cluster2 into network2, to speak TLS, but saw"),
        ({"istiod": at()}, "cluster2: expected an address at which its proxies find istiod of cl"),
    ],
)
def test_gateways_that_are_wrong(wrong: dict[str, Any], finding: str) -> None:
    assert finding in found(check_gateways(**wrong))


WITHOUT: dict[str, Any] = {"known": KNOWN[:1], "second": (), "external": True}
ROUTED = {*OPEN, PORT}


@pytest.mark.parametrize(
    ("seen", "note"),
    [
        ({"answering": ROUTED}, "istiod advertises no gateway of network2: clients on other netw"),
        ({"answering": ROUTED, "second": (gateway("cluster2"),)}, "reach its pods directly"),
        ({"has_samples": False}, "network2 has no gateway: whether clients on other networks rea"),
    ],
)
def test_a_network_of_an_existing_mesh_needs_no_gateway_where_its_pods_are_routed(
    seen: dict[str, Any], note: str
) -> None:
    outcome = check_gateways(**{**WITHOUT, **seen})
    assert outcome.result == "met"
    assert note in outcome.notes[0]


@pytest.mark.parametrize(
    "seen",
    [
        {},
        {"answering": ROUTED, "serving": False},
        {"answering": ROUTED, "near": ["pod of cluster2"]},
        {"answering": ROUTED, "external": False},
        {"has_samples": False, "exposing": True},
        {"has_samples": False, "second": (gateway("cluster2"),)},
        {"has_samples": False, "external": False},
    ],
)
def test_a_network_whose_pods_nobody_reaches_needs_a_gateway(seen: dict[str, Any]) -> None:
    outcome = check_gateways(**{**WITHOUT, **seen})
    assert "cluster2: expected a gateway of network2 that istiod advertises" in found(outcome)
    assert outcome.notes == ()
