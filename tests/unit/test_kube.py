from __future__ import annotations

import base64
from pathlib import Path

import pytest
from fake_api_server import FakeApiServer
from kube_client import PODS_PATH, client_of, cluster, pod

from mesh_fixtures.errors import ProbeError
from mesh_fixtures.kube import Container, KubeClient, KubeNode, ServicePort, resources, transport
from mesh_fixtures.kube.resources import (
    DEPLOYMENTS,
    ENDPOINT_SLICES,
    NODES,
    PODS,
    SECRETS,
    SERVICES,
)
from mesh_fixtures.parallel import parallel_map
from mesh_fixtures.retries import Retry, reporting_to


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transport, "PAUSE_SECONDS", 0.01)


def test_lists_by_name_with_the_selector(tmp_path: Path) -> None:
    server = FakeApiServer({PODS_PATH: {"items": [pod("b"), pod("a")]}})
    with client_of(server, tmp_path) as kube:
        assert [each.name for each in kube.list(PODS, "sample", "app=sleep")] == ["a", "b"]
    assert server.asked == [(PODS_PATH, {"labelSelector": ["app=sleep"]})]


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        (resources.NAMESPACES.path(), "/api/v1/namespaces"),
        (resources.NAMESPACES.path("", "s"), "/api/v1/namespaces/s"),
        (PODS.path(), "/api/v1/pods"),
        (PODS.path("s", "x", "log"), "/api/v1/namespaces/s/pods/x/log"),
        (DEPLOYMENTS.path("s", "x", "scale"), "/apis/apps/v1/namespaces/s/deployments/x/scale"),
        (
            resources.ENVOY_FILTERS.path("s"),
            "/apis/networking.istio.io/v1alpha3/namespaces/s/envoyfilters",
        ),
        (
            resources.MUTATING_WEBHOOKS.path("s"),
            "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations",
        ),
    ],
)
def test_where_objects_are(path: str, expected: str) -> None:
    assert path == expected


def test_lists_of_all_namespaces_are_by_namespace_first(tmp_path: Path) -> None:
    there = [pod(name, namespace=where) for name, where in (("a", "t"), ("b", "s"), ("a", "s"))]
    with client_of(FakeApiServer({"/api/v1/pods": {"items": there}}), tmp_path) as kube:
        assert [str(each.meta) for each in kube.list(PODS)] == ["s/a", "s/b", "t/a"]


def test_one_that_is_not_there_is_none(tmp_path: Path) -> None:
    with client_of(FakeApiServer(), tmp_path) as kube:
        assert kube.get(SECRETS, "istio-system", "cacerts") is None
        assert kube.get(SERVICES, "sample", "helloworld") is None


def test_secrets_are_decoded_and_not_shown(tmp_path: Path) -> None:
    secret = {
        "metadata": {"name": "cacerts", "namespace": "istio-system"},
        "data": {"ca-key.pem": base64.b64encode(b"private").decode(), "odd": "%"},
    }
    server = FakeApiServer({"/api/v1/namespaces/istio-system/secrets/cacerts": secret})
    with client_of(server, tmp_path) as kube:
        seen = kube.get(SECRETS, "istio-system", "cacerts")
    assert seen is not None
    assert seen.data == {"ca-key.pem": b"private", "odd": b""}
    assert "private" not in repr(seen)


def test_other_objects(tmp_path: Path) -> None:
    meta = {"name": "x", "namespace": "s"}
    discovery = {"name": "discovery", "image": "pilot", "env": [{"name": "A", "value": "1"}]}
    template = {"spec": {"containers": [discovery]}}
    server = FakeApiServer(
        {
            "/apis/apps/v1/namespaces/s/deployments": {
                "items": [{"metadata": meta, "spec": {"replicas": 2, "template": template}}]
            },
            "/api/v1/namespaces/s/services": {
                "items": [
                    {
                        "metadata": meta,
                        "spec": {"type": "LoadBalancer", "ports": [{"port": 80}]},
                        "status": {"loadBalancer": {"ingress": [{"ip": "10.0.0.9"}]}},
                    },
                    {
                        "metadata": meta,
                        "spec": {"type": "ExternalName", "externalName": "gw.example"},
                    },
                ]
            },
            "/api/v1/nodes": {
                "items": [
                    {
                        "metadata": {
                            "name": "n",
                            "labels": {
                                "topology.kubernetes.io/region": "r1",
                                "topology.kubernetes.io/zone": "z1",
                            },
                        },
                        "spec": {"podCIDR": "10.1.0.0/24", "podCIDRs": ["10.1.0.0/24"]},
                        "status": {"conditions": [{"type": "Ready", "status": "True"}]},
                    }
                ]
            },
            "/apis/discovery.k8s.io/v1/namespaces/s/endpointslices": {
                "items": [
                    {
                        "metadata": meta,
                        "endpoints": [
                            {"addresses": ["10.0.0.9"]},
                            {"addresses": ["10.0.0.8"], "conditions": {"ready": False}},
                        ],
                    }
                ]
            },
        }
    )
    with client_of(server, tmp_path) as kube:
        (node,) = kube.list(NODES)
        (deployment,) = kube.list(DEPLOYMENTS, "s")
        balanced, named = kube.list(SERVICES, "s")
        (slices,) = kube.list(ENDPOINT_SLICES, "s", "kubernetes.io/service-name=x")
    assert (deployment.wanted, deployment.ready) == (2, 0)
    assert deployment.container("discovery") == Container("discovery", "pilot", {"A": "1"})
    assert node == KubeNode("n", "r1", "z1", ready=True, pod_ranges=("10.1.0.0/24",))
    assert (balanced.external, balanced.ports) == (("10.0.0.9",), (ServicePort(80, "", ""),))
    assert named.external == ("gw.example",)
    assert slices.addresses == ("10.0.0.9",)


