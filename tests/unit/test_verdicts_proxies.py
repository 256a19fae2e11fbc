"""Verdicts on written-down observations: each can hold, and each can fail. Proxies."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
from fake_kube import pod
from mesh_examples import SCENARIOS
from verdicts import SOURCE, FakeView, checked, gateway, holds_unless, mesh

from mesh_fixtures.kube import Container, KubeClient, Pod
from mesh_fixtures.probe.proxies import Answers, NodeMetadata, Proxy
from mesh_fixtures.probe.xds import NOT_SENT, ROUTER, SYNCED, XdsClient, XdsClients
from mesh_fixtures.requirements import Outcome, control_2, control_3
from mesh_fixtures.scenario import Scenario

PRIMARY_REMOTE = SCENARIOS["primary-remote-multi-network"]
MULTI_PRIMARY = SCENARIOS["multi-primary"]


def proxied(name: str, ip: str) -> Pod:
    return replace(
        pod(name, ip=ip), containers=(Container("istio-proxy"),), service_account="sleep"
    )


SLEEPS = {
    cluster: Proxy(SOURCE, cluster, proxied(f"sleep-{cluster}", ip))
    for cluster, ip in (("cluster1", "10.1.0.7"), ("cluster2", "10.2.0.7"))
}

# CONTROL-2 ----------------------------------------------------------------------------------------


def client(cluster: str, peer: str, kind: str = "sidecar", **states: str) -> tuple[str, XdsClient]:
    proxy = SLEEPS[cluster].id
    xds = dict.fromkeys(("CDS", "LDS", "EDS", "RDS"), SYNCED) | states
    peers = frozenset({peer} if peer else ())
    return proxy, XdsClient(proxy, kind, cluster, peers, xds)


def istiod(cluster: str, *clients: tuple[str, XdsClient]) -> tuple[XdsClients, ...]:
    return (XdsClients(SOURCE, cluster, f"istiod-{cluster}", dict(clients)),)


OWN, REMOTE = client("cluster1", "10.1.0.7"), client("cluster2", "10.1.0.2")


def check_control(
    scenario: Scenario,
    istiods: Mapping[str, tuple[XdsClients, ...]],
    found: Mapping[str, Proxy] = SLEEPS,
) -> Outcome:
    at_gateway = replace(gateway("cluster1").pods[0], ip="10.1.0.2")
    probes = control_2.Probes(
        proxies=lambda kube: (found[kube.name],) if kube.name in found else (),
        xds_clients=lambda kube: istiods[kube.name],
        gateways=lambda kube: (replace(gateway(kube.name), pods=(at_gateway,)),),
    )
    return checked(control_2, mesh(FakeView(scenario)), probes)


@pytest.mark.parametrize(
    ("clients", "finding"),
    [
        ((OWN, REMOTE), ""),
        ((OWN,), "cluster2: expected the proxy of sample/sleep-cluster2 to be connected to istiod"),
        (
            (OWN, client("cluster2", "10.2.0.7")),
            "istiod through the east-west gateway of cluster1, from 10.1.0.2, but saw 10.2.0.7",
        ),
        (
            (client("cluster1", "10.1.0.2"), REMOTE),
            "sample/sleep-cluster1 to reach istiod from 10.1.0.7, but saw 10.1.0.2",
        ),
        ((client("cluster1", ""), REMOTE), "from 10.1.0.7, but saw no connection"),
        (
            (client("cluster1", "10.1.0.7", EDS="stale"), REMOTE),
            "by EDS, but saw stale",
        ),
        (
            (OWN, client("cluster2", "10.1.0.2", LDS="rejected: no such filter")),
            "sleep-cluster2 to have accepted istiod's configuration by LDS, but saw rejected: no",
        ),
        ((client("cluster1", "10.1.0.7", RDS=NOT_SENT), REMOTE), "by RDS, but saw not sent"),
        ((client("cluster1", "10.1.0.7", ROUTER, RDS=NOT_SENT), REMOTE), ""),
        ((client("cluster1", "10.1.0.7", ROUTER, LDS=NOT_SENT), REMOTE), "by LDS, but saw not"),
    ],
)
def test_control_of_a_remote(clients: Any, finding: str) -> None:
    outcome = check_control(PRIMARY_REMOTE, {"cluster1": istiod("cluster1", *clients)})
    assert holds_unless(finding, outcome)
    assert outcome.figures["cluster2.proxies"] == 1


@pytest.mark.parametrize(
    ("second", "finding"),
    [
        ((client("cluster2", "10.2.0.7"),), ""),
        (
            (client("cluster2", "10.2.0.7"), OWN),
            "connected to istiod of cluster1 only, but saw istiod-cluster2 of cluster2",
        ),
    ],
)
def test_control_of_primaries(second: Any, finding: str) -> None:
    istiods = {"cluster1": istiod("cluster1", OWN), "cluster2": istiod("cluster2", *second)}
    assert holds_unless(finding, check_control(MULTI_PRIMARY, istiods))


def test_nobody_to_ask_is_no_control() -> None:
    finding = "cluster1: expected a ready istiod to ask, but saw none"
    assert holds_unless(finding, check_control(PRIMARY_REMOTE, {"cluster1": ()}))
    only = {"cluster1": SLEEPS["cluster1"]}
    outcome = check_control(PRIMARY_REMOTE, {"cluster1": istiod("cluster1", OWN)}, only)
    assert holds_unless("cluster2: expected a running proxy, but saw none", outcome)


# CONTROL-3 ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("metadata", "finding"),
    [
        (("cluster2", "network2", "mesh1"), ""),
        (("cluster1", "network2", "mesh1"), "to report to istiod the cluster id cluster2, but saw"),
        (("cluster2", "network9", "mesh1"), "the network network2, but saw network9"),
        (("cluster2", "", "mesh1"), "the network network2, but saw none"),
        (("cluster2", "network2", "mesh2"), "the mesh id mesh1, but saw mesh2"),
    ],
)
def test_what_proxies_belong_to(metadata: tuple[str, str, str], finding: str) -> None:
    seen = {"cluster1": ("cluster1", "network1", "mesh1"), "cluster2": metadata}
    probes = control_3.Probes(
        nodes=lambda kube: Answers(((SLEEPS[kube.name], NodeMetadata(SOURCE, *seen[kube.name])),))
    )
    assert holds_unless(finding, checked(control_3, mesh(FakeView(PRIMARY_REMOTE)), probes))


@pytest.mark.parametrize(
    ("scenario", "label", "finding"),
    [
        (PRIMARY_REMOTE, "network2", ""),
        (PRIMARY_REMOTE, None, "topology.istio.io/network=network2, but saw no such label"),
        (PRIMARY_REMOTE, "network1", "topology.istio.io/network=network2, but saw network1"),
        (MULTI_PRIMARY, None, ""),
        (MULTI_PRIMARY, "network1", ""),
        (MULTI_PRIMARY, "network2", "topology.istio.io/network=network1, but saw network2"),
    ],
)
def test_what_pods_without_a_proxy_belong_to(
    scenario: Scenario, label: str | None, finding: str
) -> None:
    networks = {each.name: each.network for each in scenario.clusters}

    def nodes(kube: KubeClient) -> Answers[NodeMetadata]:
        metadata = NodeMetadata(SOURCE, kube.name, networks[kube.name], scenario.mesh_id)
        return Answers(((SLEEPS[kube.name], metadata),))

    seen = mesh(FakeView(scenario, labels={"cluster1": networks["cluster1"], "cluster2": label}))
    assert holds_unless(finding, checked(control_3, seen, control_3.Probes(nodes=nodes)))


def test_no_proxy_is_nothing_that_holds() -> None:
    for outcome in (
        checked(
            control_3,
            mesh(FakeView(PRIMARY_REMOTE)),
            control_3.Probes(nodes=lambda kube: Answers(())),
        ),
    ):
        assert holds_unless("cluster1: expected a ready proxy, but saw none", outcome)
