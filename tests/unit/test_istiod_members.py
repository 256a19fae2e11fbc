"""Whether NetworkPolicies let the pods of a run's namespace reach istiod."""

from __future__ import annotations

from typing import Any

import pytest

from mesh_fixtures.kube import Configuration
from mesh_fixtures.kube.cni_policies import PodIdentity
from mesh_fixtures.lab.kubeconfig.istiod_members import members

ISTIOD = PodIdentity("istio-system", {"app": "istiod"})
OWN = {"kubernetes.io/metadata.name": "mesh-conformance-1", "team": "a"}
PODS = [PodIdentity("mesh-conformance-1", {"app": name}, OWN) for name in ("sleep", "helloworld")]


def policy(*rules: Any, **more: Any) -> Configuration:
    spec = {"podSelector": {"matchLabels": {"app": "istiod"}}, "ingress": list(rules), **more}
    return Configuration("NetworkPolicy", "istio-system", "x", spec)


def of_namespaces(**labels: str) -> dict[str, Any]:
    return {"namespaceSelector": {"matchLabels": labels}}


def letting_in(*peers: Any, **more: Any) -> dict[str, Any]:
    return {"from": list(peers), **more}


MEMBERS = of_namespaces(mesh="member")
NAMED: Any = {
    "namespaceSelector": {
        "matchExpressions": [
            {"key": "kubernetes.io/metadata.name", "operator": "In", "values": ["shop", "bank"]}
        ]
    }
}
XDS: Any = {"ports": [{"port": 15012}]}


@pytest.mark.parametrize(
    ("policies", "remedy"),
    [
        ([], None),
        ([policy()], None),
        ([policy(letting_in({"podSelector": {}}))], None),
        ([policy(letting_in(MEMBERS))], "--mesh-namespace-label mesh=member"),
        (
            [policy(letting_in(of_namespaces(mesh="member", zone="a")))],
            "--mesh-namespace-label mesh=member --mesh-namespace-label zone=a",
        ),
        ([policy(letting_in(NAMED))], "have it let in namespaces mesh-conformance-*"),
        ([policy(letting_in(of_namespaces(team="a")))], None),
        ([policy(letting_in(MEMBERS), letting_in(of_namespaces(team="a")))], None),
        ([policy(letting_in(MEMBERS)), policy(XDS)], None),
        ([policy(letting_in(MEMBERS, **XDS))], "--mesh-namespace-label mesh=member"),
        ([policy(letting_in(MEMBERS, ports=[{"port": 15014}]))], None),
        ([policy(letting_in(MEMBERS), {"ports": [{"port": 15014}]})], "--mesh-namespace-label"),
        ([policy(letting_in(MEMBERS, {"ipBlock": {"cidr": "10.0.0.0/8"}}))], None),
        ([policy(letting_in(MEMBERS), policyTypes=["Egress"])], None),
        ([policy(letting_in(MEMBERS), podSelector={"matchLabels": {"app": "gateway"}})], None),
        (
            [policy(letting_in({**of_namespaces(team="a"), "podSelector": {"matchLabels": OWN}}))],
            None,
        ),
    ],
)
def test_who_may_reach_istiod(policies: list[Configuration], remedy: str | None) -> None:
    found = members(policies, [ISTIOD], PODS)
    assert (found is None) == (remedy is None)
    if found is not None and remedy is not None:
        assert found.remedy.startswith(remedy)
        assert "NetworkPolicy istio-system/x lets namespaces with" in str(found)
