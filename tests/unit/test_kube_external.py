"""What clients do in existing clusters: through proxies, and without permission."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from fake_api_server import FakeApiServer
from kube_client import PODS_PATH, client_of, pod

from mesh_fixtures.contract import Cluster
from mesh_fixtures.errors import NotPermitted, ProbeError
from mesh_fixtures.kube import KubeClient
from mesh_fixtures.kube.resources import PODS, SECRETS


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
