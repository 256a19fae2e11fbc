"""Changes of what others made."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path

import pytest
from fake_api_server import STDOUT, FakeApiServer
from kube_client import client_of, cluster
from test_kube_exec import SUCCESS

from mesh_fixtures.errors import ProbeError
from mesh_fixtures.kube import KubeEditor, resources, transport
from mesh_fixtures.kube.credentials import token_request
from mesh_fixtures.kube.objects import encoded

DEPLOYMENT = "/apis/apps/v1/namespaces/s/deployments/x/scale"
SECRETS = "/api/v1/namespaces/s/secrets"


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transport, "PAUSE_SECONDS", 0.01)


@contextmanager
def editor_of(server: FakeApiServer, folder: Path) -> Iterator[KubeEditor]:
    with server.running(folder) as kubeconfig, KubeEditor(cluster(kubeconfig)) as editor:
        yield editor


def test_a_deployment_is_scaled(tmp_path: Path) -> None:
    server = FakeApiServer({DEPLOYMENT: {"spec": {"replicas": 1}}})
    with editor_of(server, tmp_path) as editor:
        editor.scale("s", "x", 0)
    assert server.changes == [("PATCH", DEPLOYMENT, {"spec": {"replicas": 0}})]


def test_a_change_is_made_again_while_the_server_restarts(tmp_path: Path) -> None:
    server = FakeApiServer({DEPLOYMENT: {}}, refusals=[503])
    with editor_of(server, tmp_path) as editor:
        editor.scale("s", "x", 2)
    assert len(server.changes) == 2


def test_what_is_not_there_cannot_be_changed(tmp_path: Path) -> None:
    with editor_of(FakeApiServer(), tmp_path) as editor:
        wanted = "kubectl --context=cluster1 -n s scale --replicas=1 deployment/x"
        with pytest.raises(ProbeError, match="404: not found") as raised:
            editor.scale("s", "x", 1)
    assert wanted in raised.value.wanted


def test_pods_end_with_their_own_grace_or_with_another(tmp_path: Path) -> None:
    pods = "/api/v1/namespaces/s/pods"
    server = FakeApiServer({f"{pods}/a": {}, f"{pods}/b": {}})
    with editor_of(server, tmp_path) as editor:
        editor.delete(resources.PODS, "s", "a")
        editor.delete(resources.PODS, "s", "b", grace_seconds=1)
        editor.delete(resources.PODS, "s", "gone")
    graces = [body.get("gracePeriodSeconds") for _, _, body in server.changes]
    assert graces == [None, 1, None]


def test_a_key_of_a_secret_is_set(tmp_path: Path) -> None:
    server = FakeApiServer({f"{SECRETS}/x": {}})
    with editor_of(server, tmp_path) as editor:
        editor.patch(resources.SECRETS, "s", "x", {"data": encoded({"cluster2": b"\xff access"})})
    ((_, path, body),) = server.changes
    assert path == f"{SECRETS}/x"
    assert base64.b64decode(body["data"]["cluster2"]) == b"\xff access"


def test_a_token_is_asked_for_and_withdrawn(tmp_path: Path) -> None:
    server = FakeApiServer()
    with editor_of(server, tmp_path) as editor:
        editor.create(token_request("s", "t", "reader"), "s")
        editor.delete(resources.SECRETS, "s", "t")
        editor.delete(resources.SECRETS, "s", "t")
    method, path, body = server.changes[0]
    assert (method, path) == ("POST", SECRETS)
    assert body["type"] == "kubernetes.io/service-account-token"
    assert body["metadata"]["annotations"] == {"kubernetes.io/service-account.name": "reader"}
    assert [change[:2] for change in server.changes[1:]] == [("DELETE", f"{SECRETS}/t")] * 2


def test_output_is_followed_while_it_comes(tmp_path: Path) -> None:
    server = FakeApiServer(frames=[(STDOUT, b"one"), (STDOUT, b" two"), SUCCESS])
    seen: list[bytes] = []
    with client_of(server, tmp_path) as kube:
        done = kube.exec("sample", "sleep-1", "sleep", ["true"], follow=seen.append)
    assert done.stdout == "one two"
    assert seen[-1] == b"one two"
    assert all(later.startswith(earlier) for earlier, later in pairwise(seen))