def test_a_native_sidecar_counts_as_a_container(tmp_path: Path) -> None:
    native = pod("a")
    native["spec"] = {
        "initContainers": [
            {"name": "istio-init"},
            {
                "name": "istio-proxy",
                "restartPolicy": "Always",
                "env": [{"name": "A", "value": "1"}, {"name": "B", "valueFrom": {}}],
            },
        ],
        "containers": [{"name": "sleep"}],
    }
    native["status"]["containerStatuses"] = [{"name": "sleep", "ready": True}]
    native["status"]["initContainerStatuses"] = [
        {"name": "istio-init", "ready": True},
        {"name": "istio-proxy", "ready": True, "restartCount": 3},
    ]
    with client_of(FakeApiServer({PODS_PATH: {"items": [native]}}), tmp_path) as kube:
        seen = kube.pod_of("sample", "app=sleep")
    proxy = seen.container("istio-proxy")
    assert proxy is not None
    assert (proxy.ready, proxy.restarts, proxy.env) == (True, 3, {"A": "1"})
    assert seen.state == "2/2 Running"


def test_the_pod_of_a_selector_is_one_that_serves(tmp_path: Path) -> None:
    pods = [
        pod("a", deletionTimestamp="2026-11-22T10:00:00Z"),
        pod("b", ready=False),
        pod("c"),
    ]
    server = FakeApiServer({PODS_PATH: {"items": pods}})
    with client_of(server, tmp_path) as kube:
        assert kube.pod_of("sample", "app=sleep").name == "c"
        server.answers[PODS_PATH]["items"].pop()
        with pytest.raises(ProbeError, match="seen: a 2/2 Terminating, b 1/2 Running"):
            kube.pod_of("sample", "app=sleep")


def test_a_read_is_tried_again_while_the_server_restarts(tmp_path: Path) -> None:
    server = FakeApiServer({PODS_PATH: {"items": []}}, refusals=[503, 429])
    retries: list[Retry] = []
    with client_of(server, tmp_path) as kube, reporting_to(retries.append):
        assert kube.list(PODS, "sample") == ()
    assert len(server.asked) == 3
    assert retries == [
        Retry("cluster1", "pods sample", f"{status}: refused with {status}")
        for status in (503, 429)
    ]


def test_tries_are_bounded(tmp_path: Path) -> None:
    server = FakeApiServer(refusals=[503] * 10)
    with client_of(server, tmp_path) as kube, pytest.raises(ProbeError, match="503: refused"):
        kube.list(PODS, "sample")
    assert len(server.asked) == transport.ATTEMPTS


def test_a_refusal_is_not_tried_again(tmp_path: Path) -> None:
    server = FakeApiServer(refusals=[403])
    with client_of(server, tmp_path) as kube, pytest.raises(ProbeError) as raised:
        kube.list(PODS, "sample", "app=sleep")
    assert len(server.asked) == 1
    assert raised.value.seen == "403: refused with 403"
    assert raised.value.where == "cluster1 pods sample"
    assert "kubectl --context=cluster1 get pods -n sample -l app=sleep" in raised.value.wanted


def test_the_library_below_writes_nothing_of_its_own(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """It warns of each try, and of each connection beyond those that it keeps."""
    server = FakeApiServer({PODS_PATH: {"items": []}}, refusals=[503, 503], silent=0.05)
    with client_of(server, tmp_path) as kube:
        parallel_map(lambda _: kube.list(PODS, "sample"), range(24))
    assert len(server.asked) == 26
    with client_of(FakeApiServer(), tmp_path) as gone:
        pass
    with pytest.raises(ProbeError):
        gone.list(PODS, "sample")
    assert not [each for each in caplog.records if each.name.startswith("urllib3")]


def test_nobody_listens(tmp_path: Path) -> None:
    with FakeApiServer().running(tmp_path) as kubeconfig:
        pass
    with KubeClient(cluster(kubeconfig)) as kube:
        with pytest.raises(ProbeError, match="refused"):
            kube.list(PODS, "sample")
        with pytest.raises(ProbeError, match="refused"):
            kube.exec("sample", "sleep-1", "sleep", ["true"])


@pytest.mark.parametrize("content", ["", "{", "contexts: []"])
def test_a_kubeconfig_that_cannot_be_used(tmp_path: Path, content: str) -> None:
    file = tmp_path / "kubeconfig"
    file.write_text(content, encoding="utf-8")
    with pytest.raises(ProbeError, match="cluster1"):
        KubeClient(cluster(file))
    with pytest.raises(ProbeError, match="nowhere"):
        KubeClient(cluster(tmp_path / "nowhere"))
