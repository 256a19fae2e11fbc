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
from mesh_fixtures.kube import Pod
from mesh_fixtures.probe.name_lookups import AskedNames
from mesh_fixtures.probe.proxies import Proxy, ProxyAnswers
from mesh_fixtures.probe.service_scopes import HeldHosts, ServiceScopes, with_defaults
from mesh_fixtures.probe.traffic import Answer, Failure, TrafficSample
from mesh_fixtures.probe.workloads import HELLOWORLD
from mesh_fixtures.requirements import Outcome, scope_1, scope_2
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

    def answers(kube: Any, patterns: object) -> ProxyAnswers[HeldHosts]:
        if kube.name == silent:
            return ProxyAnswers((), ((proxy(kube.name), error),))
        targets = {host: frozenset(each) for host, each in held.get(kube.name, {}).items()}
        return ProxyAnswers(((proxy(kube.name), HeldHosts(SOURCE, targets)),))

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
    assert outcome.figures["cluster1.cluster_local_endpoints"] == 1
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


def test_hosts_of_which_no_proxy_knows_anything_are_noted() -> None:
    """A Sidecar of the whole mesh may leave out the namespaces that the configuration is about."""
    istiods = {"cluster1": istiod(every=True), "cluster2": istiod(every=True)}
    held: dict[str, dict[str, set[str]]] = {"cluster1": {HOST: {"10.1.0.5:5000"}}, "cluster2": {}}
    outcome = check_scope(istiods, held, traffic=traffic(v1=9, v2=9), external=True)
    assert outcome.result == "met"
    assert [each for each in outcome.notes if "no proxy" in each] == [
        (
            f"{name}: no proxy of the run and no gateway knows {hosts}: whether other proxies keep "
            "that within the cluster is not verified"
        )
        for name, hosts in (("cluster1", DNS), ("cluster2", ", ".join(sorted(ADDRESSES))))
    ]
    known = {name: {host: set[str]() for host in ADDRESSES} for name in istiods}
    outcome = check_scope(istiods, known, traffic=traffic(v1=9, v2=9), external=True)
    assert not any("no proxy" in each for each in outcome.notes)


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
    held = {"cluster2": {host: set[str]() for host in ADDRESSES}}
    outcome = check_scope(DIFFERENT, held, external=True)
    assert outcome.result == "met"
    (note,) = outcome.notes
    assert note.startswith("cluster1: its istiod does not keep * within each cluster, that of")


def exporting(*namespaces: str) -> ServiceScopes:
    return replace(istiod(), exported_to=namespaces)


@pytest.mark.parametrize("external", [False, True])
def test_services_that_primaries_export_differently(external: bool) -> None:
    istiods = {"cluster1": istiod(), "cluster2": exporting(".")}
    outcome = check_scope(istiods, {}, TWO_NETWORKS, external=external)
    note, *more = outcome.notes
    assert note == (
        "cluster2: services without the annotation networking.istio.io/exportTo are known in their "
        "own namespace, by defaultServiceExportTo: to be known elsewhere, they need it, also for "
        "gateways to pass them on"
    )
    if external:
        assert outcome.result == "met"
        assert more[0].startswith(
            "cluster2: its istiod takes services without exportTo to be known"
        )
    else:
        assert holds_unless(
            "cluster2: expected its istiod to export services without exportTo as that of cluster1 "
            "does, but saw its istiod takes services without exportTo to be known in their own "
            "namespace, that of cluster1 everywhere (defaultServiceExportTo)",
            outcome,
        )


@pytest.mark.parametrize(
    ("namespaces", "where"),
    [
        ((".",), "in their own namespace"),
        (("~",), "nowhere"),
        ((".", "shop"), "in their own names"),
    ],
)
def test_services_that_are_shared_one_by_one_are_noted(
    namespaces: tuple[str, ...], where: str
) -> None:
    istiods = {"cluster1": exporting(*namespaces), "cluster2": exporting(*namespaces)}
    outcome = check_scope(istiods, {})
    assert outcome.result == "met"
    assert len(outcome.notes) == 2
    assert f"exportTo are known {where}" in outcome.notes[0]


