"""Each rule finds its cause in facts of a real mesh that were changed by as much as it takes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
from diagnosis_cases import CASES, recording_of
from diagnosis_changes import (
    ANY,
    EVERYTHING,
    FAILED_CREATE,
    FINDING,
    GATEWAY,
    HELLOWORLD,
    KNOWING_NOTHING,
    LABELLED,
    LOAD_BALANCER,
    MULTI,
    NETWORK_LABEL,
    NOTHING,
    PATIENT,
    PLAIN,
    REFUSING,
    REMOTE,
    SHARED,
    SLEEP,
    SYSTEM,
    VALIDATOR,
    WORKLOAD,
    Change,
    adding,
    both,
    clocks,
    configured,
    diagnosed,
    each,
    ended,
    exchanged,
    export_missed,
    failing,
    half,
    in_front,
    in_regions,
    is_any,
    istiods,
    labelled,
    minus,
    named,
    of,
    of_each,
    of_mesh,
    parts,
    plus,
    reading,
    secret,
    shown,
    silent,
    told,
    unanswered,
    unsynced,
    unvalidated,
    with_dns_proxying,
    with_exports,
    without,
)
from diagnosis_recordings import recorded

from mesh_fixtures.diagnosis import UNKNOWN, Recording, diagnose
from mesh_fixtures.diagnosis.cause import Case
from mesh_fixtures.diagnosis.facts import (
    Configuration,
    Deployment,
    Failed,
    Part,
    Path,
    SliceAddresses,
    TrustDomains,
    WarningEvent,
)
from mesh_fixtures.diagnosis.rules import KINDS, cluster_health
from mesh_fixtures.install.names import GATEWAY_PORT_LABEL
from mesh_fixtures.kube.admission import Selector
from mesh_fixtures.kube.clock import Clock
from mesh_fixtures.verdict.findings import Finding
from mesh_fixtures.workloads import NO_INJECTION

POLICIES = "authorizationpolicies.security.istio.io"


def valid(begins: float, ends: float) -> Change:
    """Certificates of all proxies of cluster1 and cluster2: seconds since the facts were read."""

    def change(recording: Recording) -> Recording:
        at = recording.facts.at
        proxies = each(is_any, validity=(at + begins, at + ends))
        return both(of("cluster1", proxies=proxies), of("cluster2", proxies=proxies))(recording)

    return change


NOT_MOUNTED = (
    'MountVolume.SetUp failed for volume "istiod-ca-cert" : '
    'configmap "istio-ca-root-cert" not found'
)


def opened(address: str) -> Change:
    """An API server that is reached at an address."""
    values: dict[str, Any] = {**NOTHING, "attempts": 2, "open": 2, "message": "", "source": "curl"}
    path = Path("cluster1", "cluster2", "api-server", address=address, port=6443, **values)
    return of_mesh(paths=adding(path))


FORBIDDEN = Failed("cluster2", "kubectl --context=cluster2 get pods", "pods is forbidden")


@pytest.mark.parametrize("case", CASES)
def test_a_change_is_taken_for_its_cause(case: str) -> None:
    recording, cause = recording_of(case)
    found_against = (FINDING, replace(FINDING, cluster="cluster2"))
    failures: dict[str, tuple[Finding, ...]] = dict.fromkeys(EVERYTHING, found_against)
    failures |= recording.failures
    found = diagnose(recording.scenario, recording.facts, failures)
    assert cause in found.ids
    root = next(root for root in found.roots if root.id == cause)
    assert root.cause.evidence
    assert root.cause.remedy
    assert "\n" not in root.cause.statement


@pytest.mark.parametrize("base", [MULTI, REMOTE, SHARED])
def test_nothing_is_wrong_with_a_healthy_mesh(base: str) -> None:
    recording = recorded(base)
    failures: dict[str, tuple[Finding, ...]] = dict.fromkeys(EVERYTHING, (FINDING,))
    assert diagnose(recording.scenario, recording.facts, failures).ids == (UNKNOWN,)


@pytest.mark.parametrize(
    ("selector", "left_out"),
    [
        (Selector({"mesh": "yes"}), "istio-system, sample of cluster1; istio-system, sample of"),
        (Selector({}, (("kubernetes.io/metadata.name", "NotIn", ("istio-system",)),)), "at istio-"),
        (Selector({"istio-injection": "enabled"}), "not at istio-system of cluster1; istio-system"),
    ],
)
def test_namespaces_that_are_left_out_are_named(selector: Selector, left_out: str) -> None:
    (root,) = diagnosed(istiods("cluster2", selectors=(selector,)), "GATEWAY-1").roots
    assert root.id == "namespace-not-selected"
    assert root.cause.clusters[0] == "cluster2"
    assert left_out in root.cause.statement


def test_a_cluster_with_another_node_in_its_region_may_be_the_cause() -> None:
    other = each(ANY, name="other", region="network1")
    placed = both(
        in_regions("network1", "network2"),
        of("cluster2", nodes=lambda known: (*known, *other(known))),
    )
    (root,) = diagnosed(placed, "LOCALITY-1").roots
    assert (root.id, root.certainty) == ("node-region", "likely")
    assert "cluster2 in network1, network2, not network2" in root.cause.statement


def test_regions_that_nobody_declared_are_as_they_are() -> None:
    assert diagnosed(both(*labelled("", "")), "TRAFFIC-2").ids == (UNKNOWN,)


@pytest.mark.parametrize(
    ("namespace", "spec"),
    [
        ("elsewhere", PATIENT),
        ("istio-system", {}),
        ("istio-system", {"configPatches": [{"applyTo": "LISTENER", "patch": {"value": {}}}]}),
        ("istio-system", {"configPatches": [{"applyTo": "CLUSTER", "patch": {"value": {}}}]}),
    ],
)
def test_filters_that_leave_outlier_detection_alone(namespace: str, spec: dict[str, Any]) -> None:
    change = of("cluster1", configuration=configured("EnvoyFilter", "x", spec, namespace))
    assert diagnosed(change, "LOCALITY-1").ids == (UNKNOWN,)


def test_policies_of_a_cluster_that_answered_deny_nothing() -> None:
    change = both(
        failing("sleep", "HTTP 403 RBAC: access denied"),
        *(
            of(name, configuration=configured("AuthorizationPolicy", "x", REFUSING))
            for name in ("cluster1", "cluster2")
        ),
    )
    (root,) = diagnosed(change, "TRAFFIC-1").roots
    assert root.cause.clusters == ("cluster2",)


def test_policies_of_a_run_deny_nobody_else_anything() -> None:
    change = both(
        failing("sleep", "HTTP 403 RBAC: access denied"),
        of(
            "cluster2",
            configuration=adding(
                Configuration("AuthorizationPolicy", "sample", "mesh-conformance-deny-1", REFUSING),
                Configuration("AuthorizationPolicy", "sample", "x", REFUSING),
            ),
        ),
    )
    (root,) = diagnosed(change, "TRAFFIC-1").roots
    assert "sample/x" in root.cause.statement
    assert "mesh-conformance" not in root.cause.statement


def test_connections_that_are_slow_on_a_busy_machine_are_no_loss() -> None:
    slow = half("gateway", open=8, slow=3, timed_out=2, resent=0)(recorded(MULTI))
    found = diagnose(slow.scenario, slow.facts, {"TRAFFIC-1": (FINDING,)})
    assert "packet-loss" not in found.ids


def test_part_of_the_lab_that_ended_long_ago_explains_nothing() -> None:
    old = parts("cluster1", ended("kube-system", "coredns-1", 3600))(recorded(MULTI))
    found = diagnose(old.scenario, old.facts, {"TRAFFIC-1": (FINDING,)})
    assert found.ids == (UNKNOWN,)


def test_pods_of_the_lab_that_could_not_be_read_are_not_missing() -> None:
    old = of("cluster1", ended=(ended("", "kube-apiserver on node1", 3600),))(recorded(MULTI))
    found = diagnose(old.scenario, old.facts, dict.fromkeys(("GATEWAY-1", "TRAFFIC-1"), (FINDING,)))
    assert found.ids == (UNKNOWN,)


def test_what_follows_from_a_part_of_the_lab_is_put_below_it() -> None:
    down = Part("metallb-system", "controller-1", "0/1 Pending", False)
    pending, _ = recording_of("a gateway without an address")
    changed = parts("cluster2", down)(pending)
    found = diagnose(changed.scenario, changed.facts, {"GATEWAY-1": (FINDING,)})
    assert found.ids == ("lab-load-balancer-failing",)
    assert [each.id for each in found.roots[0].followed_by] == ["gateway-address-pending"]


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (clocks(0.4, 100), ()),
        (clocks(0.4, 121), ()),  # within what either may be off by
        (clocks(10_800, 10_801), ()),  # the clock of who asks
        (clocks(0.0, 10_800), ("cluster2",)),
        (clocks(10_800, 0.0), ("cluster1",)),
        (clocks(-10_800, -4.0), ("cluster1",)),
        (both(clocks(0.0, 600), valid(-3600, 3600)), ()),
        (both(clocks(0.0, 600), valid(-3600, 300)), ("cluster2",)),
        (both(clocks(-600, 0.0), valid(-300, 3600)), ("cluster1",)),
        (of("cluster1", clock=Clock(600, 0.5)), ()),  # that of the other is not known
    ],
)
def test_a_clock_is_named_where_it_is_apart_and_certificates_show_it(
    change: Change, named: tuple[str, ...]
) -> None:
    recording = change(recorded(MULTI))
    case = Case(recording.scenario, recording.facts, {})
    causes = [*cluster_health.clocks_apart(case)]
    assert tuple(each.clusters[0] for each in causes) == named
    for cause in causes:
        assert cause.certainty == "likely"


def test_of_many_clocks_that_of_most_is_right() -> None:
    recording = recorded(MULTI)
    first = recording.facts.clusters["cluster1"]
    names = ("cluster1", "cluster2", "cluster3")
    ahead = {"cluster1": 3600.0, "cluster2": 0.0, "cluster3": 3601.0}
    spec = recording.scenario.clusters[0]
    specs = tuple(spec.model_copy(update={"name": name}) for name in names)
    scenario = recording.scenario.model_copy(update={"clusters": specs})
    clusters = {name: replace(first, name=name, clock=Clock(ahead[name], 0.6)) for name in names}
    case = Case(scenario, replace(recording.facts, clusters=clusters), {})
    (cause,) = cluster_health.clocks_apart(case)
    assert cause.clusters == ("cluster2",)
    assert "1:00:00 behind that of cluster1, cluster3" in cause.statement


def test_what_may_not_be_read_is_no_silence() -> None:
    recording = silent(FORBIDDEN)(recorded(MULTI))
    found = diagnose(recording.scenario, recording.facts, {"WORKLOAD-1": (FINDING,)})
    assert "api-server-unresponsive" not in found.ids


@pytest.mark.parametrize(
    ("reason", "remedy"),
    [
        ('service "istiod-x" not found', "delete validatingwebhookconfiguration istio-validator-"),
        ("tls: x509: certificate signed by unknown authority", "has no caBundle"),
        ("tls: x509: certificate has expired or is not yet valid", "renew istiod's certificate"),
        ("dial tcp 10.1.2.3:443: connect: connection refused", "port 15017"),
        ("context deadline exceeded", "port 15017"),
    ],
)
def test_why_nobody_validates_is_said(reason: str, remedy: str) -> None:
    known = both(of("cluster2", validators=(VALIDATOR,)), unvalidated(reason))(recorded(MULTI))
    failures = {**known.failures, "TRAFFIC-3": ()}
    (root,) = diagnose(known.scenario, known.facts, failures).roots
    assert (root.id, root.certainty) == ("validation-failing", "certain")
    assert root.cause.clusters == ("cluster2",)
    assert reason in root.cause.statement
    assert remedy in root.cause.remedy
    assert root.consequences == ("CONTROL-4", "TRAFFIC-3")
    assert any("no caBundle" in each.seen for each in root.cause.evidence)


def test_on_one_network_what_takes_several_is_no_cause() -> None:
    unnamed = both(
        of("cluster1", pods=each(HELLOWORLD, proxy=plus({"network": ""}))),
        of("cluster2", configuration=configured("PeerAuthentication", "x", PLAIN)),
    )(recorded(SHARED))
    against = (FINDING, replace(FINDING, cluster="cluster2"))
    failures = dict.fromkeys(("CONTROL-3", "DISCOVERY-2"), against)
    assert diagnose(unnamed.scenario, unnamed.facts, failures).ids == (UNKNOWN,)
    for requirement in ("SECURITY-1", "AUTHZ-1"):
        (root,) = diagnose(unnamed.scenario, unnamed.facts, {requirement: against}).roots
        assert root.id == "mtls-disabled"
        assert root.cause.statement.endswith("it does not know who asks")


def test_every_cause_that_a_rule_can_find_is_found_in_some_case() -> None:
    assert {cause for _, _, cause in CASES.values()} >= {kind.id for kind in KINDS}


@pytest.mark.parametrize(
    ("settings", "found"),
    [
        ({"*.payments.svc.cluster.local": True}, True),
        ({"*.kube-system.svc.cluster.local": True}, False),
        ({"*.payments.svc.cluster.local": False}, False),
    ],
)
def test_what_is_local_by_default_differs_from_nothing(
    settings: Mapping[str, bool], found: bool
) -> None:
    one, other = istiods("cluster1", cluster_local={}), istiods("cluster2", cluster_local=settings)
    differs = diagnosed(both(one, other), "SCOPE-1").ids
    assert ("cluster-local-differs" in differs) == found


def test_services_that_all_istiods_keep_to_their_namespace_are_no_cause() -> None:
    alike = both(istiods("cluster1", exported_to=(".",)), istiods("cluster2", exported_to=(".",)))
    assert diagnosed(alike, "SCOPE-1").ids == (UNKNOWN,)


def test_who_shall_not_have_dns_proxying_needs_none() -> None:
    assert diagnosed(with_dns_proxying, "SCOPE-2").ids == (UNKNOWN,)
    without_it = of_each(pods=each(SLEEP, answers_dns=False))
    assert diagnosed(without_it, "SCOPE-2").ids == (UNKNOWN,)


def test_exports_are_no_cause_where_nobody_needs_them() -> None:
    assert diagnosed(with_exports, "MCS-1").ids == (UNKNOWN,)
    assert diagnosed(with_exports, "DISCOVERY-2").ids == (UNKNOWN,)
    unexported = of("cluster2", exported=lambda known: False)
    assert diagnosed(unexported, "DISCOVERY-2").ids == (UNKNOWN,)
    nobody_heeds = told("cluster1", ENABLE_MCS_SERVICE_DISCOVERY="false")
    found = diagnosed(both(with_exports, unexported, nobody_heeds), "DISCOVERY-2")
    assert "service-not-exported" not in found.ids


SLEEP_OF_CLUSTER1 = "cluster1/sleep-5bcf4798ff-dwxl8.sample"


@pytest.mark.parametrize(
    "refuting",
    [
        istiods("cluster1", helloworld=without(lambda one: one.cluster == "cluster2")),
        istiods("cluster1", connected=()),
        istiods("cluster1", unsynced=(f"{SLEEP_OF_CLUSTER1} CDS stale",)),
        istiods("cluster1", gateways=each(lambda one: True, address="gateway.example")),
        istiods("cluster1", cluster_local={"*": True}),
        of("cluster1", client=KNOWING_NOTHING),
        of("cluster1", pods=each(SLEEP, proxy={"view": "network1"})),
        of("cluster2", exported=lambda known: False),
        of("cluster2", helloworld=SliceAddresses("sample", (), ("10.68.32.15",))),
        told("cluster1", ENABLE_MCS_CLUSTER_LOCAL="true"),
        told("cluster1", ENABLE_MCS_SERVICE_DISCOVERY="false"),
    ],
)
def test_endpoints_that_are_not_given_for_another_reason_are_no_missed_export(
    refuting: Change,
) -> None:
    missed = export_missed("cluster1", "cluster2", "10.68.32.15")
    assert "export-missed" in diagnosed(missed, "DISCOVERY-2").ids
    assert "export-missed" not in diagnosed(both(missed, refuting), "DISCOVERY-2").ids


def test_an_istiod_may_miss_exports_of_its_own_cluster() -> None:
    recording = export_missed("cluster2", "cluster1", "10.4.0.7")(recorded(REMOTE))
    found = diagnose(recording.scenario, recording.facts, {"DISCOVERY-2": (FINDING,)})
    (cause,) = (root.cause for root in found.roots)
    assert (cause.id, cause.clusters) == ("export-missed", ("cluster1",))
    assert "clients in cluster2" in cause.statement


def test_an_existing_mesh_may_do_without_names_in_the_cluster_set() -> None:
    without = both(*(told(name, ENABLE_MCS_HOST="false") for name in ("cluster1", "cluster2")))
    of_lab = of_each(parts=lambda known: ())
    assert diagnosed(both(with_exports, without, of_lab), "MCS-1").ids == ("mcs-off",)
    existing = of_each(parts=lambda known: None)
    assert diagnosed(both(with_exports, without, existing), "MCS-1").ids == (UNKNOWN,)
    one = both(with_exports, told("cluster2", ENABLE_MCS_HOST="false"), existing)
    assert diagnosed(one, "MCS-1").ids == ("mcs-off",)


def unready(cluster: str, *names: str) -> Change:
    """Workloads whose pods wait, for the same reason."""
    events = [
        WarningEvent("sample", f"Pod/{pod.name}", "FailedMount", NOT_MOUNTED)
        for pod in recorded(MULTI).facts.clusters[cluster].pods or ()
        if pod.name.startswith(names)
    ]
    return of(
        cluster,
        pods=each(lambda pod: pod.name.startswith(names), serving=False, state="0/2 Pending"),
        deployments=each(lambda one: one.name.startswith(names), ready=0),
        warnings=adding(*events),
    )


def test_what_keeps_pods_from_starting_is_told_once() -> None:
    waiting = both(*(unready(each, "helloworld", "sleep") for each in ("cluster1", "cluster2")))
    recording = waiting(recorded(MULTI))
    found = diagnose(recording.scenario, recording.facts, {"WORKLOAD-1": (FINDING,)})
    assert found.ids == ("workload-not-ready",)
    (root,) = found.roots
    assert 'configmap "istio-ca-root-cert" not found' in root.cause.statement
    assert root.cause.clusters == ("cluster1", "cluster2")


def test_reasons_that_differ_are_causes_that_differ() -> None:
    unpulled = of(
        "cluster1",
        pods=each(named("sleep"), serving=False, trouble="sleep: ImagePullBackOff"),
        deployments=each(named("sleep"), ready=0),
    )
    recording = both(unready("cluster2", "helloworld"), unpulled)(recorded(MULTI))
    found = diagnose(recording.scenario, recording.facts, {"WORKLOAD-1": (FINDING,)})
    assert [root.id for root in found.roots] == ["workload-not-ready", "workload-not-ready"]


def test_what_has_recovered_is_no_evidence() -> None:
    an_hour = "2000-01-01T00:00:00Z"
    recording = of(
        "cluster2",
        warnings=adding(
            FAILED_CREATE,
            WarningEvent("sample", "Service/helloworld", "Odd", "long ago", an_hour),
        ),
    )(recorded(MULTI))
    found = diagnose(recording.scenario, recording.facts, {"TRAFFIC-1": (FINDING,)})
    assert found.ids == (UNKNOWN,)
    texts = " ".join(each.seen for each in found.roots[0].cause.evidence)
    assert "FailedCreate" not in texts
    assert "long ago" not in texts


REFUSAL = "error ads Failed to authenticate client from 10.68.0.8:5{}: no token"


@pytest.mark.parametrize("all_connected", [True, False])
def test_clients_that_istiod_refuses_count_where_one_of_the_mesh_may_be_among_them(
    all_connected: bool,
) -> None:
    changed = {} if all_connected else {"connected": lambda known: known[1:]}
    lines = tuple(REFUSAL.format(port) for port in (1000, 2000))
    recording = istiods("cluster1", log=lines, **changed)(recorded(MULTI))
    found = diagnose(recording.scenario, recording.facts, {"TRAFFIC-1": (FINDING,)})
    refusals = [each for each in found.roots[0].cause.evidence if "authenticate" in each.seen]
    assert len(refusals) == (0 if all_connected else 1)


def test_what_stops_istiod_is_above_its_not_running() -> None:
    recording, _ = recording_of("an istiod that ends again and again")
    stopped = of("cluster2", deployments=each(named("istiod"), ready=0))(recording)
    found = diagnose(stopped.scenario, stopped.facts, {"CONTROL-1": (FINDING,)})
    assert found.ids == ("istiod-crashing",)
    assert [each.id for each in found.roots[0].followed_by] == ["istiod-not-running"]
    unsound = of(
        "cluster2", authority=lambda known: replace(known, defects=("valid from tomorrow",))
    )(stopped)
    found = diagnose(unsound.scenario, unsound.facts, {"CONTROL-1": (FINDING,)})
    assert found.ids == ("cacerts-unsound",)
    assert found.roots[0].consequences == ("CONTROL-1",)


@pytest.mark.parametrize(
    ("change", "refuted"),
    [
        *(
            (
                both(
                    istiods("cluster1", trust_domains=TrustDomains("one", of_first)),
                    istiods("cluster2", trust_domains=TrustDomains("two", of_last)),
                ),
                "trust-domains-differ",
            )
            for of_first, of_last in (
                (("two",), ("one",)),
                (None, None),
                (("two",), None),
            )
        ),
        (istiods("cluster1", cluster_local={"*": True}), "services-cluster-local"),
        (
            istiods(
                "cluster1",
                selectors=(
                    Selector({"istio-injection": "enabled"}),
                    Selector({}, ((NETWORK_LABEL, "Exists", ()),)),
                ),
            ),
            "namespace-not-selected",
        ),
        (
            istiods(
                "cluster1", cluster_local={"*": True, "helloworld.sample.svc.cluster.local": False}
            ),
            "services-cluster-local",
        ),
        (
            of("cluster2", namespaces=each(SYSTEM, labels=minus(NETWORK_LABEL))),
            "network-label-missing",
        ),
        (of("cluster2", pods=each(HELLOWORLD, proxy=plus({"mesh": "b"}))), "proxy-identity-wrong"),
        (of("cluster2", warnings=adding(FAILED_CREATE)), "injection-failing"),
        (
            both(
                of("cluster1", services=each(GATEWAY, external=("10.0.0.1",))),
                of(
                    "cluster2",
                    services=each(
                        GATEWAY, external=("10.0.0.1",), labels=plus({GATEWAY_PORT_LABEL: "15444"})
                    ),
                ),
            ),
            "gateway-address-shared",
        ),
        (unanswered("gateway", "cluster1", "cluster2", port=15021), "gateway-unreachable"),
        (
            of(
                "cluster2",
                deployments=adding(
                    Deployment("istio-system", "old", {}, 0, 0, {"istio": "eastwestgateway"})
                ),
            ),
            "gateway-scaled-to-zero",
        ),
        (of("cluster2", deployments=each(named("istiod"), wanted=3)), "istiod-not-running"),
        (of("cluster2", pods=without(GATEWAY), deployments=without(GATEWAY)), "gateway-missing"),
        (
            of("cluster2", services=adding(replace(LABELLED, name="extra", external=()))),
            "gateway-address-pending",
        ),
        (
            of(
                "cluster2",
                configuration=each(
                    lambda one: one.kind == "Gateway", spec=plus({"selector": {"istio": "old"}})
                ),
            ),
            "gateway-selector-mismatch",
        ),
        (
            of("cluster2", services=each(GATEWAY, external=("gw.example",))),
            "gateway-host-name-unresolved",
        ),
        *(
            (
                of("cluster2", services=each(GATEWAY, labels=plus({GATEWAY_PORT_LABEL: "443"}))),
                each_,
            )
            for each_ in ("services-not-exposed", "gateway-not-listening", "gateway-port-missing")
        ),
        (of("cluster1", remote_secrets=()), "remote-secret-missing"),
        (secret(namespace="elsewhere"), "remote-secret-namespace-wrong"),
        (secret(server="https://127.0.0.1:6443"), "remote-secret-loopback-server"),
        (secret(leads_to="", accepted=None), "remote-secret-certificate-refused"),
        (
            istiods("cluster1", log=("error x509: certificate signed by unknown authority",)),
            "remote-secret-certificate-refused",
        ),
        (
            both(secret(server="https://10.9.9.9:6443"), opened("10.9.9.9"), unsynced("cluster2")),
            "remote-secret-unreachable-server",
        ),
        *(
            (of("cluster1", configuration=configured("Sidecar", "x", spec, where)), "sidecar-scope")
            for where, spec in (
                ("istio-system", {"egress": [{"hosts": ["./*", "istio-system/*"]}]}),
                ("sample", {"egress": [{"hosts": ["istio-system/*"]}]}),
            )
        ),
        (
            both(
                of(
                    "cluster1",
                    client=KNOWING_NOTHING,
                    configuration=adding(
                        *(
                            Configuration("Sidecar", where, "x", {"egress": [{"hosts": hosts}]})
                            for where, hosts in (
                                ("istio-system", ["istio-system/*"]),
                                ("sample", ["./*"]),
                            )
                        )
                    ),
                ),
            ),
            "sidecar-scope",
        ),
        *(
            (
                of("cluster1", configuration=configured(kind, "x", spec, "payments")),
                refuted,
            )
            for kind, spec, refuted in (
                (
                    "DestinationRule",
                    {"host": "*.local", "trafficPolicy": {"tls": {"mode": "DISABLE"}}},
                    "client-tls-disabled",
                ),
                (
                    "VirtualService",
                    {
                        "hosts": ["*.local"],
                        "exportTo": ["."],
                        "http": [{"fault": {"abort": {"httpStatus": 503}}}],
                    },
                    "route-fault",
                ),
            )
        ),
        (
            istiods("cluster1", unsynced=("cluster1/web-1.shop LDS rejected: no such filter",)),
            "configuration-rejected",
        ),
        (
            of(
                "cluster2",
                warnings=adding(
                    replace(
                        FAILED_CREATE,
                        message='admission webhook "p.example.com" denied the request: webhook',
                    )
                ),
                deployments=each(HELLOWORLD, ready=0),
            ),
            "injection-failing",
        ),
        (of("cluster2", deployments=without(HELLOWORLD)), "workload-missing"),
        (
            of("cluster2", deployments=each(HELLOWORLD, paused=True, pod_labels=NO_INJECTION)),
            "rollout-paused",
        ),
        (
            parts("cluster2", Part("metallb-system", "controller-1", "0/1 Pending", False)),
            "lab-load-balancer-failing",
        ),
        (
            reading("*.istio.io", f"x.example, {POLICIES}"),
            "authorization-ignored",
        ),
        (reading("*.networking.istio.io"), "authorization-ignored"),
        *(
            (change, "gateway-tls-not-passed-through")
            for change in (
                in_front(http=503, own_http=404),
                both(in_front(http=503), shown(WORKLOAD, {})),
                both(in_front(http=503), exchanged(connections=2, failed=1)),
                shown(LOAD_BALANCER, LOAD_BALANCER),
                shown(WORKLOAD, WORKLOAD),
                shown({}, {}),
            )
        ),
        (
            both(reading(POLICIES), of("cluster1", deployments=each(named("istiod"), wanted=0))),
            "authorization-ignored",
        ),
    ],
)
def test_evidence_that_contradicts_a_cause_refutes_it(change: Change, refuted: str) -> None:
    recording = change(recorded(MULTI))
    everything = dict.fromkeys(EVERYTHING, (FINDING,))
    assert refuted not in diagnose(recording.scenario, recording.facts, everything).ids
