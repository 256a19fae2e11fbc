"""Kubeconfig files of a run's own."""

from __future__ import annotations

import traceback
from pathlib import Path
from typing import Any

import pytest
import yaml
from fake_api_server import FakeApiServer
from kube_client import cluster

from mesh_fixtures.errors import MachineError
from mesh_fixtures.kube import KubeClient, connections
from mesh_fixtures.kube.resources import NAMESPACES
from mesh_fixtures.lab.kubeconfig import reference
from mesh_fixtures.lab.kubeconfig.reference import (
    Reference,
    clusters_of,
    kubeconfig_of,
    write_kubeconfigs,
)

Json = dict[str, Any]


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "no_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


def config(name: str, *, cluster: Json | None = None, user: Json | None = None) -> Json:
    return {
        "clusters": [{"name": name, "cluster": {"server": "https://api:6443", **(cluster or {})}}],
        "users": [{"name": name, "user": user or {"token": name}}],
        "contexts": [{"name": name, "context": {"cluster": name, "user": name}}],
        "current-context": name,
    }


def written(folder: Path, name: str, content: Json) -> Path:
    file = folder / name
    file.write_text(yaml.safe_dump(content))
    return file


def single(*files: Path, context: str = "") -> tuple[Json, Json]:
    """The one cluster and the one user."""
    found = kubeconfig_of(Reference("mine", files, context))
    (cluster,), (user,) = found["clusters"], found["users"]
    assert found["contexts"] == [{"name": "mine", "context": {"cluster": "mine", "user": "mine"}}]
    assert (cluster["name"], user["name"], found["current-context"]) == ("mine", "mine", "mine")
    return cluster["cluster"], user["user"]


def test_the_context_is_taken_that_is_asked_for_or_is_current(tmp_path: Path) -> None:
    both = config("a")
    other = config("b", user={"token": "of b"})
    for key in ("clusters", "users", "contexts"):
        both[key] += other[key]
    file = written(tmp_path, "kube", both)
    assert single(file)[1] == {"token": "a"}
    assert single(file, context="b")[1] == {"token": "of b"}


def test_files_are_found_from_wherever_the_copy_is(tmp_path: Path) -> None:
    plugin = {"command": "./login", "apiVersion": "client.authentication.k8s.io/v1"}
    user = {"client-certificate": "me.crt", "client-key": "/keys/me.key", "exec": plugin}
    cluster, seen = single(
        written(tmp_path, "kube", config("a", cluster={"certificate-authority": "ca"}, user=user))
    )
    assert cluster["certificate-authority"] == str(tmp_path / "ca")
    assert seen["client-certificate"] == str(tmp_path / "me.crt")
    assert seen["client-key"] == "/keys/me.key"
    assert seen["exec"]["command"] == str(tmp_path / "login")


def test_a_plugin_of_the_path_stays_its_name(tmp_path: Path) -> None:
    _, user = single(written(tmp_path, "kube", config("a", user={"exec": {"command": "aws"}})))
    assert user["exec"]["command"] == "aws"


def test_of_several_files_the_first_one_with_a_name_counts(tmp_path: Path) -> None:
    one = written(tmp_path, "one", config("a", user={"token": "first"}))
    two = written(tmp_path, "two", config("a", user={"token": "second"}))
    absent = tmp_path / "absent"
    assert single(absent, one, two)[1] == {"token": "first"}


@pytest.mark.parametrize(
    ("content", "seen"),
    [
        (None, "no such file"),
        ("token: [secret", "seen: line 1: expected"),
        ("contexts: [{}]", "something else"),
        ("clusters: text", "something else"),
        ("text", "something else"),
        ("contexts: []", "no context"),
        (yaml.safe_dump({**config("a"), "clusters": []}), "no cluster a"),
        (yaml.safe_dump({**config("a"), "current-context": "b"}), "seen: a"),
    ],
)
def test_what_cannot_be_used_is_said(tmp_path: Path, content: str | None, seen: str) -> None:
    file = tmp_path / "kube"
    if content is not None:
        file.write_text(content)
    with pytest.raises(MachineError, match=seen) as raised:
        kubeconfig_of(Reference("mine", (file,), ""))
    assert "secret" not in str(raised.value)
    assert str(file) in raised.value.where
    assert "mine=FILE@CONTEXT" in raised.value.remedy


