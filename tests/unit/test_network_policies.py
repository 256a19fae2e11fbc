"""What NetworkPolicies let through to a pod, or from it, between clusters."""

from __future__ import annotations

from typing import Any

import pytest
from diagnosis_changes import MULTI, adding, both, of, unanswered
from diagnosis_recordings import recorded

from mesh_fixtures.diagnosis.cause import Case
from mesh_fixtures.diagnosis.facts import ClusterFacts, Configuration, Pod
from mesh_fixtures.diagnosis.rules.network_policies import closed_within, closing
from mesh_fixtures.verdict.findings import Finding, Subject

GATEWAY = Pod("istio-system", "gateway-1", {"istio": "eastwestgateway"}, "10.1.0.5", "", True)
AT_GATEWAY: Any = {"podSelector": {"matchLabels": {"istio": "eastwestgateway"}}}
AT_PORT = {"ports": [{"port": 15443}]}
OWN_PODS: Any = {"from": [{"namespaceSelector": {}}]}


def policy(namespace: str = "istio-system", **spec: Any) -> Configuration:
    return Configuration("NetworkPolicy", namespace, "x", spec)


@pytest.mark.parametrize(
    ("policies", "is_closed"),
    [
        ([], False),
        ([policy(podSelector={})], True),
        ([policy()], True),
        ([policy("other", podSelector={})], False),
        ([policy(podSelector={"matchLabels": {"istio": "ingressgateway"}})], False),
        ([policy(podSelector={}, policyTypes=["Egress"])], False),
        ([policy(**AT_GATEWAY, ingress=[{}])], False),
        ([policy(**AT_GATEWAY, ingress=[AT_PORT])], False),
        ([policy(**AT_GATEWAY, ingress=[{"ports": [{"port": 15021}]}])], True),
        ([policy(**AT_GATEWAY, ingress=[{"ports": [{"port": 15000, "endPort": 15500}]}])], False),
        ([policy(**AT_GATEWAY, ingress=[{"ports": [{"port": 15000, "endPort": 15400}]}])], True),
        ([policy(**AT_GATEWAY, ingress=[{"ports": [{"port": "tls"}]}])], False),
        ([policy(**AT_GATEWAY, ingress=[{"ports": [{}]}])], False),
        ([policy(**AT_GATEWAY, ingress=[{"ports": [{"protocol": "UDP"}]}])], True),
        ([policy(**AT_GATEWAY, ingress=[OWN_PODS])], True),
        ([policy(**AT_GATEWAY, ingress=[{"from": [{"ipBlock": {"cidr": "0.0.0.0/0"}}]}])], False),
        ([policy(podSelector={}), policy(**AT_GATEWAY, ingress=[AT_PORT])], False),
    ],
)
def test_what_gets_in(policies: list[Configuration], is_closed: bool) -> None:
    facts = ClusterFacts("cluster1", network_policies=tuple(policies))
    isolating = closing(facts, GATEWAY, "Ingress", 15443)
    assert bool(isolating) is is_closed
    assert {*map(str, isolating)} <= {*map(str, policies)}


@pytest.mark.parametrize(
    ("spec", "is_closed"),
    [
        ({}, False),
        ({"egress": []}, False),
        ({"policyTypes": ["Egress"]}, True),
        ({"egress": [{"ports": [{"port": 53, "protocol": "UDP"}]}]}, True),
        ({"egress": [{"to": [{"podSelector": {}}]}]}, True),
        ({"policyTypes": ["Egress"], "egress": [{}]}, False),
    ],
)
def test_what_gets_out(spec: Any, is_closed: bool) -> None:
    facts = ClusterFacts("cluster1", network_policies=(policy(**spec),))
    assert bool(closing(facts, GATEWAY, "Egress", 15443)) is is_closed


def out_of_gateways(*rules: Any) -> Configuration:
    gateways = {"matchLabels": {"istio": "eastwestgateway"}}
    return policy(podSelector=gateways, policyTypes=["Egress"], egress=list(rules))


UNANSWERED = Finding("cluster1", "answers", "10 errors", about=Subject(("cluster2",)))
TO_SAMPLES: Any = {"to": [{"namespaceSelector": {}, "podSelector": {}}]}
AT_ANOTHER: Any = {**TO_SAMPLES, "ports": [{"port": 8080}]}
OWN_NAMESPACE: Any = {"to": [{"podSelector": {}}]}


@pytest.mark.parametrize(
    ("closing_policy", "finding", "is_cause"),
    [
        (out_of_gateways(), UNANSWERED, True),
        (out_of_gateways(OWN_NAMESPACE), UNANSWERED, True),
        (out_of_gateways(AT_ANOTHER), UNANSWERED, True),
        (out_of_gateways(TO_SAMPLES), UNANSWERED, False),
        (out_of_gateways({}), UNANSWERED, False),
        (
            policy("sample", podSelector={}, ingress=[{"from": [{"podSelector": {}}]}]),
            UNANSWERED,
            True,
        ),
        (
            policy("sample", podSelector={}, ingress=[{"from": [{"namespaceSelector": {}}]}]),
            UNANSWERED,
            False,
        ),
        (
            out_of_gateways(),
            Finding("cluster2", "answers", "x", about=Subject(("cluster2",))),
            False,
        ),
        (
            out_of_gateways(),
            Finding("cluster1", "answers", "x", about=Subject(("cluster1",))),
            False,
        ),
    ],
)
def test_ways_from_the_gateway_to_helloworld(
    closing_policy: Configuration, finding: Finding, is_cause: bool
) -> None:
    recording = of("cluster2", network_policies=adding(closing_policy))(recorded(MULTI))
    case = Case(recording.scenario, recording.facts, {"TRAFFIC-1": (finding,)})
    causes = [*closed_within(case)]
    assert [each.clusters for each in causes] == [("cluster2",)] * is_cause
    for each in causes:
        assert str(closing_policy) in each.statement
        assert finding.seen in each.evidence[-1].seen


def test_a_gateway_that_is_not_reached_is_not_closed_on_its_other_side() -> None:
    closed = of("cluster2", network_policies=adding(out_of_gateways()))
    recording = both(closed, unanswered("gateway", "cluster1", "cluster2"))(recorded(MULTI))
    case = Case(recording.scenario, recording.facts, {"TRAFFIC-1": (UNANSWERED,)})
    assert not [*closed_within(case)]
