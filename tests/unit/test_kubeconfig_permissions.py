"""The roles permit what is asked for, and nothing else."""

from __future__ import annotations

import socket
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from fake_api_server import FakeApiServer, kubeconfig_of

from mesh_fixtures.kube import Access
from mesh_fixtures.kube import transport as transports
from mesh_fixtures.lab.kubeconfig import needs
from mesh_fixtures.lab.kubeconfig.overrides import SampleOptions
from mesh_fixtures.lab.kubeconfig.permissions import RULES, RoleSubject, roles, rules
from mesh_fixtures.lab.kubeconfig.reference import Reference

ROLES = list(yaml.safe_load_all(roles()))
EVERYTHING = [each for rule in RULES for each in rule.accesses()]


PROVIDED = list(yaml.safe_load_all(roles(provided="shop")))
ALL_OF_PROVIDED = [each for rule in rules(is_provided=True) for each in rule.accesses(own="shop")]


def permitted(asked: Access, given: list[Any] = ROLES) -> bool:
    """As an API server decides by the roles (Kubernetes: Using RBAC Authorization)."""
    return any(
        asked.verb in rule["verbs"]
        and asked.group in rule["apiGroups"]
        and asked.resource in rule["resources"]
        and (not rule.get("resourceNames") or asked.name in rule["resourceNames"])
        for role in given
        if role["metadata"].get("namespace", asked.namespace) == asked.namespace
        for rule in role["rules"]
    )


@pytest.mark.parametrize("asked", EVERYTHING, ids=str)
def test_the_roles_permit_what_is_asked_for(asked: Access) -> None:
    assert permitted(asked)


@pytest.mark.parametrize("asked", ALL_OF_PROVIDED, ids=str)
def test_the_roles_of_a_provided_namespace_permit_what_is_asked_for(asked: Access) -> None:
    assert permitted(asked, PROVIDED)


@pytest.mark.parametrize("asked", ALL_OF_PROVIDED, ids=str)
def test_what_a_run_makes_is_permitted_in_its_provided_namespace_alone(asked: Access) -> None:
    if asked.namespace == "shop":
        elsewhere = replace(asked, namespace="payments")
        is_read_everywhere = asked.verb == "list" and asked.resource in ("services", "gateways")
        assert permitted(elsewhere, PROVIDED) == is_read_everywhere


@pytest.mark.parametrize(
    "asked",
    [
        Access("create", "namespaces"),
        Access("delete", "namespaces", "", "", "shop"),
        Access("create", "secrets", "", "shop"),
        Access("list", "secrets", "", "shop"),
        Access("create", "pods/exec", "", "payments"),
    ],
    ids=str,
)
def test_the_roles_of_a_provided_namespace_permit_no_more(asked: Access) -> None:
    assert not permitted(asked, PROVIDED)


@pytest.mark.parametrize(
    "asked",
    [
        Access("get", "secrets", "", "istio-system", "istio-remote-secret-cluster2"),
        Access("list", "secrets", "", "istio-system"),
        Access("get", "secrets", "", "kube-system", "cacerts"),
        Access("delete", "pods", "", "istio-system", "istiod-1"),
        Access("create", "deployments", "extensions", "default"),
        Access("patch", "deployments", "apps", "istio-system"),
        Access("update", "namespaces", "", "", "istio-system"),
        Access("delete", "services", "", "default"),
    ],
    ids=str,
)
def test_the_roles_permit_no_more(asked: Access) -> None:
    assert not permitted(asked)


@pytest.mark.parametrize("is_provided", [False, True])
def test_resources_of_a_rule_are_of_one_group(is_provided: bool) -> None:
    needed = rules(is_provided=is_provided)
    assert all(len({each.group for each in rule.resources}) == 1 for rule in needed)


def test_every_rule_says_what_it_is_for() -> None:
    text = roles()
    for rule in RULES:
        assert f"# {rule.why}" in text


@pytest.mark.parametrize(
    ("subject", "bound"),
    [
        (RoleSubject("User", "me"), {"kind": "User", "name": "me"}),
        (
            RoleSubject("ServiceAccount", "ci", "tools"),
            {"kind": "ServiceAccount", "name": "ci", "namespace": "tools"},
        ),
    ],
)
def test_the_roles_are_bound(subject: RoleSubject, bound: dict[str, str]) -> None:
    *_, everywhere, system = yaml.safe_load_all(roles(subject))
    for binding, kind in ((everywhere, "ClusterRole"), (system, "Role")):
        assert binding["kind"] == f"{kind}Binding"
        assert binding["roleRef"]["kind"] == kind
        (one,) = binding["subjects"]
        assert bound.items() <= one.items()
    assert system["metadata"]["namespace"] == "istio-system"


def problems(server: FakeApiServer, folder: Path) -> list[Any]:
    with server.running(folder) as kubeconfig:
        return list(needs.problems([Reference("one", (kubeconfig,), "cluster1")], SampleOptions()))


def test_nothing_is_missing_where_all_is_permitted(tmp_path: Path) -> None:
    server = FakeApiServer()
    assert problems(server, tmp_path) == []
    assert server.changes == []


def test_what_is_not_permitted_is_said_by_rule(tmp_path: Path) -> None:
    def reviews(attributes: dict[str, str]) -> bool:
        return attributes["resource"] not in ("secrets", "pods") or "subresource" in attributes

    found = problems(FakeApiServer(reviews=reviews), tmp_path)
    said = [problem.missing for problem in found]
    assert said == [
        "permission in one to create pods in its own namespace",
        "permission in one to list pods in its own namespace",
        "permission in one to get pods, list pods in istio-system",
        "permission in one to get secrets cacerts, istio-ca-secret in istio-system",
    ]
    impacts = [
        "the admission of pods",
        "",
        "",
        "the chain that istiod signs with (TRUST-1, TRUST-2)",
    ]
    assert [problem.impact for problem in found] == impacts
    assert "kubectl auth can-i get secrets/cacerts -n istio-system" in found[-1].seen
    assert all("mesh-conformance rbac" in problem.remedy for problem in found)


def test_a_subresource_is_asked_for_by_itself(tmp_path: Path) -> None:
    found = problems(
        FakeApiServer(reviews=lambda each: each.get("subresource") != "exec"), tmp_path
    )
    assert len(found) == 2
    assert str(Access("create", "pods/exec", namespace="a")) == (
        "can-i create pods --subresource=exec -n a"
    )


def test_a_cluster_that_does_not_answer_is_no_missing_permission(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transports, "PAUSE_SECONDS", 0.0)
    with socket.socket() as taken:  # nobody listens there, and nobody else can meanwhile
        taken.bind(("127.0.0.1", 0))
        kubeconfig = kubeconfig_of(tmp_path, f"http://127.0.0.1:{taken.getsockname()[1]}")
        (found,) = needs.problems([Reference("one", (kubeconfig,), "cluster1")], SampleOptions())
    assert found.missing == "an API server of one that answers"
    assert "refused" in found.seen
    (found,) = needs.problems([Reference("one", (tmp_path / "nowhere",), "")], SampleOptions())
    assert "a kubeconfig" in found.missing
    assert found.seen == "no such file"
