"""Pods run as a user of their namespace where the cluster allots some."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from fake_api_server import FakeApiServer
from kube_client import client_of
from mesh_examples import RELEASED, SCENARIOS

from mesh_fixtures.lab.kubeconfig import allotted_users, sample
from mesh_fixtures.lab.kubeconfig.allotted_users import ANNOTATION, allotted_user, first_of
from mesh_fixtures.lab.kubeconfig.overrides import AS_THEY_ARE, PodOverrides

NAMESPACES = "/api/v1/namespaces"
USERS = "1000680000/10000"
FIRST = 1000680000
SCENARIO = SCENARIOS["multi-primary"].model_copy(update={"dns_proxying": True})


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(allotted_users, "_INTERVAL", 0.01)


def namespace(users: str = "") -> dict[str, Any]:
    return {"metadata": {"name": "x", "annotations": {ANNOTATION: users} if users else {}}}


def cluster(system: str, own: str) -> FakeApiServer:
    return FakeApiServer(
        {f"{NAMESPACES}/istio-system": namespace(system), f"{NAMESPACES}/own": namespace(own)}
    )


def not_waiting() -> None:
    pytest.fail("waited")


@pytest.mark.parametrize(
    ("system", "own", "user"),
    [("", "", None), (USERS, "1000690000/10000", 1000690000), ("", USERS, None)],
)
def test_the_first_user_of_the_namespace(
    system: str, own: str, user: int | None, tmp_path: Path
) -> None:
    with client_of(cluster(system, own), tmp_path) as kube:
        assert allotted_user(kube, "own", not_waiting) == user


def test_users_are_waited_for(tmp_path: Path) -> None:
    server = cluster(USERS, "")

    def allot() -> None:
        server.answers[f"{NAMESPACES}/own"] = namespace(USERS)

    with client_of(server, tmp_path) as kube:
        assert allotted_user(kube, "own", allot) == FIRST


def test_they_are_not_waited_for_without_end(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(allotted_users, "ALLOTTED_SECONDS", 0.05)
    with client_of(cluster(USERS, ""), tmp_path) as kube:
        assert allotted_user(kube, "own", lambda: None) is None


@pytest.mark.parametrize(
    ("users", "first"),
    [(USERS, FIRST), ("1000-1999", 1000), ("", None), ("many", None), ("1000", None)],
)
def test_both_forms_of_a_range_are_read(users: str, first: int | None) -> None:
    assert first_of(users) == first


@pytest.mark.parametrize(
    ("user", "overrides", "expected"),
    [
        (None, AS_THEY_ARE, 65532),
        (FIRST, AS_THEY_ARE, FIRST),
        (FIRST, PodOverrides(security_context={"runAsUser": 7}), 7),
        (FIRST, PodOverrides(security_context={"runAsUser": None}), None),
    ],
)
def test_all_pods_run_as_it(
    user: int | None, overrides: PodOverrides, expected: int | None
) -> None:
    made = [
        *sample.manifests(SCENARIO, "cluster1", RELEASED, "ours", overrides, user=user),
        *sample.with_host_names(SCENARIO, "cluster1", RELEASED, overrides, user),
    ]
    pods = [each["spec"]["template"]["spec"] for each in made if "template" in each.get("spec", {})]
    containers = [container for pod in pods for container in pod["containers"]]
    found = [each["securityContext"].get("runAsUser") for each in containers]
    assert found == [expected] * 4
