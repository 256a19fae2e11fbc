"""Verdicts on written-down observations: each can hold, and each can fail. Security."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest
from fake_kube import pod
from mesh_examples import SCENARIOS
from verdicts import SOURCE, FakeView, advertised, checked, found, gateway, holds_unless, mesh

from mesh_fixtures.errors import NotPermitted, ProbeError
from mesh_fixtures.kube import Container, Pod, ServicePort
from mesh_fixtures.probe.envoy import CONFIGURATION, PROXY
from mesh_fixtures.probe.gateways import Gateway
from mesh_fixtures.probe.grpc import GrpcAnswer
from mesh_fixtures.probe.identities import TrustDomains
from mesh_fixtures.probe.network import Connection, Reach
from mesh_fixtures.probe.peers import DEBUG, Peers
from mesh_fixtures.probe.tls import TlsAttempt
from mesh_fixtures.probe.traffic import Answer, Failure, TrafficSample
from mesh_fixtures.requirements import Outcome, security_1, security_2, security_3, traffic_3

MULTI = SCENARIOS["multi-primary-multi-network"]
SLEEP = "spiffe://cluster.local/ns/sample/sa/sleep"
HELLOWORLD = "spiffe://cluster.local/ns/sample/sa/helloworld"
REFUSED = TlsAttempt(SOURCE, None, "connection reset", "")
ALERT = TlsAttempt(SOURCE, (HELLOWORLD,), "alert certificate required", "")
ANSWERED = TlsAttempt(SOURCE, (HELLOWORLD,), "", "HTTP/1.1 200 OK")


LOCAL = TrustDomains(SOURCE, "cluster.local")


def proxied(name: str) -> Pod:
    return replace(pod(name), containers=(Container("istio-proxy"),), service_account="sleep")


def view(*, external: bool = False) -> FakeView:
    """Each cluster has one pod of HelloWorld and one of Sleep."""
    seen = FakeView(MULTI, external=external)
    for name, kube in seen.kube.items():
        kube.list = lambda resource, namespace, selector, name=name: (
            proxied(f"helloworld-{name}"),
        )
        kube.pod_of = lambda namespace, selector, name=name: proxied(f"sleep-{name}")
    return seen


def sample(cluster: str, instances: Iterable[str], failures: int = 0) -> TrafficSample:
    answers = tuple(Answer(n, "v1", each, 0.01) for n, each in enumerate(instances, 1))
    failed = tuple(Failure(n, 28, 0, "timed out", 2.0) for n in range(failures))
    total = len(answers) + failures
    return TrafficSample(SOURCE, cluster, total, answers, failed, 1.0, cut_short=False)


EVERYWHERE = ("helloworld-cluster1", "helloworld-cluster2")

# SECURITY-1 ---------------------------------------------------------------------------------------


def check_security_1(
    logged: Mapping[tuple[str, str], str | None],
    answering: Iterable[str] = EVERYWHERE,
    seen: FakeView | None = None,
    domains: TrustDomains | None = LOCAL,
) -> tuple[Outcome, dict[str, str]]:
    """What comes of it, and the levels of logs afterwards.

    Args:
        logged: the id in the log of a server for a client, by (client, server) where it is not
            Sleep's; None for no trace of the requests.
    """
    levels = dict.fromkeys(EVERYWHERE, "warning")
    asked: dict[str, str] = {}

    def requests(kube: Any, count: int, *, target: str, **limits: Any) -> TrafficSample:
        assert DEBUG in levels.values()
        asked[target.partition(":5000")[2]] = kube.name
        return sample(kube.name, answering)

    def logged_peers(kube: Any, server: Pod, paths: Iterable[str]) -> Mapping[str, Peers]:
        found = {}
        for path in paths:
            known = logged.get((asked[path], server.name), SLEEP)
            times = sum(each == server.name for each in answering)
            found[path] = Peers(SOURCE, () if known is None else (known,) * times)
        return found

    probes = security_1.Probes(
        log_level=lambda kube, server: levels[server.name],
        set_log_level=lambda kube, server, level: levels.update({server.name: level}),
        requests=requests,
        logged_peers=logged_peers,
        trust_domains=lambda kube: domains,
        settling_seconds=0.0,
    )
    traffic = {cluster: sample(cluster, answering) for cluster in ("cluster1", "cluster2")}
    return checked(security_1, mesh(seen or view(), traffic=traffic), probes), levels


@pytest.mark.parametrize(
    ("logged", "finding"),
    [
        ({}, ""),
        (
            {("cluster1", "helloworld-cluster2"): ""},
            f"cluster1 as {SLEEP}, but saw no certificate in 1 of 1 requests",
        ),
        (
            {("cluster2", "helloworld-cluster1"): "spiffe://a/ns/b/sa/gateway"},
            f"Sleep of cluster2 as {SLEEP}, but saw spiffe://a/ns/b/sa/gateway in 1 of 1 requests",
        ),
        (
            {("cluster2", "helloworld-cluster1"): None},
            "but saw 1 answers to requests that its proxy has not seen as HTTP",
        ),
    ],
)
def test_clients_are_known(logged: Mapping[tuple[str, str], str | None], finding: str) -> None:
    outcome, levels = check_security_1(logged)
    assert holds_unless(finding, outcome)
    assert set(levels.values()) == {"warning"}


def test_clients_may_be_known_by_an_alias_of_the_trust_domain() -> None:
    migrating = TrustDomains(SOURCE, "new.example", ("cluster.local",))
    assert check_security_1({}, domains=migrating)[0].result == "met"
    changed = TrustDomains(SOURCE, "new.example")
    wanted = SLEEP.replace("cluster.local", "new.example")
    assert f"as {wanted}, but saw {SLEEP}" in found(check_security_1({}, domains=changed)[0])


def test_clients_that_a_server_never_answered_are_not_known() -> None:
    outcome, _ = check_security_1({}, EVERYWHERE[:1])
    assert outcome.result == "inconclusive"
    assert "HelloWorld in cluster2 answers" in str(outcome.trouble)


def test_a_server_without_a_proxy_knows_nobody() -> None:
    bare = view()
    bare.kube["cluster2"].list = lambda *_: (pod("helloworld-cluster2"),)
    outcome, _ = check_security_1({}, seen=bare)
    assert holds_unless("cluster2: expected sample/helloworld-cluster2 to have a proxy", outcome)


def test_a_server_that_says_of_nobody_who_it_is_shows_nothing() -> None:
    hiding = {CONFIGURATION: '{"proxyHeaders": {"forwardedClientCert": "SANITIZE"}}'}
    server = replace(pod("helloworld-cluster2"), containers=(Container(PROXY, env=hiding),))
    seen = view()
    seen.kube["cluster2"].list = lambda *_: (server,)
    outcome, levels = check_security_1({}, seen=seen)
    assert outcome.result == "inconclusive"
    assert "proxy.istio.io/config" in str(outcome.trouble)
    assert {*levels.values()} == {"warning"}


# SECURITY-2 ---------------------------------------------------------------------------------------


def check_security_2(
    changes: Mapping[str, TlsAttempt],
    addresses: Iterable[str] = ("10.0.0.1",),
    open_ports: Iterable[int] = (),
    *,
    external: bool = False,
) -> Outcome:
    usual = {"plaintext": REFUSED, "unknown_sni": REFUSED}
    usual |= {"no_certificate": ALERT, "foreign_certificate": ALERT}

    def attempt(kube: Any, sleep: Pod, address: str, port: int, request: bytes, hello: Any) -> Any:
        assert (kube.name, port) == {
            "10.0.0.1": ("cluster2", 15443),
            "10.0.0.2": ("cluster1", 31443),
            "10.0.0.3": ("cluster2", 15443),
        }[address]
        if hello is None:
            return {**usual, **changes}["plaintext"]
        if ".nowhere." in hello.server_name:
            return {**usual, **changes}["unknown_sni"]
        shown = "no_certificate" if hello.certificate is None else "foreign_certificate"
        return {**usual, **changes}[shown]

    def connections(kube: Any, sleep: Pod, targets: Any, *, seconds: float) -> Any:
        return [
            Connection(
                SOURCE, address, port, Reach.OPEN if port in open_ports else Reach.REFUSED, 0, 0, ""
            )
            for address, port in targets
        ]

    known = (
        *(advertised("cluster1", address) for address in addresses),
        advertised("cluster2", "10.0.0.2", 31443),
    )
    probes = security_2.Probes(
        advertised=lambda kube: known, attempt=attempt, connections=connections
    )
    return checked(security_2, mesh(view(external=external)), probes)


@pytest.mark.parametrize(
    ("changes", "finding"),
    [
        ({}, ""),
        ({"no_certificate": replace(ALERT, server=None)}, ""),
        ({"plaintext": ANSWERED}, "cluster2: expected plaintext to be refused by 10.0.0.1:15443"),
        ({"plaintext": TlsAttempt(SOURCE, None, "", "")}, "but saw a connection that stays open"),
        ({"unknown_sni": ANSWERED}, "expected an unknown SNI to be refused"),
        ({"unknown_sni": ALERT}, f"but saw a server that shows its certificate, {HELLOWORLD}"),
        ({"no_certificate": ANSWERED}, "a client without a certificate to be refused"),
        (
            {"foreign_certificate": ANSWERED},
            "from an untrusted root to be refused",
        ),
    ],
)
def test_untrusted_clients_at_gateways(changes: Mapping[str, TlsAttempt], finding: str) -> None:
    assert holds_unless(finding, check_security_2(changes))


def test_each_of_several_gateways_has_figures() -> None:
    figures = check_security_2({}, ("10.0.0.1", "10.0.0.3")).figures
    attempts = sorted(name for name in figures if "plaintext" in name)
    assert attempts == [
        "cluster1.plaintext.10.0.0.1:15443",
        "cluster1.plaintext.10.0.0.3:15443",
        "cluster2.plaintext",
    ]


def test_gateways_are_tried_at_addresses_of_the_clients_families() -> None:
    assert check_security_2({}, ("10.0.0.1", "2001:db8::1")).result == "met"


def test_a_gateway_shows_no_admin_interface() -> None:
    finding = "cluster2: expected port 15000 of the gateway 10.0.0.1:15443 (network1 in cluster1) "
    assert holds_unless(finding, check_security_2({}, open_ports=(15000,)))


@pytest.mark.parametrize("what", ["no_certificate", "foreign_certificate"])
def test_a_certificate_that_nobody_looked_at_was_not_refused(what: str) -> None:
    outcome = check_security_2({what: REFUSED})
    assert outcome.result == "inconclusive"
    assert "connection reset, before it came to that" in str(outcome.trouble)


def test_without_a_gateway_nobody_is_refused() -> None:
    finding = "cluster2: expected a gateway of another network, to see whom it refuses, but saw"
    assert holds_unless(finding, check_security_2({}, ()))
    existing = check_security_2({}, (), external=True)
    assert existing.result == "met"
    assert existing.notes == ("cluster2: its clients use no gateway",)


# SECURITY-3 ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("taken", "finding"),
    [
        ("", ""),
        ("nothing", "cluster1: expected a request for a certificate without a token to be refused"),
        ("token", "a request for a certificate with a forged token to be refused by istiod"),
        ("stream", "a request for configuration without token and certificate to be refused"),
        ("certificate", "from an untrusted root to be refused by istiod at istiod"),
        ("connection", ""),
        ("silence", ""),
    ],
)
def test_untrusted_clients_at_istiod(taken: str, finding: str) -> None:
    def call(
        kube: Any, sleep: Pod, target: str, method: str, message: Any, token: str, certificate: Any
    ) -> Any:
        assert target == "istiod.istio-system.svc:15012"
        assert (message is None) == method.endswith("/StreamAggregatedResources")
        way = "stream" if message is None else "token" if token else "nothing"
        way = "certificate" if certificate else way
        return GrpcAnswer(SOURCE, 0 if way == taken else 16, "")

    def attempt(kube: Any, sleep: Pod, host: str, port: int, request: bytes, hello: Any) -> Any:
        assert (host, port) == ("istiod.istio-system.svc", 15012)
        assert hello.certificate is not None
        settings = TlsAttempt(SOURCE, (), "", "\x00\x00\x12\x04")
        silence = TlsAttempt(SOURCE, (), "", "")
        taken_as = {"certificate": settings, "connection": settings, "silence": silence}
        return taken_as.get(taken, ALERT)

    probes = security_3.Probes(call=call, attempt=attempt)
    assert holds_unless(finding, checked(security_3, mesh(view()), probes))


# TRAFFIC-3 ----------------------------------------------------------------------------------------


def check_traffic_3(
    passed: Mapping[str, int],
    answering: Iterable[str] = EVERYWHERE,
    failures: int = 0,
    gateways: Callable[[str], tuple[Gateway, ...]] = lambda cluster: (
        gateway(cluster, f"192.0.2.{cluster[-1]}"),
    ),
    routers: Mapping[str, Iterable[str]] | None = None,
    *,
    advertising: Iterable[str] = ("cluster1", "cluster2"),
    external: bool = False,
    by_gateways: int | None = 1,
) -> Outcome:
    """What comes of it where each client gets these answers at a time.

    Args:
        by_gateways: requests that a connection serves by their rule; None where they do not know
            the service.
        advertising: clusters of whose gateways istiods know.
        routers: names of pods of gateways' proxies, by cluster; those that begin with `east` pass
            HelloWorld on, and nobody may ask those that begin with `hidden`.
    """
    counts = {"cluster1": 100, "cluster2": 200}
    rounds = {"cluster1": 0, "cluster2": 0}

    def requests(kube: Any, count: int, *, target: str, **limits: Any) -> TrafficSample:
        assert target == "http://helloworld-fresh.sample:5000/hello"
        rounds[kube.name] += 1
        counts[kube.name] += passed[kube.name]
        return sample(kube.name, answering, failures)

    def requests_per_connection(kube: Any, proxy: Pod, cluster: str) -> int | None:
        if proxy.name.startswith("hidden"):
            raise NotPermitted(wanted="an answer", seen="403", where=kube.name)
        if cluster.startswith("outbound|"):
            return 1
        return None if proxy.name.startswith("users") else by_gateways

    def endpoints(kube: Any, gateway: Pod, cluster: str) -> Any:
        found = (SimpleNamespace(connections=counts[kube.name]),)
        return SimpleNamespace(source=SOURCE, endpoints=found)

    probes = traffic_3.Probes(
        advertised=lambda kube: tuple(
            advertised(each, f"192.0.2.{each[-1]}") for each in advertising
        ),
        gateways=lambda kube, addresses: gateways(kube.name),
        routers=lambda kube: tuple(map(proxied, (routers or {}).get(kube.name, ()))),
        fresh_connections=lambda view: nullcontext(),
        requests_per_connection=requests_per_connection,
        client_endpoints=lambda view, seconds, service: {},
        requests=requests,
        endpoints=endpoints,
    )
    before = {cluster: sample(cluster, EVERYWHERE) for cluster in counts}
    outcome = checked(traffic_3, mesh(view(external=external), traffic=before), probes)
    assert max(rounds.values()) <= traffic_3.ROUNDS
    return outcome


@pytest.mark.parametrize(
    ("passed", "failures", "finding"),
    [
        ({"cluster1": 1, "cluster2": 1}, 0, ""),
        (
            {"cluster1": 1, "cluster2": 0},
            0,
            "cluster2: expected the gateways of network2 to pass on 1 requests",
        ),
        ({"cluster1": 2, "cluster2": 1}, 0, "other networks, but saw 2 in cluster1"),
        ({"cluster1": 3, "cluster2": 1}, 2, ""),
        ({"cluster1": 4, "cluster2": 1}, 2, "and at most 2 that failed, but saw 4 in cluster1"),
    ],
)
def test_what_gateways_pass_on(passed: Mapping[str, int], failures: int, finding: str) -> None:
    outcome = check_traffic_3(passed, failures=failures)
    assert holds_unless(finding, outcome)
    assert outcome.figures["network1.requests_from_other_networks"] == 1
    assert outcome.figures["cluster1.connections_through_gateway"] == passed["cluster1"]


PASSED = {"cluster1": 1, "cluster2": 1}


@pytest.mark.parametrize(
    ("by_gateways", "result"), [(10, "met"), (0, "met"), (None, "inconclusive")]
)
def test_gateways_may_have_a_rule_of_their_own_namespace(
    by_gateways: int | None, result: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(traffic_3, "SETTLING_SECONDS", 0.0)
    assert check_traffic_3(PASSED, by_gateways=by_gateways).result == result


def unlabelled(made: Gateway) -> Gateway:
    return replace(made, service=replace(made.service, meta=replace(made.service.meta, labels={})))


def test_a_gateway_that_istiod_advertises_needs_no_label() -> None:
    def gateways(cluster: str) -> tuple[Gateway, ...]:
        return (unlabelled(gateway(cluster, f"192.0.2.{cluster[-1]}")),)

    assert check_traffic_3(PASSED, gateways=gateways).result == "met"


@pytest.mark.parametrize(
    "first",
    [
        (unlabelled(gateway("cluster1", "10.9.9.9")),),
        (gateway("cluster1", "10.9.9.9"),),
        (),
    ],
)
def test_a_gateway_behind_an_address_of_no_service_is_counted(first: tuple[Gateway, ...]) -> None:
    """As where address translation, a tunnel or another load balancer is in front of it."""

    def gateways(cluster: str) -> tuple[Gateway, ...]:
        return first if cluster == "cluster1" else (gateway(cluster, "192.0.2.2"),)

    pods = {"cluster1": ["gw-1" if first and first[0].network else "east-1", "users-1"]}
    assert check_traffic_3(PASSED, gateways=gateways, routers=pods).result == "met"
    more = {"cluster1": 2, "cluster2": 1}
    finding = "to pass on 1 requests, as many as it answered clients on other networks, but saw 2"
    assert holds_unless(finding, check_traffic_3(more, gateways=gateways, routers=pods))


@pytest.mark.parametrize("routers", [{}, {"cluster2": ["users-1"]}, {"cluster2": ["hidden-1"]}])
def test_a_network_whose_gateways_nobody_knows_is_not_counted(
    routers: Mapping[str, Iterable[str]],
) -> None:
    def gateways(cluster: str) -> tuple[Gateway, ...]:
        return (gateway(cluster, "192.0.2.1"),) if cluster == "cluster1" else ()

    outcome = check_traffic_3(PASSED, gateways=gateways, routers=routers)
    assert outcome.result == "met"
    (note,) = outcome.notes
    assert note.startswith("network2 is reached by 192.0.2.2:15443, of no Service of its clusters")
    assert "cluster2.connections_through_gateway" not in outcome.figures
    wrong = check_traffic_3({"cluster1": 2, "cluster2": 1}, gateways=gateways, routers=routers)
    assert "but saw 2 in cluster1" in found(wrong)


def test_a_gateway_without_a_ready_pod_passes_nothing_on() -> None:
    outcome = check_traffic_3(
        PASSED,
        gateways=lambda cluster: (
            gateway(cluster, f"192.0.2.{cluster[-1]}", serving=cluster == "cluster1"),
        ),
    )
    assert "but saw 0 in cluster2" in found(outcome)


def test_a_service_that_istiod_takes_for_no_gateway_does_not_count() -> None:
    """One with the label of a network and without the port, which gets no cluster by its SNI."""

    def gateways(cluster: str) -> tuple[Gateway, ...]:
        east = gateway(cluster, f"192.0.2.{cluster[-1]}")
        users = gateway(cluster, f"192.0.2.{cluster[-1]}")
        ports = (ServicePort(443, "https", ""),)
        return (
            east,
            replace(
                users,
                service=replace(users.service, ports=ports),
                pods=(proxied("users-1"),),
            ),
        )

    assert check_traffic_3(PASSED, gateways=gateways).result == "met"


def test_pods_without_a_proxy_are_not_asked() -> None:
    """A load balancer in pods, which passes on to the gateway's."""

    def gateways(cluster: str) -> tuple[Gateway, ...]:
        front = gateway(cluster, f"192.0.2.{cluster[-1]}")
        return (replace(front, pods=(pod("hidden-front"),)),)

    routers = {"cluster1": ["east-1"], "cluster2": ["east-2"]}
    assert check_traffic_3(PASSED, gateways=gateways, routers=routers).result == "met"


