"""Verdicts on written-down observations: each can hold, and each can fail. Scope of services."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
from fake_kube import pod
from mesh_examples import SCENARIOS
from verdicts import SOURCE, FakeView, advertised, checked, found, holds_unless, mesh

from mesh_fixtures.errors import ProbeError
from mesh_fixtures.probe.proxies import Answers, Proxy
from mesh_fixtures.probe.service_scopes import HeldHosts, ServiceScopes, with_defaults
from mesh_fixtures.probe.traffic import Answer, TrafficSample
from mesh_fixtures.requirements import Outcome, scope_1
from mesh_fixtures.scenario import Scenario

ONE_NETWORK = SCENARIOS["multi-primary"]
TWO_NETWORKS = SCENARIOS["multi-primary-multi-network"]
REMOTE = SCENARIOS["primary-remote-multi-network"]

# SCOPE-1 ------------------------------------------------------------------------------------------

HOST = "helloworld.sample.svc.cluster.local"
DNS = "kube-dns.kube-system.svc.cluster.local"
ADDRESSES = {
    HOST: {"cluster1": frozenset({"10.1.0.5"}), "cluster2": frozenset({"10.2.0.5"})},
    DNS: {"cluster1": frozenset({"10.1.0.2"}), "cluster2": frozenset({"10.2.0.2"})},
    "a.x.svc.cluster.local": {"cluster1": frozenset({"10.1.0.8"})},
}


def istiod(**configured: bool) -> ServiceScopes:
    names = {"every": "*", "hello": HOST, "dns": DNS}
    settings = {names[name]: local for name, local in configured.items()}
    return ServiceScopes(
        SOURCE, "istiod-1", settings, with_defaults(settings, "cluster.local"), ADDRESSES
    )


def proxy(cluster: str) -> Proxy:
    return Proxy(SOURCE, cluster, pod(f"sleep-{cluster}"))


def check_scope(
    istiods: Mapping[str, ServiceScopes],
    held: Mapping[str, Mapping[str, set[str]]],
    scenario: Scenario = ONE_NETWORK,
    *,
    external: bool = False,
    traffic: Any = None,
    silent: str = "",
) -> Outcome:
    error = ProbeError(wanted="an answer", seen="none", where=silent)

    def answers(kube: Any, patterns: object) -> Answers[HeldHosts]:
        if kube.name == silent:
            return Answers((), ((proxy(kube.name), error),))
        targets = {host: frozenset(each) for host, each in held.get(kube.name, {}).items()}
        return Answers(((proxy(kube.name), HeldHosts(SOURCE, targets)),))

    probes = scope_1.Probes(
        scopes=lambda kube: (istiods[kube.name],) if kube.name in istiods else (),
        held=answers,
        advertised=lambda kube: (
            advertised("cluster1", "172.18.1.1"),
            advertised("cluster2", "172.18.2.1"),
        ),
    )
    return checked(scope_1, mesh(FakeView(scenario, external=external), traffic=traffic), probes)


BOTH = {"cluster1": istiod(), "cluster2": istiod()}
KEPT = {"cluster1": istiod(hello=True), "cluster2": istiod(hello=True)}
LOCAL = {
    "cluster1": {DNS: {"10.1.0.2:53"}, HOST: {"10.1.0.5:5000", "10.2.0.5:5000"}},
    "cluster2": {DNS: {"10.2.0.2:53"}},
}


def test_hosts_of_kube_system_are_kept_by_default() -> None:
    outcome = check_scope(BOTH, LOCAL)
    assert outcome.result == "met"
    assert outcome.figures["cluster1.cluster_local_hosts"] == 1
    leaking = {**LOCAL, "cluster2": {DNS: {"10.2.0.2:53", "10.1.0.2:53"}}}
    assert holds_unless(
        f"cluster2: expected no endpoint of {DNS} but those of cluster2 in the proxy of "
        "sample/sleep-cluster2, but saw 10.1.0.2:53 of cluster1",
        check_scope(BOTH, leaking),
    )


@pytest.mark.parametrize(
    ("targets", "finding"),
    [
        ({"10.1.0.2:53"}, ""),
        ({"172.18.2.1:15443"}, "172.18.2.1:15443 of another network"),
        ({"172.18.1.1:15443"}, ""),  # of its own network: of whatever the host resolves to
        ({"198.51.100.7:53"}, ""),
    ],
)
def test_gateways_of_other_networks_lead_out(targets: set[str], finding: str) -> None:
    held = {"cluster1": {DNS: targets}}
    assert holds_unless(finding, check_scope(BOTH, held, TWO_NETWORKS))


def test_a_remote_is_judged_by_its_primary() -> None:
    held = {"cluster1": {HOST: {"10.1.0.5:5000"}}, "cluster2": {HOST: {"10.1.0.5:5000"}}}
    outcome = check_scope(
        {"cluster1": istiod(hello=True)}, held, REMOTE, traffic=traffic(v1=3, v2=3)
    )
    assert "cluster2: expected no endpoint of" in found(outcome)


def traffic(**counts: int) -> Mapping[str, TrafficSample]:
    """Answers of these versions, in that number, to the client of the cluster of that version."""
    return {
        cluster: TrafficSample(
            SOURCE,
            cluster,
            sum(counts.values()),
            tuple(
                Answer(number, version, f"pod-{version}", 0.01) for number in range(counts[version])
            ),
            (),
            1.0,
            cut_short=False,
        )
        for cluster, version in (("cluster1", "v1"), ("cluster2", "v2"))
    }


def test_answers_of_other_clusters() -> None:
    held = {"cluster1": {HOST: {"10.1.0.5:5000"}}}
    outcome = check_scope(KEPT, held, traffic=traffic(v1=9, v2=9))
    assert outcome.result == "met"
    assert "cluster1: its clients are to reach HelloWorld in their own cluster only" in (
        outcome.notes
    )
    seen = traffic(v1=9, v2=9)
    elsewhere = {**seen, "cluster1": replace(seen["cluster1"], answers=seen["cluster2"].answers)}
    assert holds_unless(
        "cluster1: expected answers from v1 only, as HelloWorld is to be kept within each cluster, "
        "but saw 9 from v2",
        check_scope(KEPT, held, traffic=elsewhere),
    )


def test_requests_are_sent_only_where_helloworld_is_kept() -> None:
    assert check_scope({**BOTH, "cluster2": istiod(dns=False)}, {}, external=True).result == "met"


DIFFERENT = {"cluster1": istiod(), "cluster2": istiod(every=True, hello=False)}


def test_control_planes_that_decide_otherwise() -> None:
    outcome = check_scope(DIFFERENT, {})
    assert holds_unless(
        "cluster1: expected its istiod to keep * within each cluster, as that of cluster2 does",
        outcome,
    )
    assert len(outcome.findings) == 1


def test_an_existing_mesh_may_have_it_so_on_purpose() -> None:
    outcome = check_scope(DIFFERENT, {}, external=True)
    assert outcome.result == "met"
    (note,) = outcome.notes
    assert note.startswith("cluster1: its istiod does not keep * within each cluster, that of")


def test_what_is_not_seen_is_not_judged() -> None:
    assert check_scope(BOTH, LOCAL, silent="cluster2").result == "inconclusive"
    assert check_scope({"cluster1": istiod()}, LOCAL).result == "inconclusive"
    leaking = {"cluster1": {DNS: {"10.2.0.2:53"}}}
    assert check_scope(BOTH, leaking, silent="cluster2").result == "unmet"