@pytest.mark.parametrize(
    ("server", "environment", "proxy"),
    [
        ("https://api:6443", {}, None),
        ("https://api:6443", {"https_proxy": "http://p:1"}, "http://p:1"),
        ("http://api:8080", {"https_proxy": "http://p:1"}, None),
        ("https://api:6443", {"https_proxy": "http://p:1", "no_proxy": "api"}, None),
        ("https://10.1.2.3:6443", {"https_proxy": "http://p:1", "no_proxy": "10.0.0.0/8"}, None),
        ("https://127.0.0.1:6443", {"https_proxy": "http://p:1"}, None),
        ("https://localhost:6443", {"https_proxy": "http://p:1"}, None),
        ("https://api:6443", {"https_proxy": "u:p%2F@p:1"}, "http://u:p%2F@p:1"),
        ("https://api:6443", {"https_proxy": "socks5h://u:p%2F@p:1"}, "socks5://u:p%2F@p:1"),
    ],
)
def test_the_environments_proxy_is_the_kubeconfigs(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    server: str,
    environment: dict[str, str],
    proxy: str | None,
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    cluster, _ = single(written(tmp_path, "kube", config("a", cluster={"server": server})))
    assert cluster.get("proxy-url") == proxy


def test_a_proxy_of_the_kubeconfig_itself_wins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("https_proxy", "http://p:1")
    file = written(tmp_path, "kube", config("a", cluster={"proxy-url": "http://mine:2"}))
    assert single(file)[0]["proxy-url"] == "http://mine:2"


@pytest.mark.parametrize(
    ("url", "seen"),
    [
        ("proxy:3128", "without a scheme"),
        ("me:secret@proxy:3128", "without a scheme"),
        ("ftp://me:secret@proxy:3128", "the scheme ftp"),
        ("socks4://proxy", "the scheme socks4"),
        ("http://me:12/secret@proxy:3128", "reserved characters"),
        ("http://me:secret/1@proxy:3128", "reserved characters"),
        ("http://me:sec#secret@proxy:3128", "reserved characters"),
        ("http://me:secret@proxy:port", "reserved characters"),
        ("http://[proxy:3128", "without a host"),
        ("http://:3128", "without a host"),
    ],
)
def test_a_proxy_that_cannot_be_used_is_an_error_without_its_password(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, url: str, seen: str
) -> None:
    server = {"server": "https://api:6443"}
    unusable(written(tmp_path, "kube", config("a", cluster=server | {"proxy-url": url})), seen)
    if "://" in url:  # without, Go takes it for an HTTP proxy's in the environment
        monkeypatch.setenv("https_proxy", url)
        error = unusable(written(tmp_path, "kube", config("a", cluster=server)), seen)
        assert "HTTPS_PROXY" in error.where


def unusable(kubeconfig: Path, seen: str) -> MachineError:
    with pytest.raises(MachineError, match=seen) as raised:
        kubeconfig_of(Reference("mine", (kubeconfig,), ""))
    assert "secret" not in "".join(traceback.format_exception(raised.value))
    assert "percent-encoded" in raised.value.remedy
    return raised.value


def test_files_are_for_their_owner_alone_and_work(tmp_path: Path) -> None:
    server = FakeApiServer({"/api/v1/namespaces/x": {"metadata": {"name": "x", "uid": "7"}}})
    with server.running(tmp_path) as kubeconfig:
        references = [Reference(name, (kubeconfig,), "cluster1") for name in ("one", "two")]
        folder = tmp_path / "mine"
        folder.mkdir()
        files = write_kubeconfigs(references, folder)
        assert {file.stat().st_mode & 0o777 for file in folder.iterdir()} == {0o600}
        assert sorted(file.name for file in folder.iterdir()) == [
            "kubeconfig",
            "one.kubeconfig",
            "two.kubeconfig",
        ]
        together = yaml.safe_load((folder / "kubeconfig").read_text())
        assert [each["name"] for each in together["contexts"]] == ["one", "two"]
        with clusters_of(references) as clusters:
            temporary = clusters["two"].kubeconfig
            with KubeClient(clusters["two"]) as kube:
                there = kube.get(NAMESPACES, "", "x")
        assert there is not None
        assert there.uid == "7"
        assert not temporary.exists()
        assert files["one"] == folder / "one.kubeconfig"


@pytest.fixture
def service_account(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder as the kubelet mounts it, and the environment of a pod."""
    folder = tmp_path / "serviceaccount"
    folder.mkdir()
    (folder / "token").write_text("first")
    (folder / "ca.crt").write_text("certificate")
    monkeypatch.setattr(reference, "SERVICE_ACCOUNT", folder)
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.0.0.1")
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", "443")
    return folder


POD = Reference("mine", (), "")


@pytest.mark.parametrize(
    ("host", "server"), [("10.0.0.1", "https://10.0.0.1:443"), ("fd00::1", "https://[fd00::1]:443")]
)
def test_a_pods_own_service_account(
    service_account: Path, monkeypatch: pytest.MonkeyPatch, host: str, server: str
) -> None:
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", host)
    found = kubeconfig_of(POD)
    assert found["clusters"] == [
        {
            "name": "mine",
            "cluster": {
                "server": server,
                "certificate-authority": str(service_account / "ca.crt"),
            },
        }
    ]
    # never the token itself, which is replaced
    assert found["users"] == [
        {"name": "mine", "user": {"tokenFile": str(service_account / "token")}}
    ]


@pytest.mark.parametrize("variable", ["KUBERNETES_SERVICE_HOST", "KUBERNETES_SERVICE_PORT"])
def test_outside_of_a_pod(
    service_account: Path, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    monkeypatch.delenv(variable)
    with pytest.raises(MachineError, match=rf"{variable} not set(.|\n)*mine=FILE"):
        kubeconfig_of(POD)


@pytest.mark.parametrize("name", ["token", "ca.crt"])
@pytest.mark.parametrize("content", [None, "", " \n"])
def test_a_pod_without_a_service_account(
    service_account: Path, name: str, content: str | None
) -> None:
    file = service_account / name
    file.unlink() if content is None else file.write_text(content)
    said = "No such file" if content is None else "an empty file"
    with pytest.raises(MachineError, match=rf"{name}\n  seen: {said}(.|\n)*serviceAccountName"):
        kubeconfig_of(POD)


def test_a_file_that_this_user_may_not_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = written(tmp_path, "kube", config("a"))

    def refuse(self: Path, *arguments: Any, **more: Any) -> Any:  # as for a user who is not root
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(Path, "read_text", refuse)
    with pytest.raises(MachineError, match=r"Permission denied \(as user \d+\)(.|\n)*fsGroup"):
        kubeconfig_of(Reference("mine", (file,), ""))


def test_a_token_is_read_again_when_it_is_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = FakeApiServer({"/api/v1/namespaces/x": {"metadata": {"name": "x", "uid": "7"}}})
    token = tmp_path / "token"
    token.write_text("first\n")
    with server.running(tmp_path) as kubeconfig:
        content = yaml.safe_load(kubeconfig.read_text())
        content["users"][0]["user"] = {"tokenFile": "token"}
        kubeconfig.write_text(yaml.safe_dump(content))
        with KubeClient(cluster(kubeconfig)) as kube:
            kube.get(NAMESPACES, "", "x")
            token.write_text("second\n")
            kube.get(NAMESPACES, "", "x")
            monkeypatch.setattr(connections, "TOKEN_SECONDS", 0.0)
            kube.get(NAMESPACES, "", "x")
            token.unlink()
            kube.get(NAMESPACES, "", "x")
    assert server.tokens == ["first", "first", "second", "second"]