def test_networks_without_a_gateway_are_reached_past_any() -> None:
    check = partial(check_traffic_3, advertising=("cluster1",))
    passed = {"cluster1": 1, "cluster2": 0}
    outcome = check(passed, external=True)
    assert outcome.result == "met"
    assert outcome.notes == ("network2 has no gateway for requests to pass through",)
    assert check(passed).result == "unmet"
    assert check({"cluster1": 0, "cluster2": 0}, external=True).result == "unmet"


def test_a_pod_behind_two_services_counts_once() -> None:
    outcome = check_traffic_3(
        PASSED, gateways=lambda cluster: (gateway(cluster, f"192.0.2.{cluster[-1]}"),) * 2
    )
    assert outcome.result == "met"


def test_networks_that_answer_nobody_are_not_counted_on() -> None:
    outcome = check_traffic_3({"cluster1": 1, "cluster2": 0}, EVERYWHERE[:1])
    assert outcome.result == "inconclusive"
    assert "requests that network2 answers" in str(outcome.trouble)


def test_a_pod_that_nobody_knows_is_trouble() -> None:
    outcome = check_traffic_3({"cluster1": 1, "cluster2": 1}, (*EVERYWHERE, "helloworld-new"))
    assert isinstance(outcome.trouble, ProbeError)
    assert "helloworld-new" in str(outcome.trouble)
