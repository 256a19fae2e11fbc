"""Where the control plane of an existing mesh is, and what its istiods say of themselves."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from fake_api_server import FakeApiServer
from hypothesis import given
from hypothesis import strategies as st
from kube_client import client_of, cluster

from mesh_fixtures.contract import MeshNames
from mesh_fixtures.errors import ScenarioError
from mesh_fixtures.kube import ConfigMap, Deployment, Meta
from mesh_fixtures.lab.kubeconfig.mesh_names import (
    MeshSettings,
    chosen_namespace,
    cluster_domain,
    mesh_names,
    names_of,
)
from mesh_fixtures.lab.kubeconfig.survey import istiod_namespaces, root_namespace

SYSTEM = "istio-system"
WEBHOOKS = "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations"
SERVICES = "/api/v1/services"
SETS = st.dictionaries(st.sampled_from(["a", "b", "c"]), st.booleans())


def service(namespace: str) -> dict[str, Any]:
    return {
        "metadata": {"name": "istiod", "namespace": namespace, "labels": {"app": "istiod"}},
        "spec": {},
    }


def webhook(namespace: str = "", path: str = "/inject", revision: str = "") -> dict[str, Any]:
    by = {"service": {"name": "istiod", "namespace": namespace, "path": path}}
    client = by if namespace else {"url": f"https://istiod.example:15017{path}"}
    labels = {"istio.io/rev": revision} if revision else {"istio-injection": "enabled"}
    made = {"name": "w", "clientConfig": client, "namespaceSelector": {"matchLabels": labels}}
    return {"metadata": {"name": "x"}, "webhooks": [made]}


def istiod(*arguments: str, namespace: str = "mesh") -> dict[str, Any]:
    container = {"name": "discovery", "args": ["discovery", *arguments]}
    return {
        "metadata": {"name": "istiod", "namespace": namespace, "labels": {"app": "istiod"}},
        "spec": {"template": {"spec": {"containers": [container]}}},
    }


def frozen(**found: str) -> dict[str, dict[str, bool]]:
    """Namespaces by cluster, separated by spaces; those whose istiod injects proxies by default end
    with an asterisk.
    """
    return {
        cluster: {each.rstrip("*"): each.endswith("*") for each in names.split()}
        for cluster, names in found.items()
    }


@pytest.mark.parametrize(
    ("services", "webhooks", "expected"),
    [
        ([], [], {}),
        ([service("mesh")], [], {"mesh": False}),
        ([], [webhook("mesh")], {"mesh": True}),
        ([service("mesh")], [webhook("mesh")], {"mesh": True}),
        ([service("mesh")], [webhook("mesh", revision="prod")], {"mesh": False}),
        ([service("a"), service("b")], [webhook()], {"a": False, "b": False}),
        (
            [service("mesh"), service("ingress")],
            [webhook("ingress", revision="gateways"), webhook("mesh"), webhook("mesh")],
            {"ingress": False, "mesh": True},
        ),
        ([], [webhook()], {}),
        ([], [webhook("policies", "/validate")], {}),
    ],
)
def test_where_istiod_is(
    services: list[Any], webhooks: list[Any], expected: dict[str, bool], tmp_path: Path
) -> None:
    server = FakeApiServer({SERVICES: {"items": services}, WEBHOOKS: {"items": webhooks}})
    with client_of(server, tmp_path) as kube:
        assert istiod_namespaces(kube) == expected


@pytest.mark.parametrize(
    ("found", "asked", "chosen"),
    [
        (frozen(one="", two=""), "", SYSTEM),
        (frozen(one="", two=""), "mesh", "mesh"),
        (frozen(one="mesh", two="mesh"), "", "mesh"),
        (frozen(one="mesh", two=""), "", "mesh"),
        (frozen(one="mesh istio-system", two="mesh"), "", "mesh"),
        (frozen(one="mesh istio-system", two="mesh istio-system"), "mesh", "mesh"),
        (frozen(one="mesh", two=""), "mesh", "mesh"),
        (frozen(one="mesh* gateways", two="mesh* gateways"), "", "mesh"),
        (frozen(one="mesh* gateways", two="mesh gateways"), "", "mesh"),
        (frozen(one="mesh* gateways", two="mesh* gateways"), "gateways", "gateways"),
    ],
)
def test_the_namespace_that_is_meant(
    found: dict[str, dict[str, bool]], asked: str, chosen: str
) -> None:
    assert chosen_namespace(found, asked) == chosen


@pytest.mark.parametrize(
    ("found", "asked", "seen", "remedy"),
    [
        (frozen(one="a", two="b"), "", "one: a; two: b", "in one namespace"),
        (frozen(one="a b", two="b a"), "", "the namespaces a, b", "--mesh-system-namespace"),
        (frozen(one="a* b", two="b* a"), "", "the namespaces a, b", "--mesh-system-namespace"),
        (frozen(one="a", two="b"), "a", "one: a; two: b", "leave the option out"),
        (frozen(one="a"), "c", "one: a", "leave the option out"),
    ],
)
def test_a_namespace_that_is_not_clear(
    found: dict[str, dict[str, bool]], asked: str, seen: str, remedy: str
) -> None:
    with pytest.raises(ScenarioError) as raised:
        chosen_namespace(found, asked)
    assert seen in raised.value.seen
    assert remedy in raised.value.remedy


@given(st.dictionaries(st.sampled_from(["one", "two", "three"]), SETS), st.sampled_from("abc"))
def test_what_is_asked_for_is_chosen_or_refused(
    found: dict[str, dict[str, bool]], asked: str
) -> None:
    fits = all(asked in those for those in found.values() if those)
    try:
        assert chosen_namespace(found, asked) == asked
        assert fits
    except ScenarioError:
        assert not fits


@pytest.mark.parametrize(
    ("arguments", "domain"),
    [
        ((), "cluster.local"),
        (("--domain", "corp.test"), "corp.test"),
        (("--domain=corp.test", "--keepaliveMaxServerConnectionAge", "30m"), "corp.test"),
        (("--domain",), "cluster.local"),
        (("--domains", "corp.test"), "cluster.local"),
    ],
)
def test_the_domain_of_an_istiod(arguments: tuple[str, ...], domain: str) -> None:
    assert cluster_domain(Deployment.read(istiod(*arguments))) == domain


def test_an_istiod_without_its_container_has_the_default_domain() -> None:
    assert cluster_domain(Deployment.read({**istiod(), "spec": {}})) == "cluster.local"


@pytest.mark.parametrize(
    ("maps", "expected"),
    [
        ({"istio": "rootNamespace: policies"}, "policies"),
        ({"istio": "trustDomain: x"}, SYSTEM),
        ({"istio-canary": "rootNamespace: policies"}, "policies"),
        ({"other": "rootNamespace: policies"}, SYSTEM),
        ({}, SYSTEM),
    ],
)
def test_the_root_namespace(maps: dict[str, str], expected: str) -> None:
    found = [ConfigMap(Meta(name), {"mesh": text}) for name, text in maps.items()]
    assert root_namespace(found) == expected


def test_the_names_of_a_mesh() -> None:
    remote = MeshSettings()
    primary = MeshSettings("policies", frozenset({"corp.test"}))
    expected = MeshNames("mesh", "policies", "corp.test")
    assert names_of("mesh", {"one": remote, "two": primary}) == expected
    assert names_of("mesh", {"one": remote}) == MeshNames("mesh", SYSTEM, "cluster.local")


def test_two_cluster_domains_in_one_mesh() -> None:
    settings = {name: MeshSettings(SYSTEM, frozenset({f"{name}.test"})) for name in ("one", "two")}
    with pytest.raises(ScenarioError) as raised:
        names_of(SYSTEM, settings)
    assert raised.value.seen == "one: one.test; two: two.test"
    assert raised.value.where == "one, two"


def test_all_of_it_is_read_from_the_api_server(tmp_path: Path) -> None:
    mesh = {
        "metadata": {"name": "istio", "namespace": "mesh"},
        "data": {"mesh": "rootNamespace: policies"},
    }
    server = FakeApiServer(
        {
            SERVICES: {"items": [service("mesh")]},
            "/apis/apps/v1/namespaces/mesh/deployments": {"items": [istiod("--domain", "a.test")]},
            "/api/v1/namespaces/mesh/configmaps": {"items": [mesh]},
        }
    )
    with server.running(tmp_path) as kubeconfig:
        assert mesh_names([cluster(kubeconfig)]) == MeshNames("mesh", "policies", "a.test")
    assert server.changes == []
