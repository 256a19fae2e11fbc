"""What clients do in clusters of somebody else's: through proxies, and without permission."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from fake_api_server import FakeApiServer
from kube_client import PODS_PATH, client_of, pod

from mesh_fixtures.contract import Cluster
from mesh_fixtures.errors import NotPermitted, ProbeError
from mesh_fixtures.kube import KubeClient
from mesh_fixtures.kube.resources import PODS, SECRETS
from mesh_fixtures.probe.gateways import resolved


def test_a_proxy_of_the_kubeconfig_is_used_and_one_of_the_environment_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    server = FakeApiServer({PODS_PATH: {"items": [pod("a")]}})
    with server.running(tmp_path) as kubeconfig:
        content = yaml.safe_load(kubeconfig.read_text())
        cluster = Cluster("cluster1", network="", kubeconfig=kubeconfig)
        with KubeClient(cluster) as kube:
            assert len(kube.list(PODS, "sample")) == 1
        reached = content["clusters"][0]["cluster"]
        reached |= {"proxy-url": reached["server"], "server": "http://api.invalid"}
        kubeconfig.write_text(yaml.safe_dump(content))
        with KubeClient(cluster) as kube:
            assert len(kube.list(PODS, "sample")) == 1


def test_what_is_not_permitted_is_told_apart(tmp_path: Path) -> None:
    server = FakeApiServer(refusals=[403, 403, 401, 403])
    with client_of(server, tmp_path) as kube:
        with pytest.raises(NotPermitted, match="mesh-conformance rbac"):
            kube.list(PODS, "sample")
        with pytest.raises(NotPermitted, match=r"permission to: kubectl .* exec sleep-1"):
            kube.exec("sample", "sleep-1", "sleep", ["true"])
        with pytest.raises(ProbeError, match="log in again") as raised:
            kube.get(SECRETS, "istio-system", "cacerts")
        assert not isinstance(raised.value, NotPermitted)


@pytest.mark.parametrize(
    ("found", "addresses"),
    [
        (["10.0.0.2", "10.0.0.1", "10.0.0.2"], ("10.0.0.1", "10.0.0.2")),
        (None, ("gateway.example",)),
    ],
)
def test_a_gateway_may_have_a_host_name(
    monkeypatch: pytest.MonkeyPatch, found: list[str] | None, addresses: tuple[str, ...]
) -> None:
    def look_up(name: str, *kinds: object) -> list[Any]:
        if found is None:
            raise OSError("no such name")
        return [(2, 1, 6, "", (each, 0)) for each in found]

    monkeypatch.setattr("socket.getaddrinfo", look_up)
    assert resolved("gateway.example") == addresses


def test_an_address_stands_for_itself() -> None:
    assert resolved("10.1.2.3") == ("10.1.2.3",)
