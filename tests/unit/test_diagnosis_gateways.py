"""Rules about gateways, and about what is on the way to them."""

from __future__ import annotations

from dataclasses import replace

import pytest
from diagnosis_cases import recording_of
from diagnosis_changes import (
    ANY,
    EVERYTHING,
    FINDING,
    GATEWAY,
    HELLOWORLD,
    LABELLED,
    LOAD_BALANCER,
    MULTI,
    NOTHING,
    OWN_ERRORS,
    REMOTE,
    SHARED,
    SLEEP,
    Change,
    adding,
    advertised_at_an_old_address,
    both,
    diagnosed,
    each,
    exchanged,
    gateway,
    inside,
    named,
    no,
    of,
    of_gateway_api,
    of_mesh,
    shown,
    to_istiod,
    unanswered,
)
from diagnosis_recordings import recorded

from mesh_fixtures.diagnosis import UNKNOWN, diagnose
from mesh_fixtures.diagnosis.cause import Case
from mesh_fixtures.diagnosis.facts import (
    Path,
    ServicePort,
    Traffic,
)
from mesh_fixtures.diagnosis.rules import connections
from mesh_fixtures.probe.workloads import Redirection
from mesh_fixtures.verdict.findings import Finding


@pytest.mark.parametrize(
    ("host", "passed"),
    [
        ("*", True),
        ("*.local", True),
        ("sample/*.svc.cluster.local", True),
        ("*.sample.svc.cluster.local", True),
        ("./helloworld.sample.svc.cluster.local", True),
        ("*.example.com", False),
        ("*.other.svc.cluster.local", False),
    ],
)
def test_hosts_by_which_helloworld_is_passed_on(host: str, passed: bool) -> None:
    served = gateway(15443, tls={"mode": "AUTO_PASSTHROUGH"}, hosts=[host])
    only = of("cluster2", configuration=lambda known: (*no("Gateway")(known), served))
    named = "services-exposed-wrongly" in diagnosed(only, "GATEWAY-1").ids
    assert named != passed


@pytest.mark.parametrize(
    ("change", "certainty"),
    [
        (shown(LOAD_BALANCER, {}), "certain"),
        (shown(LOAD_BALANCER, None), "likely"),
        (
            both(shown(LOAD_BALANCER, None), of("cluster2", pods=each(GATEWAY, proxy=None))),
            "certain",
        ),
    ],
    ids=["its pod shows none", "its pod was not tried", "another pod is behind its Service"],
)
def test_what_ends_tls_is_told_from_the_gateway(change: Change, certainty: str) -> None:
    alb = {"service.beta.kubernetes.io/aws-load-balancer-ssl-ports": "15443"}
    annotated = of("cluster2", services=each(GATEWAY, balancing=alb))
    found = diagnosed(both(change, annotated), "TRAFFIC-1")
    (root,) = [each for each in found.roots if each.id == "gateway-tls-not-passed-through"]
    assert root.certainty == certainty
    assert "ends TLS by a certificate of CN=*.example.com" in root.cause.statement
    assert any("ssl-ports: 15443" in each.seen for each in root.cause.evidence)


def test_an_address_that_no_gateway_has_is_told_from_one_that_is_down() -> None:
    change = both(
        of("cluster2", services=each(GATEWAY, external=("10.9.9.9",))),
        unanswered("gateway", "cluster1", "cluster2"),
        inside(timed_out=2),
    )
    (root,) = diagnosed(change, "GATEWAY-1").roots
    assert root.id == "gateway-not-answering"
    assert root.cause.statement.endswith("the gateways' Services there have 10.9.9.9")
    assert "meshNetworks" in root.cause.remedy


def test_an_address_that_only_mesh_networks_name_is_stale() -> None:
    (root,) = diagnosed(advertised_at_an_old_address(""), "GATEWAY-1").roots
    assert root.id == "gateway-address-stale"
    assert root.cause.statement.startswith("meshNetworks in the mesh configuration of cluster1 ")
    assert "name 10.9.9.9 in its place" in root.cause.remedy
    of_a_service = diagnosed(advertised_at_an_old_address("cluster2"), "GATEWAY-1")
    assert of_a_service.ids == ("gateway-not-answering",)