def test_what_is_not_seen_is_not_judged() -> None:
    assert check_scope(BOTH, LOCAL, silent="cluster2").result == "inconclusive"
    assert check_scope({"cluster1": istiod()}, LOCAL).result == "inconclusive"
    leaking = {"cluster1": {DNS: {"10.2.0.2:53"}}}
    assert check_scope(BOTH, leaking, silent="cluster2").result == "unmet"


# SCOPE-2 ------------------------------------------------------------------------------------------


def proxying(scenario: Scenario) -> Scenario:
    return scenario.model_copy(update={"dns_proxying": True})


THREE = proxying(SCENARIOS["three-clusters-two-networks"])
HEADLESS = "helloworld-stateful.sample.svc.cluster.local"


def pods_in(cluster: str, selector: str) -> tuple[Pod, ...]:
    at = cluster[-1]
    if selector == HELLOWORLD:
        return (pod(f"hello-{at}", ip=f"10.{at}.0.5"),)
    return (pod(f"stateful-{at}-0", ip=f"10.{at}.0.9"),)


def answering(name: str) -> Answer | Failure:
    """As the pods do that a name stands for."""
    first = name.partition(".")[0]
    instance = first.replace("helloworld-only", "hello")
    return Answer(1, "v1", instance, 0.01)


FAILED = Failure(1, 6, 0, "Could not resolve host", 0.01)
NAMES = {
    "cluster1": {"10.1.0.9", "10.2.0.9"},
    "cluster2": {"10.1.0.9", "10.2.0.9"},
    "cluster3": {"10.3.0.9"},
}


def check_names(
    answers: Mapping[tuple[str, str], Answer | Failure] = {},
    *,
    headless: Mapping[str, set[str] | None] = NAMES,
    scopes: ServiceScopes | None = None,
    shared: bool = True,
    redirected: str = "",
    external: bool = False,
    scenario: Scenario = THREE,
    found_pods: Any = pods_in,
) -> tuple[Outcome, Mapping[str, list[str]]]:
    """The outcome, and what clients asked for.

    Args:
        answers: in place of the right ones, by the client's cluster and the name.
        headless: addresses of the headless service by the client's cluster; None without a table.
    """
    asked: dict[str, list[str]] = {}

    def ask(kube: Any, names: Any) -> AskedNames:
        asked[kube.name] = [*names]
        given = {name: answers.get((kube.name, name), answering(name)) for name in names}
        known = headless[kube.name]
        table = None if known is None else {HEADLESS: frozenset(known)}
        return AskedNames(SOURCE, table, given)

    probes = scope_2.Probes(
        pods=lambda kube, selector: found_pods(kube.name, selector),
        ask=ask,
        scopes=lambda kube: (scopes or istiod(),),
        shares_headless=lambda kube: shared,
        redirected=lambda kube: redirected if kube.name == "cluster1" else "",
    )
    outcome = checked(scope_2, mesh(FakeView(scenario, external=external)), probes)
    return outcome, asked


def test_names_that_are_promised_and_no_others_are_asked_for() -> None:
    outcome, asked = check_names()
    assert outcome.result == "met"
    assert asked == {
        "cluster1": [
            "helloworld-only-2.sample",
            "helloworld-only-3.sample",
            f"stateful-1-0.{HEADLESS}",
            f"stateful-2-0.{HEADLESS}",
        ],
        "cluster2": [
            "helloworld-only-1.sample",
            "helloworld-only-3.sample",
            f"stateful-1-0.{HEADLESS}",
            f"stateful-2-0.{HEADLESS}",
        ],
        "cluster3": [
            "helloworld-only-1.sample",
            "helloworld-only-2.sample",
            f"stateful-3-0.{HEADLESS}",
        ],
    }
    assert outcome.figures["cluster1.headless_addresses"] == 2


