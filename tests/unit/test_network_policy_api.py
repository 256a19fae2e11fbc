"""What policies of the Network Policy API decide, and what of it closes a mesh's ways."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh_fixtures.diagnosis.facts import ClusterFacts, Configuration, Namespace, Pod
from mesh_fixtures.diagnosis.rules.network_policies import closing
from mesh_fixtures.kube.cni_policies import PodIdentity
from mesh_fixtures.kube.network_policy_api import Peer, Tier, decision, may_deny
from mesh_fixtures.lab.kubeconfig.namespace_policies import denying

SHOP = PodIdentity("shop", {"app": "sleep"}, {"kubernetes.io/metadata.name": "shop", "team": "a"})
BANK = PodIdentity("bank", {"app": "till"}, {"kubernetes.io/metadata.name": "bank", "team": "b"})

ANY: Any = {"namespaces": {}}
TEAM_A: Any = {"namespaces": {"matchLabels": {"team": "a"}}}
TILLS: Any = {"pods": {"namespaceSelector": {}, "podSelector": {"matchLabels": {"app": "till"}}}}
ANYWHERE: Any = {"networks": ["0.0.0.0/0", "::/0"]}
PORT = 5000
TILL = Peer(BANK)


def cluster(tier: Tier, priority: int, subject: Any = ANY, **rules: Any) -> Configuration:
    spec = {"tier": tier, "priority": priority, "subject": subject, **rules}
    return Configuration("ClusterNetworkPolicy", "", f"{tier}-{priority}", spec)


def admin(priority: int, subject: Any = ANY, **rules: Any) -> Configuration:
    spec = {"priority": priority, "subject": subject, **rules}
    return Configuration("AdminNetworkPolicy", "", f"admin-{priority}", spec)


def baseline(subject: Any = ANY, **rules: Any) -> Configuration:
    return Configuration("BaselineAdminNetworkPolicy", "", "default", {"subject": subject, **rules})


def to(action: str, *peers: Any, **more: Any) -> Any:
    return {"action": action, "to": list(peers), **more}


def decided(
    *policies: Configuration, tier: Tier = "Admin", peer: Peer = TILL, port: int = PORT
) -> bool | None:
    """Whether what the shop sends is denied; None where it is not decided."""
    found = decision(policies, tier, SHOP, "Egress", peer, port)
    return None if found is None else found.denies


@pytest.mark.parametrize(
    ("rule", "peer", "denied"),
    [
        (to("Deny", ANY), Peer(BANK), True),
        (to("Deny", ANY), Peer(address="10.1.2.3"), None),
        (to("Deny", TEAM_A), Peer(BANK), None),
        (to("Deny", TEAM_A), Peer(SHOP), True),
        (to("Deny", TEAM_A, TILLS), Peer(BANK), True),
        (to("Deny", TILLS), Peer(SHOP), None),
        (to("Deny", {"networks": ["10.0.0.0/8"]}), Peer(address="10.1.2.3"), True),
        (to("Deny", {"networks": ["10.0.0.0/8"]}), Peer(address="192.0.2.1"), None),
        (to("Deny", {"networks": ["10.0.0.0/8"]}), Peer(address="2001:db8::1"), None),
        (to("Deny", {"networks": ["10.0.0.0/8"]}), Peer(), None),
        (to("Deny", ANYWHERE), Peer(), True),
        (to("Deny", ANYWHERE), Peer(BANK), True),
        (to("Deny", ANYWHERE), Peer(address="2001:db8::1"), True),
        (to("Deny", {"nodes": {}}), Peer(address="10.1.2.3"), None),
        (to("Deny"), Peer(BANK), None),
        (to("Allow", ANY), Peer(BANK), False),
        (to("Accept", ANY), Peer(BANK), False),
        (to("Accept", {"domainNames": ["*.example.com"]}), Peer(address="10.1.2.3"), False),
        (to("Accept", {"domainNames": ["*.example.com"]}), Peer(BANK), None),
        (to("Pass", ANY), Peer(BANK), None),
    ],
)
def test_peers(rule: Any, peer: Peer, denied: bool | None) -> None:
    assert decided(admin(5, egress=[rule]), peer=peer) is denied


@pytest.mark.parametrize(
    ("ports", "is_at"),
    [
        ({}, True),
        ({"ports": [{"portNumber": {"protocol": "TCP", "port": PORT}}]}, True),
        ({"ports": [{"portNumber": {"port": PORT}}]}, True),
        ({"ports": [{"portNumber": {"protocol": "UDP", "port": PORT}}]}, False),
        ({"ports": [{"portNumber": {"protocol": "TCP", "port": 80}}]}, False),
        ({"ports": [{"portRange": {"protocol": "TCP", "start": 4000, "end": PORT}}]}, True),
        ({"ports": [{"portRange": {"protocol": "TCP", "start": 6000, "end": 7000}}]}, False),
        ({"ports": [{"namedPort": "http"}]}, False),
        ({"protocols": [{"tcp": {"destinationPort": {"number": PORT}}}]}, True),
        ({"protocols": [{"tcp": {"destinationPort": {"number": 80}}}]}, False),
        (
            {"protocols": [{"tcp": {"destinationPort": {"range": {"start": 1, "end": 9000}}}}]},
            True,
        ),
        ({"protocols": [{"tcp": {}}]}, True),
        ({"protocols": [{"udp": {"destinationPort": {"number": PORT}}}]}, False),
        ({"protocols": [{"destinationNamedPort": "http"}]}, False),
    ],
)
def test_ports_of_what_is_denied_for_certain(ports: Any, is_at: bool) -> None:
    assert decided(cluster("Admin", 5, egress=[to("Deny", ANY, **ports)])) is (is_at or None)


@pytest.mark.parametrize("ports", [{"ports": [{"namedPort": "http"}]}])
def test_a_named_port_may_be_the_one_that_is_allowed(ports: Any) -> None:
    rules = [to("Allow", ANY, **ports), to("Deny", ANY)]
    assert decided(admin(5, egress=rules)) is False


def test_the_first_rule_of_the_lowest_priority_decides() -> None:
    denying_all, allowing_all = to("Deny", ANY), to("Allow", ANY)
    assert decided(admin(9, egress=[denying_all]), admin(5, egress=[allowing_all])) is False
    assert decided(admin(5, egress=[denying_all]), admin(9, egress=[allowing_all])) is True
    assert decided(admin(5, egress=[denying_all, allowing_all])) is True
    passing = admin(1, egress=[to("Pass", TILLS)])
    assert decided(passing, admin(5, egress=[denying_all])) is None
    assert decided(passing, admin(5, egress=[denying_all]), peer=Peer(SHOP)) is True
    assert decided(admin(1, TILLS, egress=[allowing_all]), admin(5, egress=[denying_all])) is True


def test_tiers_are_apart() -> None:
    policies = (
        admin(5, TILLS, egress=[to("Deny", ANY)]),
        baseline(egress=[to("Deny", ANY)]),
        cluster("Baseline", 0, egress=[to("Accept", TILLS)]),
        Configuration("NetworkPolicy", "shop", "x", {"podSelector": {}, "egress": []}),
    )
    assert decided(*policies) is None
    assert decided(*policies, tier="Baseline") is False
    assert decided(*policies, tier="Baseline", peer=Peer(SHOP)) is True


@given(st.lists(st.tuples(st.integers(0, 1000), st.sampled_from(["Accept", "Deny", "Pass"]))))
def test_whatever_their_order_the_same_policy_decides(given_: list[tuple[int, str]]) -> None:
    policies = [
        cluster("Admin", priority, egress=[to(action, ANY)])
        for priority, action in dict(given_).items()
    ]
    first = min(dict(given_).items(), default=(0, "Pass"))[1]
    expected = {"Accept": False, "Deny": True, "Pass": None}[first]
    assert decided(*policies) is decided(*reversed(policies)) is expected


def test_what_may_be_denied() -> None:
    policy = baseline(TEAM_A, ingress=[{"action": "Deny", "from": [ANY]}], egress=[])
    assert may_deny(policy, "Baseline", SHOP, "Ingress")
    assert not may_deny(policy, "Admin", SHOP, "Ingress")
    assert not may_deny(policy, "Baseline", SHOP, "Egress")
    assert not may_deny(policy, "Baseline", BANK, "Ingress")


@pytest.mark.parametrize(
    ("policies", "said"),
    [
        ([admin(5, egress=[to("Deny", ANY)])], "AdminNetworkPolicy admin-5, which"),
        ([admin(5, ingress=[{"action": "Deny", "from": [TEAM_A]}])], "AdminNetworkPolicy admin-5"),
        ([admin(5, egress=[to("Deny", {"networks": ["10.0.0.0/8"]})])], ""),
        ([admin(5, egress=[to("Pass", TEAM_A), to("Deny", ANY)])], ""),
        ([admin(5, egress=[to("Accept", ANY), to("Deny", ANYWHERE)])], "AdminNetworkPolicy"),
        (
            [admin(5, egress=[to("Allow", {"networks": ["0.0.0.0/0"]}), to("Deny", ANYWHERE)])],
            "",
        ),
        ([baseline(egress=[to("Deny", ANY)])], ""),
    ],
)
def test_what_nothing_undoes_within_a_namespace(policies: list[Configuration], said: str) -> None:
    seen = denying(policies, [SHOP])
    assert seen.startswith(said)
    assert bool(seen) == bool(said)


SLEEP = Pod("shop", "sleep-1", {"app": "sleep"}, "10.1.0.5", "", True)
GATEWAY_ADDRESS = "203.0.113.9"
ISOLATED = Configuration(
    "NetworkPolicy", "shop", "deny", {"podSelector": {}, "policyTypes": ["Egress"]}
)
OUT_DENIED: Any = [to("Deny", {"networks": ["203.0.113.0/24"]})]


@pytest.mark.parametrize(
    ("kubernetes", "others", "closed"),
    [
        ([], [admin(5, egress=OUT_DENIED)], ["admin-5"]),
        ([], [admin(5, TILLS, egress=OUT_DENIED)], []),
        ([], [baseline(egress=OUT_DENIED)], ["default"]),
        ([], [baseline(egress=[to("Deny", ANY)])], []),
        ([ISOLATED], [], ["deny"]),
        ([ISOLATED], [baseline(egress=[to("Allow", ANYWHERE)])], ["deny"]),
        ([ISOLATED], [admin(5, egress=[to("Allow", ANYWHERE)])], []),
        ([ISOLATED], [admin(5, egress=[to("Pass", ANYWHERE)])], ["deny"]),
        ([], [cluster("Admin", 5, ingress=[{"action": "Deny", "from": [ANY]}])], []),
    ],
)
def test_ways_that_policies_close(
    kubernetes: Sequence[Configuration], others: Sequence[Configuration], closed: list[str]
) -> None:
    facts = ClusterFacts(
        "cluster1",
        namespaces=(Namespace("shop", SHOP.namespace_labels),),
        network_policies=tuple(kubernetes),
        cni_policies=tuple(others),
    )
    found = closing(facts, SLEEP, "Egress", 15443, Peer(address=GATEWAY_ADDRESS))
    assert [each.name for each in found] == closed
    assert not closing(facts, SLEEP, "Ingress", 15443)
