"""Verdicts on written-down observations: each can hold, and each can fail. Proxies."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
from fake_kube import pod
from mesh_examples import SCENARIOS
from verdicts import SOURCE, FakeView, checked, found, holds_unless, mesh

from mesh_fixtures.errors import ProbeError
from mesh_fixtures.kube import Container, KubeClient, Pod
from mesh_fixtures.probe.proxies import NodeMetadata, Proxy, ProxyAnswers
from mesh_fixtures.probe.shards import HeldNetworks
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


def client(cluster: str, kind: str = "sidecar", **states: str) -> tuple[str, XdsClient]:
    proxy = SLEEPS[cluster].id
    xds = dict.fromkeys(("CDS", "LDS", "EDS", "RDS"), SYNCED) | states
    return proxy, XdsClient(proxy, kind, cluster, xds)


def istiod(cluster: str, *clients: tuple[str, XdsClient]) -> tuple[XdsClients, ...]:
    return (XdsClients(SOURCE, cluster, f"istiod-{cluster}", dict(clients)),)


OWN, REMOTE = client("cluster1"), client("cluster2")


def check_control(
    scenario: Scenario,
    istiods: Mapping[str, tuple[XdsClients, ...]],
    found: Mapping[str, Proxy] = SLEEPS,
    *,
    has_samples: bool = True,
) -> Outcome:
    probes = control_2.Probes(
        proxies=lambda kube: (found[kube.name],) if kube.name in found else (),
        xds_clients=lambda kube: istiods[kube.name],
    )
    return checked(control_2, mesh(FakeView(scenario), has_samples=has_samples), probes)


@pytest.mark.parametrize(
    ("clients", "finding"),
    [
        ((OWN, REMOTE), ""),
        ((OWN,), "cluster2: expected the proxy of sample/sleep-cluster2 to be connected to istiod"),
        (
            (OWN, (REMOTE[0], replace(REMOTE[1], cluster_id="cluster1"))),
            "cluster2: expected the proxy of sample/sleep-cluster2 to be connected to istiod",
        ),
        (
            (client("cluster1", EDS="stale"), REMOTE),
            "by EDS, but saw stale",
        ),
        (
            (OWN, client("cluster2", LDS="rejected: no such filter")),
            "sleep-cluster2 to have accepted istiod's configuration by LDS, but saw rejected: no",
        ),
        ((client("cluster1", RDS=NOT_SENT), REMOTE), "by RDS, but saw not sent"),
        ((client("cluster1", ROUTER, RDS=NOT_SENT), REMOTE), ""),
        ((client("cluster1", ROUTER, LDS=NOT_SENT), REMOTE), "by LDS, but saw not"),
    ],
)
def test_control_of_a_remote(clients: Any, finding: str) -> None:
    outcome = check_control(PRIMARY_REMOTE, {"cluster1": istiod("cluster1", *clients)})
    assert holds_unless(finding, outcome)
    assert outcome.figures["cluster2.proxies"] == 1


@pytest.mark.parametrize(
    ("second", "finding"),
    [
        ((client("cluster2"),), ""),
        (
            (client("cluster2"), OWN),
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


NOTHING_SENT = dict.fromkeys(("CDS", "LDS", "EDS", "RDS"), NOT_SENT)


@pytest.mark.parametrize(
    ("clients", "finding"),
    [
        ((), ""),
        ((OWN, REMOTE), ""),
        ((OWN, client("cluster2", LDS="rejected: no")), "by LDS, but saw rejected: no"),
        ((OWN, client("cluster2", RDS=NOT_SENT, EDS=NOT_SENT)), ""),
        ((OWN, client("cluster2", CDS=NOT_SENT, RDS=NOT_SENT, EDS=NOT_SENT)), ""),
        ((OWN, client("cluster2", **NOTHING_SENT)), "by CDS, but saw not sent"),
    ],
)
def test_without_samples_whoever_is_connected_is_looked_at(clients: Any, finding: str) -> None:
    istiods = {"cluster1": istiod("cluster1", *clients)}
    outcome = check_control(PRIMARY_REMOTE, istiods, {}, has_samples=False)
    assert holds_unless(finding, outcome)
    assert outcome.figures["cluster2.proxies"] == bool(clients)


@pytest.mark.parametrize("kind", ["ztunnel", "waypoint"])
def test_proxies_of_the_ambient_mode_are_not_judged(kind: str) -> None:
    unlike = client("cluster2", kind, **NOTHING_SENT)
    outcome = check_control(
        PRIMARY_REMOTE, {"cluster1": istiod("cluster1", OWN, unlike)}, {}, has_samples=False
    )
    assert outcome.result == "met"
    assert outcome.figures["cluster2.proxies"] == 0


def test_without_samples_gateways_must_be_connected() -> None:
    istiods = {"cluster1": istiod("cluster1", OWN)}
    outcome = check_control(PRIMARY_REMOTE, istiods, has_samples=False)
    assert holds_unless("cluster2: expected the proxy of sample/sleep-cluster2 to be", outcome)


@pytest.mark.parametrize(("age", "result"), [(3.0, "met"), (41.0, "unmet")])
def test_without_samples_proxies_are_waited_for_after_a_start_of_istiod(
    age: float, result: str
) -> None:
    looks = iter([istiod("cluster1", OWN), istiod("cluster1", OWN, REMOTE)])
    probes = control_2.Probes(
        proxies=lambda kube: (SLEEPS[kube.name],),
        xds_clients=lambda kube: tuple(replace(each, age=age) for each in next(looks)),
    )
    seen = mesh(FakeView(PRIMARY_REMOTE), has_samples=False)
    seen.patient = lambda seconds: 0.0
    assert checked(control_2, seen, probes).result == result


def test_each_proxy_is_in_sync_at_some_time() -> None:
    """In a mesh of constant change there need not be a moment at which all are."""
    stale = {name: client(name, EDS="stale") for name in SLEEPS}
    good = {name: client(name) for name in SLEEPS}
    looks = iter([(good["cluster1"], stale["cluster2"]), (stale["cluster1"], good["cluster2"])])
    probes = control_2.Probes(
        proxies=lambda kube: (SLEEPS[kube.name],),
        xds_clients=lambda kube: istiod("cluster1", *next(looks)),
    )
    seen = mesh(FakeView(PRIMARY_REMOTE))
    seen.patient = lambda seconds: 30.0
    assert checked(control_2, seen, probes).result == "met"


def test_a_proxy_that_is_never_in_sync_is_named() -> None:
    outcome = check_control(
        PRIMARY_REMOTE, {"cluster1": istiod("cluster1", OWN, client("cluster2", CDS="stale"))}
    )
    assert [each.cluster for each in outcome.findings] == ["cluster2"]


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
        nodes=lambda kube: ProxyAnswers(
            ((SLEEPS[kube.name], NodeMetadata(SOURCE, *seen[kube.name])),)
        )
    )
    assert holds_unless(finding, checked(control_3, mesh(FakeView(PRIMARY_REMOTE)), probes))


def test_on_one_network_proxies_need_not_name_it() -> None:
    probes = control_3.Probes(
        nodes=lambda kube: ProxyAnswers(
            ((SLEEPS[kube.name], NodeMetadata(SOURCE, kube.name, "", "mesh1")),)
        )
    )
    assert checked(control_3, mesh(FakeView(MULTI_PRIMARY)), probes).result == "met"


def test_a_silent_proxy_leaves_it_open() -> None:
    error = ProbeError(wanted="an answer", seen="none", where="cluster2")

    def nodes(kube: KubeClient) -> ProxyAnswers[NodeMetadata]:
        proxy, network = SLEEPS[kube.name], f"network{kube.name[-1]}"
        metadata = NodeMetadata(SOURCE, kube.name, network, "mesh1")
        silent = ((proxy, error),) if kube.name == "cluster2" else ()
        return ProxyAnswers(((proxy, metadata),), silent)

    outcome = checked(control_3, mesh(FakeView(PRIMARY_REMOTE)), control_3.Probes(nodes=nodes))
    assert outcome.trouble is error


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

    def nodes(kube: KubeClient) -> ProxyAnswers[NodeMetadata]:
        metadata = NodeMetadata(SOURCE, kube.name, networks[kube.name], scenario.mesh_id)
        return ProxyAnswers(((SLEEPS[kube.name], metadata),))

    def held(kube: KubeClient) -> tuple[HeldNetworks, ...]:
        counts = {name: Counter([network]) for name, network in networks.items()}
        return (HeldNetworks(SOURCE, "istiod-1", {**counts, "cluster2": Counter([label or ""])}),)

    seen = mesh(FakeView(scenario, labels={"cluster1": networks["cluster1"], "cluster2": label}))
    probes = control_3.Probes(nodes=nodes, networks=held)
    assert holds_unless(finding, checked(control_3, seen, probes))


def of_their_networks(kube: KubeClient) -> ProxyAnswers[NodeMetadata]:
    spec = PRIMARY_REMOTE.cluster(kube.name)
    metadata = NodeMetadata(SOURCE, kube.name, spec.network, PRIMARY_REMOTE.mesh_id)
    return ProxyAnswers(((SLEEPS[kube.name], metadata),))


def test_a_network_that_istiod_knows_needs_no_label() -> None:
    def held(kube: KubeClient) -> tuple[HeldNetworks, ...]:
        return (HeldNetworks(SOURCE, "istiod-1", {"cluster2": Counter(network2=3, other=1)}),)

    def silent(kube: KubeClient) -> tuple[HeldNetworks, ...]:
        raise ProbeError(wanted="an answer", seen="none", where="istiod-1")

    unlabelled = mesh(FakeView(PRIMARY_REMOTE, labels={"cluster2": None}))
    probes = control_3.Probes(nodes=of_their_networks, networks=held)
    outcome = checked(control_3, unlabelled, probes)
    assert outcome.result == "met"
    assert "istiod takes its pods to be on network2 without the label" in outcome.notes[0]
    probes = control_3.Probes(nodes=of_their_networks, networks=silent)
    assert "no such label" in found(checked(control_3, unlabelled, probes))


def test_clusters_of_an_existing_mesh_may_differ_in_its_id() -> None:
    def nodes(kube: KubeClient) -> ProxyAnswers[NodeMetadata]:
        network = PRIMARY_REMOTE.cluster(kube.name).network
        metadata = NodeMetadata(SOURCE, kube.name, network, f"mesh-of-{kube.name}")
        return ProxyAnswers(((SLEEPS[kube.name], metadata),))

    probes = control_3.Probes(nodes=nodes)
    existing = checked(control_3, mesh(FakeView(PRIMARY_REMOTE, external=True)), probes)
    assert existing.result == "met"
    assert "cluster2: proxies report the mesh id mesh-of-cluster2" in existing.notes[1]
    installed = checked(control_3, mesh(FakeView(PRIMARY_REMOTE)), probes)
    assert "the mesh id mesh1, but saw mesh-of-cluster1" in found(installed)


def test_no_proxy_is_nothing_that_holds() -> None:
    probes = control_3.Probes(nodes=lambda kube: ProxyAnswers(()))
    outcome = checked(control_3, mesh(FakeView(PRIMARY_REMOTE)), probes)
    assert holds_unless("cluster1: expected a ready proxy, but saw none", outcome)
