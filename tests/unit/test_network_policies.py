"""What NetworkPolicies let through to a pod, or from it, between clusters."""

from __future__ import annotations

from typing import Any

import pytest

from mesh_fixtures.diagnosis.facts import ClusterFacts, Configuration, Pod
from mesh_fixtures.diagnosis.rules.network_policies import closing

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