def test_ranges_of_pods_that_nobody_uses_do_not_overlap() -> None:
    """As with networks that assign pods' addresses themselves, whatever range a node was given."""
    unused = of("cluster1", nodes=each(ANY, pod_ranges=("10.4.32.0/24", "10.9.0.0/24")))
    apart = of("cluster1", nodes=each(ANY, pod_ranges=("10.4.0.0/24",)))
    on_a_node = of("cluster2", pods=each(named("helloworld"), ip="10.4.0.6", host_network=True))
    for change in (unused, apart, on_a_node):
        recording = change(recorded(SHARED))
        found = diagnose(recording.scenario, recording.facts, {"NETWORK-1": (FINDING,)})
        assert found.ids == (UNKNOWN,)


def test_a_name_that_nobody_resolves_is_no_gateway_that_does_not_answer() -> None:
    recording, cause = recording_of("a gateway behind a host name that nobody knows")

    def of_second(path: Path) -> bool:
        return (path.kind, path.server) == ("gateway", "cluster2")

    lost = {**NOTHING, "attempts": 2, "unresolved": 2, "address": "gw.invalid"}
    seen = both(of_mesh(paths=each(of_second, **lost)), inside(unresolved=2))(recording)
    found = diagnose(seen.scenario, seen.facts, {"GATEWAY-1": (FINDING,)})
    assert found.ids == (cause,)
    assert any("2 name not resolved" in one.seen for one in found.roots[0].cause.evidence)


def test_what_exposes_services_in_vain_is_told_where_the_gateway_went() -> None:
    recording, _ = recording_of("no gateway")
    (root,) = diagnose(recording.scenario, recording.facts, {"GATEWAY-1": (FINDING,)}).roots
    assert "Gateway istio-system/cross-network-gateway" in root.cause.statement
    assert "metadata.name" in root.cause.remedy
    assert any("istio: eastwestgateway" in each.seen for each in root.cause.evidence)


@pytest.mark.parametrize("base", [MULTI, REMOTE])
def test_nothing_is_wrong_with_gateways_of_the_gateway_api(base: str) -> None:
    recording = both(of_gateway_api("cluster1"), of_gateway_api("cluster2"))(recorded(base))
    failures: dict[str, tuple[Finding, ...]] = dict.fromkeys(EVERYTHING, (FINDING,))
    assert diagnose(recording.scenario, recording.facts, failures).ids == (UNKNOWN,)


@pytest.mark.parametrize(
    ("case", "step", "words"),
    [
        (
            "a Gateway of the Gateway API without the listener",
            "gateway/cluster2",
            ("Gateway istio-system/eastwest", "15443", "*.local", "auto-passthrough"),
        ),
        (
            "istiod not exposed by the Gateway API",
            "expose-istiod/cluster1",
            ("Gateway istio-system/eastwest", "15012", "15017", "expose-istiod-tlsroutes.yaml"),
        ),
        (
            "a Gateway of the Gateway API without that label",
            "",
            ("gateways.gateway.networking.k8s.io/eastwest", "topology.istio.io/network=network2"),
        ),
    ],
)
def test_what_to_do_is_said_in_terms_of_the_gateway_api(
    case: str, step: str, words: tuple[str, ...]
) -> None:
    recording, cause = recording_of(case)
    found = diagnose(recording.scenario, recording.facts, {"GATEWAY-1": (FINDING,)})
    known = {root.id: root.cause for root in found.roots}
    assert "gateway-port-missing" not in known
    assert (known[cause].step, known[cause].certainty) == (step, "certain")
    assert step in known[cause].remedy
    assert [each for each in words if each not in known[cause].remedy] == []
    assert "expose-services" not in known[cause].remedy


def test_errors_of_the_application_are_no_fault_of_the_gateway() -> None:
    recording = exchanged(requests=100, errors=4)(recorded(MULTI))
    found = diagnose(recording.scenario, recording.facts, {"TRAFFIC-1": (FINDING,)})
    assert found.ids == ("gateway-connection-resets",)
    known = of_mesh(served=(OWN_ERRORS,))(recording)
    found = diagnose(known.scenario, known.facts, {"TRAFFIC-1": (FINDING,)})
    assert found.ids == ("application-errors",)
    assert "v2 itself, in pod helloworld-v2-1 of cluster2" in found.roots[0].cause.statement


def test_errors_on_the_way_are_told_from_those_of_the_application() -> None:
    few = of_mesh(served=(replace(OWN_ERRORS, errors=1),))
    recording = few(exchanged(requests=100, errors=4)(recorded(MULTI)))
    (resets,) = connections.gateway_resets(Case(recording.scenario, recording.facts, {}))
    assert "3 of 100 requests failed" in resets.statement


