"""What a run needs is asked before anything is made."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import yaml
from fake_api_server import ERROR, STDOUT, FakeApiServer

from mesh_fixtures.contract import Problem
from mesh_fixtures.kube.admission import Selector
from mesh_fixtures.lab.kubeconfig import needs
from mesh_fixtures.lab.kubeconfig.needs import ClusterNeeds, selectors_of, unselected
from mesh_fixtures.lab.kubeconfig.overrides import PodOverrides, PullSecret, SampleOptions
from mesh_fixtures.lab.kubeconfig.reference import Reference
from mesh_fixtures.probe.mesh_configuration import configurations_in

WEBHOOKS = "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations"
CONFIG_MAPS = "/api/v1/namespaces/istio-system/configmaps"
NAMESPACES = "/api/v1/namespaces"
LABELS = {"istio-injection": "enabled"}


def injecting(namespace: str = "istio-system", revision: str = "default") -> dict[str, Any]:
    by_revision = {"istio.io/rev": revision}
    return {
        "metadata": {"name": "x", "labels": by_revision},
        "webhooks": [
            {
                "name": "namespace.sidecar-injector.istio.io",
                "clientConfig": {
                    "service": {"name": "istiod", "namespace": namespace, "path": "/inject"}
                },
                "namespaceSelector": {
                    "matchLabels": LABELS if revision == "default" else by_revision
                },
            }
        ],
    }


def mesh(*selectors: dict[str, Any], name: str = "istio") -> dict[str, Any]:
    content = yaml.safe_dump({"discoverySelectors": list(selectors)})
    return {"metadata": {"name": name, "namespace": "istio-system"}, "data": {"mesh": content}}


def cluster(*selectors: dict[str, Any]) -> FakeApiServer:
    return FakeApiServer(
        {WEBHOOKS: {"items": [injecting()]}, CONFIG_MAPS: {"items": [mesh(*selectors)]}}
    )


def istiod_pod() -> dict[str, Any]:
    return {
        "metadata": {"name": "istiod-1", "namespace": "istio-system"},
        "spec": {"containers": []},
        "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]},
    }


@pytest.fixture
def servers(tmp_path: Path) -> Iterator[dict[str, FakeApiServer]]:
    """Two clusters without problems; their kubeconfigs are in folders of their names."""
    with ExitStack() as stack:
        found = {name: cluster() for name in ("one", "two")}
        for name, server in found.items():
            (tmp_path / name).mkdir()
            stack.enter_context(server.running(tmp_path / name))
        yield found


def problems(
    folder: Path,
    options: SampleOptions = SampleOptions(),  # noqa: B008
    system_namespace: str = "",
) -> list[Problem]:
    references = [
        Reference(name, (folder / name / "kubeconfig",), "cluster1") for name in ("one", "two")
    ]
    return list(needs.problems(references, options, system_namespace))


def test_nothing_is_missing_and_nothing_is_made(
    servers: dict[str, FakeApiServer], tmp_path: Path
) -> None:
    assert problems(tmp_path) == []
    for server in servers.values():
        assert server.changes == []
        ((path, namespace),) = server.tried
        assert path == NAMESPACES
        assert namespace["metadata"]["labels"]["istio-injection"] == "enabled"


def test_a_namespace_that_is_not_selected(
    servers: dict[str, FakeApiServer], tmp_path: Path
) -> None:
    servers["two"].answers[CONFIG_MAPS] = {
        "items": [mesh({"matchLabels": {"istio-discovery": "enabled"}})]
    }
    (found,) = problems(tmp_path)
    assert found.missing == (
        "the run's namespace in one, two selected by the discoverySelectors of the mesh "
        "configuration of two"
    )
    assert found.seen == "istio-discovery=enabled"
    assert found.remedy == "--mesh-namespace-label istio-discovery=enabled"
    options = SampleOptions(labels={"istio-discovery": "enabled"})
    assert problems(tmp_path, options) == []


@pytest.mark.parametrize(
    ("answer", "missing"),
    [
        ("404 page not found\n", ["an answer of istiod's /debug/clusterz"]),
        ("[]", []),
        ("", []),
    ],
)
def test_an_istiod_without_a_debug_interface(
    servers: dict[str, FakeApiServer], tmp_path: Path, answer: str, missing: list[str]
) -> None:
    two = servers["two"]
    two.answers["/api/v1/namespaces/istio-system/pods"] = {"items": [istiod_pod()]}
    succeeded = json.dumps({"status": "Success"}).encode()
    two.frames = [(STDOUT, answer.encode()), (ERROR, succeeded)] if answer else []
    found = problems(tmp_path)
    assert [each.missing.partition(" (two ")[0] for each in found] == missing
    assert all("ENABLE_DEBUG_ON_HTTP=false" in each.remedy for each in found)


@pytest.mark.parametrize(
    ("answer", "wanted"),
    [
        ('{"discoverySelectors": [{"matchLabels": {"team": "mesh"}}]}', "team=mesh"),
        ('{"trustDomain": "cluster.local"}', None),
        ("[]", "by-config-map=yes"),
    ],
)
def test_what_istiod_says_of_its_configuration_counts_wherever_it_has_it_from(
    servers: dict[str, FakeApiServer], tmp_path: Path, answer: str, wanted: str | None
) -> None:
    two = servers["two"]
    two.answers[CONFIG_MAPS] = {"items": [mesh({"matchLabels": {"by-config-map": "yes"}})]}
    two.answers["/api/v1/namespaces/istio-system/pods"] = {"items": [istiod_pod()]}
    succeeded = json.dumps({"status": "Success"}).encode()
    two.frames = [(STDOUT, answer.encode()), (ERROR, succeeded)]
    remedies = [each.remedy for each in problems(tmp_path)]
    assert remedies == ([f"--mesh-namespace-label {wanted}"] if wanted else [])


def test_a_control_plane_elsewhere(servers: dict[str, FakeApiServer], tmp_path: Path) -> None:
    servers["one"].answers[WEBHOOKS] = {"items": [injecting("mesh-system")]}
    (found,) = problems(tmp_path)
    assert found.seen == "one: mesh-system; two: istio-system"
    assert "in one namespace" in found.remedy
    servers["two"].answers[WEBHOOKS] = {"items": [injecting("mesh-system")]}
    assert problems(tmp_path) == []
    (found,) = problems(tmp_path, system_namespace="istio-system")
    assert found.seen == "one: mesh-system; two: mesh-system"


def test_of_several_control_planes_one_is_chosen(
    servers: dict[str, FakeApiServer], tmp_path: Path
) -> None:
    for server in servers.values():
        server.answers[WEBHOOKS] = {"items": [injecting("blue"), injecting("green")]}
    (found,) = problems(tmp_path)
    assert found.seen == "istiods in the namespaces blue, green"
    assert "--mesh-system-namespace" in found.remedy
    assert problems(tmp_path, system_namespace="green") == []
    servers["two"].answers[WEBHOOKS] = {"items": [injecting("green")]}
    assert problems(tmp_path) == []
    (found,) = problems(tmp_path, system_namespace="blue")
    assert found.seen == "one: blue, green; two: green"
    assert all(server.changes == [] for server in servers.values())


def test_the_injector_of_another_mesh_does_not_count(
    servers: dict[str, FakeApiServer], tmp_path: Path
) -> None:
    own = injecting("mesh-b", "mesh-b")
    configuration = mesh(SELECTED, name="istio-mesh-b")
    for server in servers.values():
        server.answers[WEBHOOKS] = {"items": [injecting("istio-system"), own]}
        elsewhere = CONFIG_MAPS.replace("istio-system", "mesh-b")
        server.answers[elsewhere] = {"items": [configuration]}
    remedies = {each.remedy for each in problems(tmp_path, system_namespace="mesh-b")}
    assert remedies == {"--mesh-namespace-label mesh=yes"}
    options = SampleOptions(labels={"mesh": "yes"})
    assert problems(tmp_path, options, "mesh-b") == []
    for server in servers.values():
        assert server.tried[-1][1]["metadata"]["labels"]["istio.io/rev"] == "mesh-b"


def test_what_is_asked_of_a_control_plane_is_asked_where_it_is(
    servers: dict[str, FakeApiServer], tmp_path: Path
) -> None:
    elsewhere = CONFIG_MAPS.replace("istio-system", "mesh-system")
    for server in servers.values():
        server.answers[WEBHOOKS] = {"items": [injecting("mesh-system")]}
        server.answers[elsewhere] = {"items": [mesh(SELECTED)]}
    assert {each.remedy for each in problems(tmp_path)} == {"--mesh-namespace-label mesh=yes"}
    servers["one"].reviews = lambda each: each.get("namespace") != "mesh-system"
    denied = [each for each in problems(tmp_path) if "permission" in each.missing]
    assert all("in mesh-system" in each.missing for each in denied)
    assert all("rbac --system-namespace mesh-system" in each.remedy for each in denied)
    assert denied


def test_who_may_not_look_for_the_control_plane_is_told_what_is_missing(
    servers: dict[str, FakeApiServer], tmp_path: Path
) -> None:
    servers["one"].refusals = [403, 403]
    servers["one"].reviews = lambda each: each["resource"] != "services" or "namespace" in each
    (found,) = problems(tmp_path)
    assert found.missing == "permission in one to list services"


def test_a_namespace_that_is_not_admitted(
    servers: dict[str, FakeApiServer], tmp_path: Path
) -> None:
    def admits(path: str, item: Any) -> tuple[int, str] | None:
        if "team" in item["metadata"]["labels"]:
            return None
        return 422, (
            "namespaces \"x\" is forbidden: ValidatingAdmissionPolicy 'owners' with binding 'b' "
            "denied request: a team is wanted"
        )

    servers["one"].admits = admits
    (found,) = problems(tmp_path)
    assert "a team is wanted" in found.seen
    assert "ValidatingAdmissionPolicy owners" in found.remedy
    assert "--mesh-namespace-label" in found.remedy
    assert problems(tmp_path, SampleOptions(labels={"team": "mesh"})) == []


def test_a_label_that_keeps_the_injector_away(
    servers: dict[str, FakeApiServer], tmp_path: Path
) -> None:
    options = SampleOptions(labels={"istio-injection": "disabled"})
    found = problems(tmp_path, options)
    assert [each.missing for each in found] == [
        f"the run's namespace in {name} selected by a webhook that injects" for name in servers
    ]


def test_a_revision_that_is_not_there(servers: dict[str, FakeApiServer], tmp_path: Path) -> None:
    found = problems(tmp_path, SampleOptions(revision="canary"))
    assert len(found) == len(servers)
    assert all("--mesh-revision" in each.remedy for each in found)


def test_a_secret_to_pull_by(servers: dict[str, FakeApiServer], tmp_path: Path) -> None:
    options = SampleOptions(pods=PodOverrides(pull_secrets=[PullSecret("ours", "team-a")]))
    path = "/api/v1/namespaces/team-a/secrets/ours"
    servers["two"].answers[path] = {"metadata": {"name": "ours"}, "data": {}}
    (found,) = problems(tmp_path, options)
    assert found.missing == "the secret ours (one, namespace team-a) to pull images by"
    servers["two"].reviews = lambda each: each["resource"] != "secrets" or "cacerts" in str(each)
    *_, found = problems(tmp_path, options)
    assert found.missing == "permission in two to copy the secret ours"
    assert "kubectl auth can-i get secrets/ours -n team-a" in found.seen


def test_an_api_server_that_hangs_is_told_soon(
    servers: dict[str, FakeApiServer], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(needs, "ANSWER_SECONDS", 2.0)  # `one` answers by then on a busy machine
    servers["two"].silent = 4.0
    begun = time.monotonic()
    (found,) = problems(tmp_path)
    assert time.monotonic() - begun < 3 * servers["two"].silent
    assert found.missing == "an API server of two that answers"
    assert "timed out" in found.seen


def test_who_may_less_is_told_what(servers: dict[str, FakeApiServer], tmp_path: Path) -> None:
    servers["one"].reviews = lambda each: each["resource"] != "deployments"
    found = problems(tmp_path)
    assert {each.missing for each in found} == {
        "permission in one to create deployments, list deployments in its own namespace",
        "permission in one to list deployments in istio-system",
    }
    assert servers["one"].tried == []


SELECTED = {"matchLabels": {"mesh": "yes"}}


@pytest.mark.parametrize(
    ("selectors", "labels", "label"),
    [
        ([], {}, None),
        ([SELECTED], {"mesh": "yes"}, None),
        ([{"matchLabels": {"other": "x"}}, SELECTED], {"mesh": "yes"}, None),
        ([SELECTED], {}, "mesh=yes"),
        (
            [{"matchExpressions": [{"key": "env", "operator": "In", "values": ["a", "b"]}]}],
            {},
            "env=a",
        ),
        ([{"matchExpressions": [{"key": "env", "operator": "Exists"}]}], {}, "env=true"),
        (
            [{"matchExpressions": [{"key": "env", "operator": "DoesNotExist"}]}],
            {"env": "a"},
            "KEY=VALUE",
        ),
    ],
)
def test_which_label_would_do(
    selectors: list[dict[str, Any]], labels: dict[str, str], label: str | None
) -> None:
    seen = {"one": ClusterNeeds(labels=labels, selectors=tuple(map(Selector.read, selectors)))}
    remedies = [each.remedy for each in unselected(seen)]
    assert remedies == ([] if label is None else [f"--mesh-namespace-label {label}"])


def test_where_no_namespace_would_be_made_none_is_unselected() -> None:
    seen = {"one": ClusterNeeds(labels=None, selectors=(Selector.read(SELECTED),))}
    assert list(unselected(seen)) == []


@pytest.mark.parametrize(("revision", "count"), [("", 0), ("default", 0), ("canary", 1), ("x", 0)])
def test_the_revisions_own_configuration_counts(revision: str, count: int) -> None:
    from mesh_fixtures.kube import ConfigMap

    maps = [mesh(), mesh(SELECTED, name="istio-canary"), mesh(SELECTED, name="istio-other")]
    assert len(selectors_of([*configurations_in(map(ConfigMap.read, maps))], revision)) == count


@pytest.mark.parametrize("text", ["", "a: [", "[]", "discoverySelectors: null"])
def test_a_configuration_that_says_nothing(text: str) -> None:
    from mesh_fixtures.kube import ConfigMap, Meta

    assert selectors_of([*configurations_in([ConfigMap(Meta("istio"), {"mesh": text})])]) == ()


def test_a_namespace_of_a_given_name(servers: dict[str, FakeApiServer], tmp_path: Path) -> None:
    assert problems(tmp_path, SampleOptions(namespace="mesh-check")) == []
    for server in servers.values():
        ((_, tried),) = server.tried
        assert tried["metadata"]["name"] == "mesh-check"


@pytest.mark.parametrize(
    ("labels", "missing"),
    [
        ({"mesh-conformance/lab": "mesh-1"}, []),
        ({}, ["a name of which there is no namespace, which the run makes and removes (one)"]),
    ],
)
def test_a_namespace_that_is_there_already(
    servers: dict[str, FakeApiServer], tmp_path: Path, labels: dict[str, str], missing: list[str]
) -> None:
    own = {**labels, "istio-injection": "enabled"}
    servers["one"].answers[f"{NAMESPACES}/mesh-check"] = {
        "metadata": {"name": "mesh-check", "labels": own}
    }
    found = problems(tmp_path, SampleOptions(namespace="mesh-check"))
    assert [each.missing for each in found] == missing
    assert all(
        each.remedy.startswith("choose another name by --mesh-namespace; or") for each in found
    )


PROVIDED = {"mesh-conformance/provided": "true"}
SHOP = SampleOptions(namespace="shop")


def provide(servers: dict[str, FakeApiServer], **labels: str) -> None:
    for server in servers.values():
        named = {"name": "shop", "labels": {**PROVIDED, **labels}}
        server.answers[f"{NAMESPACES}/shop"] = {"metadata": named}


INJECTED = {"istio-injection": "enabled"}


def test_a_provided_namespace_is_taken_as_it_is(
    servers: dict[str, FakeApiServer], tmp_path: Path
) -> None:
    provide(servers, **INJECTED)
    assert problems(tmp_path, SHOP) == []
    assert [server.tried for server in servers.values()] == [[], []]
    found = problems(tmp_path, SampleOptions(namespace="shop", labels={"team": "mesh"}))
    assert {each.seen for each in found} == {"--mesh-namespace-label"}
    secret = PodOverrides(pull_secrets=(PullSecret("pull", "tools"),))
    found = problems(tmp_path, SampleOptions(namespace="shop", pods=secret))
    assert {each.missing for each in found} == {"the secret pull in the provided namespace shop"}


def test_a_provided_namespace_that_is_not_injected(
    servers: dict[str, FakeApiServer], tmp_path: Path
) -> None:
    provide(servers)
    found = problems(tmp_path, SHOP)
    assert [each.missing for each in found] == [
        f"the provided namespace shop in {name} selected by a webhook that injects"
        for name in servers
    ]
    assert all("istio-injection=enabled" in each.remedy for each in found)


def test_a_namespace_that_nobody_provides(
    servers: dict[str, FakeApiServer], tmp_path: Path
) -> None:
    for server in servers.values():
        server.answers[f"{NAMESPACES}/shop"] = {"metadata": {"name": "shop"}}
    found = problems(tmp_path, SHOP)
    assert [each.seen for each in found] == ["there is a namespace shop"] * 2
    assert all(each.remedy.endswith("shop mesh-conformance/provided=true") for each in found)


def test_permissions_for_a_provided_namespace(
    servers: dict[str, FakeApiServer], tmp_path: Path
) -> None:
    provide(servers, **INJECTED)
    servers["one"].reviews = lambda asked: (
        asked["resource"] != "namespaces" or asked["verb"] == "get"
    )
    servers["two"].reviews = lambda asked: asked["verb"] != "delete"
    found = problems(tmp_path, SHOP)
    assert all(" delete " in each.missing and "in two" in each.missing for each in found)
    assert found
    assert all(each.remedy.startswith("mesh-conformance rbac --namespace shop ") for each in found)
