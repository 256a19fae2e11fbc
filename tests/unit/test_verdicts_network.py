"""Verdicts on written-down observations: each can hold, and each can fail. Networks."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from ipaddress import IPv4Address
from typing import Any

import pytest
from fake_kube import pod
from mesh_examples import SCENARIOS
from verdicts import SOURCE, FakeView, checked, found, gateway, mesh

from mesh_fixtures.contract import AddressPool
from mesh_fixtures.errors import ProbeError
from mesh_fixtures.kube import Pod
from mesh_fixtures.probe.envoy import Listener, Listeners
from mesh_fixtures.probe.gateways import Gateway
from mesh_fixtures.probe.network import Connection, Reach
from mesh_fixtures.requirements import Outcome, gateway_1, network_1
from mesh_fixtures.scenario import Scenario

# NETWORK-1 ----------------------------------------------------------------------------------------


def check_network(topology: str, reach: Callable[[str, str], Reach]) -> Outcome:
    def connection(kube: Any, client: Pod, address: str, port: int, *, seconds: float) -> Any:
        state = reach(kube.name, address)
        return Connection(SOURCE, address, port, state, 0, 0, "")

    view = FakeView(SCENARIOS[topology])
    for name, kube in view.kube.items():
        kube.pod_of = lambda namespace, selector, name=name: pod("p", ip=name)
    return checked(network_1, mesh(view), network_1.Probes(connection=connection))


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


def test_a_network_is_not_judged_by_a_pod_that_nobody_reaches() -> None:
    outcome = check_network("multi-primary-multi-network", lambda *_: Reach.REFUSED)
    assert outcome.result == "inconclusive"
    assert outcome.figures["cluster1.to.cluster1"] == "refused"
    with pytest.raises(ProbeError, match="within its own cluster"):
        outcome.require()


# GATEWAY-1 ----------------------------------------------------------------------------------------

REMOTE = SCENARIOS["primary-remote-multi-network"]
OPEN = {15021, 15443, 15012, 15017}


def check_gateways(
    *,
    scenario: Scenario = REMOTE,
    second: tuple[Gateway, ...] | None = None,
    listening: Iterable[int] = OPEN,
    answering: Iterable[int] = OPEN,
) -> Outcome:
    those = {
        "cluster1": (gateway("cluster1", "10.0.0.1"),),
        "cluster2": (gateway("cluster2", "10.0.0.2"),) if second is None else second,
    }
    heard = tuple(Listener("", "0.0.0.0", port) for port in {15021, 15090, *listening})

    def connections(kube: Any, sleep: Pod, targets: Any, *, seconds: float) -> Any:
        return [
            Connection(SOURCE, address, port, Reach.OPEN, 0, 200 if port == 15021 else 0, "")
            if port in answering
            else Connection(SOURCE, address, port, Reach.REFUSED, 7, 0, "Connection refused")
            for address, port in targets
        ]

    probes = gateway_1.Probes(
        gateways=lambda kube: those[kube.name],
        listening=lambda kube, gateway: (Listeners(SOURCE, heard),),
        connections=connections,
    )
    pool = AddressPool(IPv4Address("10.0.0.1"), IPv4Address("10.0.0.9"))
    return checked(gateway_1, mesh(FakeView(scenario, pool)), probes)


def test_gateways() -> None:
    assert check_gateways().result == "met"


@pytest.mark.parametrize(
    ("wrong", "finding"),
    [
        ({"second": ()}, "cluster2: expected an east-west gateway, but saw none"),
        ({"second": (gateway("cluster2"),)}, "cluster2: expected an external address"),
        ({"second": (gateway("cluster2", "10.0.0.1"),)}, "10.0.0.1, which is also cluster1's"),
        ({"second": (gateway("cluster2", "10.0.0.10"),)}, "from the pool 10.0.0.1-10.0.0.9, but"),
        ({"second": (gateway("cluster2", "10.0.0.2", serving=False),)}, "a ready pod of the east"),
        ({"listening": OPEN - {15443}}, "to listen at 15012, 15017, 15443 and nowhere else, but"),
        ({"listening": OPEN | {8080}}, "but saw 8080, 15012, 15017, 15443"),
        ({"answering": OPEN - {15443}}, "port 15443 of the gateway of cluster2 to be open, but"),
        ({"answering": OPEN - {15021}}, "the gateway of cluster1 to report on 15021 that it is"),
        ({"answering": OPEN | {15000}}, "port 15000 of the gateway of cluster1 to be closed, but"),
    ],
)
def test_gateways_that_are_wrong(wrong: dict[str, Any], finding: str) -> None:
    assert finding in found(check_gateways(**wrong))