def test_a_pod_that_answered_all_requests_is_no_cause() -> None:
    recording = of_mesh(served=(replace(OWN_ERRORS, errors=0),))(recorded(MULTI))
    assert diagnose(recording.scenario, recording.facts, {"TRAFFIC-1": (FINDING,)}).ids == (
        UNKNOWN,
    )


@pytest.mark.parametrize(
    ("counted", "answered", "found"), [(200, 200, UNKNOWN), (0, 0, UNKNOWN), (None, 200, UNKNOWN)]
)
def test_requests_that_the_proxy_counted_did_not_pass_by_it(
    counted: int | None, answered: int, found: str
) -> None:
    traffic = Traffic("cluster1", 200, {"v1": answered}, {}, "sleep", by_proxy=counted)
    recording = of_mesh(traffic=(traffic,))(recorded(MULTI))
    seen = diagnose(recording.scenario, recording.facts, {"TRAFFIC-1": (FINDING,)})
    assert seen.ids == (found,)


@pytest.mark.parametrize(
    ("redirection", "named"),
    [
        (Redirection("excludeOutboundIPRanges", "10.68.0.0/16", False), "global.proxy.exclude"),
        (Redirection("excludeOutboundIPRanges", "10.68.0.0/16", True), "annotation traffic"),
        (Redirection("includeOutboundIPRanges", "192.0.2.0/24", False), "global.proxy.include"),
        (Redirection("includeOutboundIPRanges", "*", False), ""),
        (Redirection("excludeOutboundPorts", "80,5000", True), "annotation traffic"),
        (Redirection("excludeOutboundPorts", "80", True), ""),
        (Redirection("excludeOutboundIPRanges", "192.0.2.0/24", True), ""),
    ],
)
def test_the_setting_by_which_requests_pass_by_the_proxy_is_named(
    redirection: Redirection, named: str
) -> None:
    change = both(
        of_mesh(traffic=(Traffic("cluster1", 200, {"v1": 200}, {}, "sleep", by_proxy=0),)),
        of(
            "cluster1",
            services=each(HELLOWORLD, cluster_ip="10.68.0.9"),
            pods=each(SLEEP, redirections=(redirection,)),
        ),
    )
    recording = change(recorded(MULTI))
    found = diagnose(recording.scenario, recording.facts, {"TRAFFIC-1": (FINDING,)})
    statement = found.roots[0].cause.statement
    assert (named in statement) if named else statement.endswith("pass by its proxy")


def test_the_path_is_told_from_the_gateway() -> None:
    change = both(unanswered("gateway", "cluster1", "cluster2"), inside(open=2))
    recording = change(recorded(MULTI))
    (root,) = diagnose(recording.scenario, recording.facts, {"GATEWAY-1": (FINDING,)}).roots
    assert root.id == "gateway-unreachable"
    assert root.certainty == "certain"
    for word in ("cluster1", "cluster2", "15443", "timed out"):
        assert word in root.cause.statement


def test_istiod_may_be_at_an_address_of_its_own() -> None:
    own = of("cluster2", discovery=("192.0.2.7",))
    failures = {"CONTROL-2": (FINDING,)}
    wrong = own(recorded(REMOTE))
    assert "discovery-address-wrong" in diagnose(wrong.scenario, wrong.facts, failures).ids
    right = both(own, to_istiod(open=2, address="192.0.2.7"))(recorded(REMOTE))
    assert diagnose(right.scenario, right.facts, failures).ids == (UNKNOWN,)


def test_a_host_name_of_istiod_is_not_compared_with_addresses() -> None:
    named = of("cluster2", discovery=("istiod.example.com",))(recorded(REMOTE))
    found = diagnose(named.scenario, named.facts, {"WORKLOAD-1": (FINDING,)})
    assert "discovery-address-wrong" not in found.ids


def test_a_service_that_has_the_label_alone_is_none_of_the_gateways() -> None:
    """Such as an ingress gateway whose Helm values label everything with the network."""
    recording = recorded(MULTI)
    (gateway,) = recording.facts.clusters["cluster2"].gateway_pods
    ingress = replace(gateway, name="users-1", labels={"app": "users"})
    beyond = replace(
        LABELLED, name="users", selector={"app": "users"}, ports=(ServicePort(443, "", ""),)
    )
    changed = of("cluster2", services=adding(beyond), pods=adding(ingress))(recording)
    facts = changed.facts.clusters["cluster2"]
    assert facts.gateway_services == (LABELLED,)
    assert facts.gateway_pods == (gateway,)
    alone = replace(facts, services=(beyond,))
    assert (alone.gateway_services, alone.gateway_pods) == ((beyond,), (ingress,))
