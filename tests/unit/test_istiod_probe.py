from __future__ import annotations

import json
from dataclasses import replace

import pytest
from fake_kube import FakeKube, Said, pod, result

from mesh_fixtures.errors import ProbeError
from mesh_fixtures.kube import Pod
from mesh_fixtures.probe.istiod import (
    DebugClosed,
    read_clusters,
    remote_clusters,
    require_debug,
    signing_until,
)
from mesh_fixtures.probe.mesh_configuration import mesh_configurations

ANSWER = json.dumps(
    [
        {
            "id": "cluster2",
            "secretName": "istio-system/istio-remote-secret-cluster2",
            "syncStatus": "syncing",
        },
        {"id": "cluster1", "secretName": "", "syncStatus": "synced"},
    ]
)


def test_reads_own_and_remote_clusters() -> None:
    known = read_clusters(result().source, "istiod-1", ANSWER + "\n")
    own, remote = known.clusters
    assert (own.id, own.secret, own.synced) == ("cluster1", "", True)
    assert (remote.id, remote.synced) == ("cluster2", False)
    assert remote.secret == "istio-system/istio-remote-secret-cluster2"
    assert remote.istiod == "istiod-1"
    assert str(known) == "cluster1 synced, cluster2 syncing"


@pytest.mark.parametrize("answer", ["", "404 page not found", '{"id": 1}', '[{"id": "a"}]', "[1]"])
def test_another_answer_is_a_probe_error(answer: str) -> None:
    with pytest.raises(ProbeError, match="remote-clusters"):
        read_clusters(result().source, "istiod-1", answer)


def test_asks_each_ready_istiod() -> None:
    ready = pod("istiod-1", "istio-system")
    kube = FakeKube(lambda argv: ANSWER, [ready, replace(ready, ready=False)])
    assert [each.istiod for each in remote_clusters(kube.as_client())] == ["istiod-1"]
    assert kube.asked == [("discovery", "pilot-discovery", "request", "GET", "/debug/clusterz")]


def test_an_istiod_that_refuses_is_a_probe_error() -> None:
    response: Said = (1, "", "Error: received unsuccessful status code 400")
    kube = FakeKube(lambda argv: response, [pod("istiod-1", "istio-system")])
    with pytest.raises(ProbeError, match="status code 400"):
        remote_clusters(kube.as_client())


@pytest.mark.parametrize(
    ("metrics", "until"),
    [
        ("citadel_server_cert_chain_expiry_timestamp 1.952553591e+09\n", 1952553591.0),
        ("# TYPE citadel_server_cert_chain_expiry_timestamp gauge\n", None),
    ],
)
def test_when_what_an_istiod_signs_with_ends(metrics: str, until: float | None) -> None:
    kube = FakeKube(lambda argv: f"go_goroutines 9\n{metrics}go_info 1\n", [])
    assert signing_until(kube.as_client(), pod("istiod-1", "istio-system")) == until
    assert kube.asked == [("discovery", "pilot-discovery", "request", "GET", "/metrics")]


@pytest.mark.parametrize("forwards", [True, False])
def test_an_istiod_that_does_not_answer_at_debug_is_told_what_closes_it(forwards: bool) -> None:
    missing = "404 page not found\n"
    response: Said = (404, missing, "") if forwards else (0, missing, "")
    kube = FakeKube(lambda asked: response, [pod("istiod-1", "istio-system")], forwards=forwards)
    with pytest.raises(ProbeError, match="404") as error:
        remote_clusters(kube.as_client())
    assert "ENABLE_DEBUG_ON_HTTP" in error.value.remedy
    with pytest.raises(DebugClosed):
        require_debug(kube.as_client())


@pytest.mark.parametrize("response", [(1, "", "refused"), (0, "no JSON", ""), ANSWER])
def test_an_istiod_that_may_have_a_debug_interface_is_left_to_requirements(response: Said) -> None:
    kube = FakeKube(lambda asked: response, [pod("istiod-1", "istio-system")])
    require_debug(kube.as_client())


def test_asks_the_port_of_istiod_where_ports_are_forwarded() -> None:
    kube = FakeKube(lambda asked: ANSWER, [pod("istiod-1", "istio-system")], forwards=True)
    (known,) = remote_clusters(kube.as_client())
    assert str(known) == "cluster1 synced, cluster2 syncing"
    assert kube.asked == [("15014", "/debug/clusterz")]


def test_a_port_that_refuses_is_a_probe_error() -> None:
    response: Said = (401, "who are you?", "")
    kube = FakeKube(lambda asked: response, [pod("istiod-1", "istio-system")], forwards=True)
    with pytest.raises(ProbeError, match=r"HTTP 401 who are you\?"):
        remote_clusters(kube.as_client())


def test_mesh_configurations_are_of_the_default_revision_first() -> None:
    def istiod(name: str, **labels: str) -> Pod:
        return pod(name, "istio-system", app="istiod", **labels)

    pods = [istiod("a", **{"istio.io/rev": "canary"}), istiod("b")]
    kube = FakeKube(lambda argv: 'warn\n{"trustDomain": "x"}', pods)
    found = mesh_configurations(kube.as_client())
    assert [each.revision for each in found] == ["default", "canary"]
    assert [each.content for each in found] == [{"trustDomain": "x"}] * 2


@pytest.mark.parametrize("answer", ["", "[]", "null", '"text"'])
def test_no_mesh_configuration_is_a_probe_error(answer: str) -> None:
    kube = FakeKube(lambda argv: answer, [pod("istiod-1", "istio-system", app="istiod")])
    with pytest.raises(ProbeError, match="/debug/mesh"):
        mesh_configurations(kube.as_client())