@pytest.mark.parametrize(
    ("name", "answer", "finding"),
    [
        (
            "helloworld-only-3.sample",
            FAILED,
            (
                "cluster1: expected the service helloworld-only-3.sample of cluster3 to answer "
                "(hello-3), but saw curl exit 6 Could not resolve host, by no address in its"
            ),
        ),
        (
            "helloworld-only-2.sample",
            Answer(1, "v1", "hello-1", 0.01),
            "of cluster2 to answer (hello-2), but saw an answer of hello-1",
        ),
        (
            f"stateful-2-0.{HEADLESS}",
            Answer(1, "v1", "stateful-1-0", 0.01),
            (
                f"expected the pod stateful-2-0.{HEADLESS} of cluster2 to answer (stateful-2-0), "
                "but saw an answer of stateful-1-0"
            ),
        ),
    ],
)
def test_a_name_that_stands_for_nothing_or_for_another(
    name: str, answer: Answer | Failure, finding: str
) -> None:
    outcome, _ = check_names({("cluster1", name): answer})
    assert holds_unless(finding, outcome)
    assert len(outcome.findings) == 1


def test_a_headless_service_stands_for_all_pods_of_the_network() -> None:
    partly = {**NAMES, "cluster2": {"10.2.0.9"}}
    outcome, _ = check_names(headless=partly)
    assert holds_unless(
        f"cluster2: expected {HEADLESS} to stand for 10.1.0.9, 10.2.0.9, but saw 10.2.0.9", outcome
    )
    own = {name: {f"10.{name[-1]}.0.9"} for name in NAMES}
    assert check_names(headless=own, shared=False)[0].result == "met"


def test_a_proxy_that_answers_no_queries() -> None:
    without = {**NAMES, "cluster2": None}
    outcome, _ = check_names(headless=without)
    assert holds_unless("cluster2: expected Sleep's proxy to answer DNS queries", outcome)
    outcome, _ = check_names(headless=without, external=True)
    assert outcome.result == "met"
    assert outcome.notes == ("cluster2: DNS proxying is off in Sleep's proxy: nothing is promised",)
    nobody = dict.fromkeys(NAMES)
    assert check_names(headless=nobody, external=True)[0].result == "inconclusive"


def test_what_is_kept_within_clusters_is_not_asked_for_elsewhere() -> None:
    outcome, asked = check_names(scopes=istiod(every=True))
    assert outcome.result == "met"
    assert {name: len(names) for name, names in asked.items()} == dict.fromkeys(NAMES, 1)
    assert len(outcome.notes) == 3


def test_services_whose_addresses_need_not_reach_the_proxy_are_not_asked_for() -> None:
    outcome, asked = check_names(redirected="10.96.0.0/12")
    assert not any(name.startswith("helloworld-only") for name in asked["cluster1"])
    assert any(name.startswith("helloworld-only") for name in asked["cluster2"])
    assert "10.96.0.0/12 only" in outcome.notes[0]


def test_pods_that_are_not_ready_are_no_fault_of_names() -> None:
    def starting(cluster: str, selector: str) -> tuple[Pod, ...]:
        (found,) = pods_in(cluster, selector)
        return (replace(found, ready=cluster != "cluster2" or selector == HELLOWORLD),)

    own = {**NAMES, "cluster1": {"10.1.0.9"}, "cluster2": {"10.1.0.9"}}
    outcome, _ = check_names(found_pods=starting, headless=own)
    assert outcome.result == "inconclusive"
    assert outcome.trouble is not None
    assert "stateful-2-0 not ready" in outcome.trouble.seen


def test_without_stateful_sets_services_are_still_asked_for() -> None:
    def refused(cluster: str, selector: str) -> tuple[Pod, ...]:
        return pods_in(cluster, selector) if selector == HELLOWORLD else ()

    empty: Mapping[str, set[str]] = {name: set() for name in NAMES}
    outcome, asked = check_names(found_pods=refused, headless=empty, external=True)
    assert outcome.result == "met"
    assert all(len(names) == 2 for names in asked.values())
    assert len(outcome.notes) == 3
    outcome, _ = check_names(found_pods=refused, headless=empty)
    assert outcome.result == "inconclusive"
