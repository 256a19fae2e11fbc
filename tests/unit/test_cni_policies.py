"""What policies of network plugins isolate and let through, and Calico's selectors."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh_fixtures.diagnosis.facts import ClusterFacts, Configuration, Namespace, Pod
from mesh_fixtures.diagnosis.rules.network_policies import closing
from mesh_fixtures.kube.calico_selectors import SelectorError, selector

GATEWAY = Pod("istio-system", "gateway-1", {"istio": "eastwestgateway"}, "10.1.0.5", "", True)
NAMESPACE = Namespace("istio-system", {"team": "mesh"})

AT_GATEWAY = "istio == 'eastwestgateway'"
ALLOWED_TO_ALL: Any = {"action": "Allow"}
OWN_PODS: Any = {"action": "Allow", "source": {"namespaceSelector": "all()"}}


def calico(namespace: str = "", **spec: Any) -> Configuration:
    kind = "NetworkPolicy.crd.projectcalico.org" if namespace else "GlobalNetworkPolicy"
    return Configuration(kind, namespace, "x", spec)


def cilium(namespace: str = "", **spec: Any) -> Configuration:
    kind = "CiliumNetworkPolicy" if namespace else "CiliumClusterwideNetworkPolicy"
    return Configuration(kind, namespace, "x", {"endpointSelector": {}, **spec})


def closed(direction: Any, *policies: Configuration, kubernetes: Any = ()) -> bool:
    facts = ClusterFacts(
        "cluster1", namespaces=(NAMESPACE,), network_policies=kubernetes, cni_policies=policies
    )
    return bool(closing(facts, GATEWAY, direction, 15443))


def at(*ports: Any, protocol: Any = "TCP", **more: Any) -> dict[str, Any]:
    return {**ALLOWED_TO_ALL, "protocol": protocol, "destination": {"ports": [*ports], **more}}


@pytest.mark.parametrize(
    ("policy", "is_closed"),
    [
        (calico(), True),
        (calico("istio-system"), True),
        (calico("other"), False),
        (calico(types=["Egress"]), False),
        (calico(egress=[ALLOWED_TO_ALL]), False),
        (calico(types=["Ingress", "Egress"]), True),
        (calico(selector=AT_GATEWAY), True),
        (calico(selector="istio == 'ingressgateway'"), False),
        (calico(selector="projectcalico.org/namespace not in {'kube-system'}"), True),
        (calico(selector="projectcalico.org/namespace not in {'istio-system'}"), False),
        (calico(namespaceSelector="team == 'mesh'"), True),
        (calico(namespaceSelector="has(projectcalico.org/name)"), True),
        (calico(namespaceSelector="team != 'mesh'"), False),
        (calico(serviceAccountSelector="all()"), False),
        (calico(selector="who knows"), False),
        (calico(preDNAT=True), False),
        (calico(ingress=[ALLOWED_TO_ALL]), False),
        (calico(ingress=[{"action": "Pass"}]), False),
        (calico(ingress=[{"action": "Log"}]), True),
        (calico(ingress=[{"action": "Deny"}, ALLOWED_TO_ALL]), True),
        (
            calico(ingress=[{"action": "Deny", "source": {"nets": ["10.0.0.0/8"]}}, at(15443)]),
            False,
        ),
        (calico(ingress=[OWN_PODS]), True),
        (calico(ingress=[{"action": "Allow", "source": {"nets": ["10.0.0.0/8"]}}]), False),
        (calico(ingress=[{"action": "Allow", "source": {"selector": "global()"}}]), False),
        (calico(ingress=[at(15443)]), False),
        (calico(ingress=[at(15443, protocol=6)]), False),
        (calico(ingress=[at(15021)]), True),
        (calico(ingress=[at("15000:16000")]), False),
        (calico(ingress=[at("tls")]), False),
        (calico(ingress=[at(15443, protocol="UDP")]), True),
        (calico(ingress=[{"action": "Allow", "protocol": "UDP"}]), True),
        (calico(ingress=[{"action": "Allow", "protocol": "TCP"}]), False),
    ],
)
def test_what_calico_lets_in(policy: Configuration, is_closed: bool) -> None:
    assert closed("Ingress", policy) is is_closed


@pytest.mark.parametrize(
    ("policy", "is_closed"),
    [
        (calico(types=["Egress"], egress=[at(15443)]), False),
        (calico(types=["Egress"], egress=[at(15443, selector="all()")]), True),
        (calico(types=["Egress"], egress=[at(53, protocol="UDP")]), True),
        (cilium(egress=[{"toEntities": ["world"]}]), False),
        (cilium(egress=[{"toEntities": ["cluster"]}]), True),
        (cilium(egress=[{"toFQDNs": [{"matchName": "gateway.example.com"}]}]), False),
        (cilium(egress=[{"toServices": [{"k8sService": {"serviceName": "x"}}]}]), True),
        (cilium(egress=[{"toPorts": [{"ports": [{"port": "15443"}]}]}]), False),
        (cilium(egress=[{"toPorts": [{"ports": [{"port": "53", "protocol": "UDP"}]}]}]), True),
    ],
)
def test_what_plugins_let_out(policy: Configuration, is_closed: bool) -> None:
    assert closed("Egress", policy) is is_closed


def to_ports(*ports: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"toPorts": [{"ports": [*ports]}], **more}


@pytest.mark.parametrize(
    ("policy", "is_closed"),
    [
        (cilium(), False),
        (cilium(ingress=[]), False),
        (cilium(ingress=[{}]), True),
        (cilium("istio-system", ingress=[{}]), True),
        (cilium("other", ingress=[{}]), False),
        (cilium(ingressDeny=[{"fromEntities": ["world"]}]), True),
        (cilium(ingress=[{}], enableDefaultDeny={"ingress": False}), False),
        (cilium(enableDefaultDeny={"ingress": True}), True),
        (cilium(ingress=[{"fromEntities": ["world"]}]), False),
        (cilium(ingress=[{"fromEntities": ["all"]}]), False),
        (cilium(ingress=[{"fromEntities": ["cluster", "host"]}]), True),
        (cilium(ingress=[{"fromEndpoints": [{}]}]), True),
        (cilium(ingress=[{"fromEndpoints": []}]), True),
        (
            cilium(
                ingress=[
                    {"fromEndpoints": [{"matchLabels": {"io.cilium.k8s.policy.cluster": "two"}}]}
                ]
            ),
            False,
        ),
        (cilium(ingress=[{"fromCIDR": ["10.0.0.0/8"]}]), False),
        (cilium(ingress=[to_ports({"port": "15443", "protocol": "TCP"})]), False),
        (cilium(ingress=[to_ports({"port": "15021", "protocol": "TCP"})]), True),
        (cilium(ingress=[to_ports({"port": "15000", "endPort": 16000})]), False),
        (cilium(ingress=[to_ports({"port": "15443", "protocol": "UDP"})]), True),
        (cilium(ingress=[to_ports({"port": "0", "protocol": "ANY"})]), False),
        (cilium(ingress=[to_ports({"port": "tls"})]), False),
        (cilium(ingress=[to_ports({"port": "15443"}, fromEntities=["cluster"])]), True),
        (cilium(endpointSelector={"matchLabels": {"k8s:istio": "eastwestgateway"}},
                ingress=[{}]), True),
        (cilium(endpointSelector={"matchLabels": {"istio": "other"}}, ingress=[{}]), False),
        (cilium(endpointSelector={"matchLabels": {"reserved:health": ""}}, ingress=[{}]), False),
        (
            cilium(
                endpointSelector={
                    "matchExpressions": [
                        {
                            "key": "k8s:io.kubernetes.pod.namespace",
                            "operator": "NotIn",
                            "values": ["kube-system"],
                        },
                        {
                            "key": "k8s:io.cilium.k8s.namespace.labels.team",
                            "operator": "Exists",
                        },
                    ]
                },
                ingress=[{}],
            ),
            True,
        ),
        (
            Configuration(
                "CiliumNetworkPolicy",
                "istio-system",
                "x",
                {"specs": [{"endpointSelector": {}, "ingress": [{}]}, {"nodeSelector": {}}]},
            ),
            True,
        ),
    ],
)  # fmt: skip
def test_what_cilium_lets_in(policy: Configuration, is_closed: bool) -> None:
    assert closed("Ingress", policy) is is_closed


def test_policies_of_both_kinds_add_up() -> None:
    spec: Any = {"podSelector": {}, "ingress": [{"ports": [{"port": 15443}]}]}
    allowing = Configuration("NetworkPolicy", "istio-system", "y", spec)
    assert not closed("Ingress", calico(), kubernetes=(allowing,))
    assert not closed("Ingress", cilium(ingress=[{}]), kubernetes=(allowing,))


KEYS = st.sampled_from(["app", "istio", "projectcalico.org/namespace", "k8s-app", "in", "has"])
VALUES = st.text("abz09.-_/ ", max_size=4)
Parsed = tuple[str, Any]


def quoted(value: str) -> str:
    return f"'{value}'"


def listed(values: list[str]) -> str:
    return "{" + ", ".join(map(quoted, values)) + "}"


LEAVES = st.one_of(
    st.builds(lambda key: (f"has({key})", lambda of: key in of), KEYS),
    st.just(("all()", lambda _: True)),
    st.builds(lambda k, v: (f"{k} == {quoted(v)}", lambda of: of.get(k) == v), KEYS, VALUES),
    st.builds(lambda k, v: (f"{k}!={quoted(v)}", lambda of: of.get(k) != v), KEYS, VALUES),
    st.builds(
        lambda k, v: (f"{k} in {listed(v)}", lambda of: of.get(k) in v), KEYS, st.lists(VALUES)
    ),
    st.builds(
        lambda k, v: (f"{k} not in {listed(v)}", lambda of: of.get(k) not in v),
        KEYS,
        st.lists(VALUES),
    ),
    st.builds(
        lambda k, v: (
            f"{k} starts with {quoted(v)}",
            lambda of: k in of and of[k].startswith(v),
        ),
        KEYS,
        VALUES,
    ),
    st.builds(
        lambda k, v: (f"{k} contains {quoted(v)}", lambda of: k in of and v in of[k]), KEYS, VALUES
    ),
)


def either(one: Parsed, other: Parsed) -> Parsed:
    return f"({one[0]} || {other[0]})", lambda of: one[1](of) or other[1](of)


def both(one: Parsed, other: Parsed) -> Parsed:
    return f"({one[0]}) && ({other[0]})", lambda of: one[1](of) and other[1](of)


SELECTORS = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.builds(either, inner, inner),
        st.builds(both, inner, inner),
        st.builds(lambda each: (f"!({each[0]})", lambda of: not each[1](of)), inner),
    ),
    max_leaves=6,
)


@given(SELECTORS, st.dictionaries(KEYS, VALUES))
def test_selectors_of_calico(parsed: Parsed, labels: Mapping[str, str]) -> None:
    text, expected = parsed
    assert selector(text)(labels) is expected(labels)


@pytest.mark.parametrize(
    ("text", "labels", "selected"),
    [
        ("a == 'x' || b == 'y' && c == 'z'", {"a": "x"}, True),
        ("a == 'x' && b == 'y' || c == 'z'", {"a": "x"}, False),
        ('!has(a) && b == "y"', {"b": "y"}, True),
        ("a ends with 'x'", {"a": "yx"}, True),
        ("global()", {}, False),
    ],
)
def test_what_binds_stronger(text: str, labels: Mapping[str, str], selected: bool) -> None:
    assert selector(text)(labels) is selected


@pytest.mark.parametrize(
    "text", ["", "a", "a ==", "a == x", "(a == 'x'", "a == 'x')", "a in 'x'", "a = 'x'", "a ~ 'x'"]
)
def test_what_is_no_selector(text: str) -> None:
    with pytest.raises(SelectorError):
        selector(text)
