"""Gathering of facts: what is read, what is made of it, and what becomes of what cannot be read."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import yaml
from fake_api_server import FakeApiServer
from fake_kube import FakeKube, result
from kube_client import client_of
from mesh_examples import SCENARIOS

from mesh_fixtures.contract import GUIDE_NAMES, EndedService, MeshNames
from mesh_fixtures.diagnosis import facts, gather
from mesh_fixtures.diagnosis.facts import ISTIOD_TLS
from mesh_fixtures.diagnosis.gather import programs
from mesh_fixtures.diagnosis.gather.batch import Batch, Query
from mesh_fixtures.diagnosis.gather.paths import Target, read_paths, usable
from mesh_fixtures.errors import ProbeError
from mesh_fixtures.install.certificates import write_certificates
from mesh_fixtures.probe.remote_secrets import (
    authorities_in,
    credentials_in,
    expiry_of,
    remote_secrets,
)
from mesh_fixtures.probe.view import MeshView

MULTI = SCENARIOS["multi-primary-multi-network"]
SECRETS = "/api/v1/namespaces/istio-system/secrets"
SLEEP = facts.Pod("sample", "sleep-1", {"app": "sleep"}, "10.1.0.9", "2/2 Running", True)


@dataclass
class OneCluster:
    """A lab of one cluster, as far as a view needs it."""

    scenario: Any
    sample_namespace: str = "sample"
    names: MeshNames = GUIDE_NAMES
    external: bool = False
    ended_services: Mapping[str, Sequence[EndedService]] = field(default_factory=dict)

    def network_state(self) -> Mapping[str, str]:
        return {}


@contextmanager
def view_of(server: FakeApiServer, folder: Path) -> Iterator[MeshView]:
    with client_of(server, folder) as kube:
        view = object.__new__(MeshView)
        view.lab = cast("Any", OneCluster(MULTI))
        view.kube = {"cluster1": kube}
        yield view


def raising(error: Exception) -> Any:
    def ask() -> None:
        raise error

    return ask


def unavailable() -> ProbeError:
    return ProbeError(wanted="x", seen="no answer", where="y")


@pytest.mark.parametrize(
    ("error", "why"),
    [
        (unavailable(), "no answer"),
        (KeyError("metadata"), "cannot be read: KeyError('metadata')"),
        (ValueError("no JSON"), "cannot be read"),
    ],
)
def test_a_query_without_an_answer_is_recorded_and_others_go_on(error: Exception, why: str) -> None:
    queries: dict[str, Query[Any]] = {
        "bad": Query("cluster1", "kubectl get x", raising(error)),
        "good": Query("cluster1", "kubectl get y", lambda: 7),
    }
    batch = Batch(5)
    assert batch.all(queries) == {"bad": None, "good": 7}
    (failed,) = batch.failed
    assert failed.source == "kubectl get x"
    assert why in failed.why


def test_an_answer_that_takes_too_long_is_not_waited_for() -> None:
    late = threading.Event()
    query = Query("cluster1", "kubectl get x", lambda: late.wait(10))
    batch = Batch(0.05)
    assert batch.all({"late": query}) == {"late": None}
    assert "within 0.05 s" in batch.failed[0].why
    late.set()


def test_a_mistake_in_a_query_is_not_taken_for_a_missing_answer() -> None:
    with pytest.raises(ZeroDivisionError):
        Batch(5).all({"wrong": Query("cluster1", "x", raising(ZeroDivisionError()))})


def test_a_cluster_that_holds_nothing_has_empty_facts(tmp_path: Path) -> None:
    with view_of(FakeApiServer(), tmp_path) as view:
        gathered = gather(view)
    cluster = gathered.clusters["cluster1"]
    assert gathered.unread == ()
    for part in ("namespaces", "pods", "services", "warnings", "configuration"):
        assert getattr(cluster, part) == ()
    assert cluster.authority == facts.Authority(present=False)
    assert cluster.client is None


def injecting(name: str, namespace: str, path: str) -> dict[str, Any]:
    service = {"name": name, "namespace": namespace, "path": path}
    return {
        "metadata": {"name": name},
        "webhooks": [{"name": name, "clientConfig": {"service": service}}],
    }


def test_injectors_are_those_of_the_mesh(tmp_path: Path) -> None:
    path = "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations"
    configurations = [
        injecting("istiod", "istio-system", "/inject"),
        injecting("istiod-openshift-gateway", "openshift-ingress", "/inject"),
        injecting("datadog", "monitoring", "/injectconfig"),
    ]
    with view_of(FakeApiServer({path: {"items": configurations}}), tmp_path) as view:
        webhooks = gather(view).clusters["cluster1"].webhooks or ()
    assert [each.meta.name for each in webhooks] == ["istiod"]


def test_parts_of_a_lab_are_its_pods_and_its_nodes_processes(tmp_path: Path) -> None:
    at = "2026-01-02T03:04:05Z"
    status = {
        "phase": "Running",
        "conditions": [{"type": "Ready", "status": "False"}],
        "containerStatuses": [
            {
                "name": "coredns",
                "restartCount": 2,
                "lastState": {"terminated": {"finishedAt": at}},
                "state": {"waiting": {"reason": "CrashLoopBackOff"}},
            }
        ],
    }
    pod = {
        "metadata": {"namespace": "kube-system", "name": "coredns-1"},
        "spec": {"containers": [{"name": "coredns"}]},
        "status": status,
    }
    server = FakeApiServer(answers={"/api/v1/namespaces/kube-system/pods": listed(pod)})
    with view_of(server, tmp_path) as view:
        ends = {"cluster1": [EndedService("node1", "kubelet", at, "status 1 after 9.0 s")]}
        view.lab = cast("Any", OneCluster(MULTI, ended_services=ends))
        found = gather(view).clusters["cluster1"]
        view.lab = cast("Any", OneCluster(MULTI, external=True))
        assert gather(view).clusters["cluster1"].parts is None
    assert found.parts == (
        facts.Part(
            "kube-system", "coredns-1", "0/1 Running", False, 2, at, "coredns: CrashLoopBackOff"
        ),
    )
    assert found.ended == (facts.Part("", "kubelet on node1", "status 1 after 9.0 s", True, 1, at),)


def test_pods_of_a_lab_that_cannot_be_read_stay_unknown(tmp_path: Path) -> None:
    with view_of(FakeApiServer(refusals=[403] * 100), tmp_path) as view:
        end = EndedService("node1", "kube-apiserver", "2026-01-02T03:04:05Z", "signal killed")
        view.lab = cast("Any", OneCluster(MULTI, ended_services={"cluster1": [end]}))
        found = gather(view).clusters["cluster1"]
    assert found.parts is None
    assert [each.name for each in found.ended] == ["kube-apiserver on node1"]


def test_what_an_api_server_refuses_is_unknown_and_not_absent(tmp_path: Path) -> None:
    with view_of(FakeApiServer(refusals=[403] * 100), tmp_path) as view:
        gathered = gather(view)
    cluster = gathered.clusters["cluster1"]
    for part in ("namespaces", "pods", "authority"):
        assert getattr(cluster, part) is None
    assert {each.cluster for each in gathered.unread} == {"cluster1"}
    assert any("get pods" in each.source for each in gathered.unread)


def listed(*items: Mapping[str, Any]) -> dict[str, Any]:
    return {"items": list(items)}


def test_objects_become_facts(tmp_path: Path) -> None:
    core, ns = "/api/v1", "/api/v1/namespaces/sample"
    about = {"kind": "Pod", "name": "sleep-1"}
    managed: dict[str, Any] = {"f:metadata": {"f:annotations": {}}}
    server = FakeApiServer(
        answers={
            f"{core}/namespaces/istio-system": {
                "metadata": {
                    "name": "istio-system",
                    "labels": {"topology.istio.io/network": "network1"},
                    "managedFields": [
                        {"time": "2026-01-02T00:00:00Z", "fieldsV1": managed},
                        {"time": "2026-01-03T00:00:00Z", "fieldsV1": {}},
                    ],
                }
            },
            f"{ns}/services": listed(
                {
                    "metadata": {"name": "helloworld", "namespace": "sample"},
                    "spec": {
                        "ports": [{"port": 5000}],
                        "selector": {"app": "helloworld"},
                    },
                }
            ),
            f"{ns}/events": listed(
                {
                    "metadata": {"name": "a"},
                    "type": "Normal",
                    "involvedObject": about,
                    "reason": "Pulled",
                },
                {
                    "metadata": {"name": "b"},
                    "type": "Warning",
                    "involvedObject": about,
                    "reason": "BackOff",
                    "message": "again",
                    "lastTimestamp": "2026-01-01T00:00:00Z",
                },
            ),
            "/apis/networking.istio.io/v1/gateways": listed(
                {
                    "metadata": {"name": "cross", "namespace": "istio-system"},
                    "spec": {"selector": {"istio": "eastwestgateway"}},
                }
            ),
        }
    )
    with view_of(server, tmp_path) as view:
        cluster = gather(view).clusters["cluster1"]
    namespace = cluster.namespace("istio-system")
    assert namespace is not None
    assert namespace.annotated == "2026-01-02T00:00:00Z"
    service = cluster.service("sample", "helloworld")
    assert service is not None
    assert service.ports == (facts.ServicePort(5000, "", ""),)
    assert [str(each) for each in cluster.warnings or ()] == ["Pod/sleep-1 BackOff: again"]
    assert [str(each) for each in cluster.configured("Gateway")] == ["Gateway istio-system/cross"]


def kubeconfig(server: str, authority: bytes, token: str = "a-token") -> str:
    data = base64.b64encode(authority).decode()
    content = {
        "clusters": [
            {"name": "c", "cluster": {"server": server, "certificate-authority-data": data}}
        ],
        "users": [{"name": "u", "user": {"token": token}}],
    }
    return yaml.safe_dump(content)


def secret(name: str, cluster: str, content: str, **labels: str) -> dict[str, Any]:
    return {
        "metadata": {"name": name, "labels": labels, "creationTimestamp": "2026-01-01T00:00:00Z"},
        "data": {cluster: base64.b64encode(content.encode()).decode()},
    }


@pytest.fixture(scope="module")
def authorities(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, bytes]:
    folder = tmp_path_factory.mktemp("certificates")
    write_certificates(MULTI, folder)
    return {
        name: (folder / "certs" / name / "ca-cert.pem").read_bytes()
        for name in ("cluster1", "cluster2")
    }


LABEL = {"istio/multiCluster": "true"}


def test_a_remote_secret_leads_where_its_authority_is_trusted(
    tmp_path: Path, authorities: Mapping[str, bytes]
) -> None:
    known = {
        name: authorities_in(kubeconfig("https://x", pem)) for name, pem in authorities.items()
    }
    answers = {
        SECRETS: listed(
            secret("any", "cluster2", kubeconfig("https://b", authorities["cluster2"]), **LABEL),
            secret("istio-remote-secret-x", "x", kubeconfig("https://a", authorities["cluster1"])),
            secret("other", "y", "no kubeconfig", **LABEL),
            secret("unrelated", "z", "password"),
        ),
        "/version": {},
    }
    with view_of(FakeApiServer(answers=answers), tmp_path) as view:
        found = remote_secrets(view.kube["cluster1"], view, known)
    assert [(each.name, each.leads_to, each.labelled, each.accepted) for each in found] == [
        ("any", "cluster2", True, None),  # its API server is not known here
        ("istio-remote-secret-x", "cluster1", False, True),
        ("other", "", True, None),
    ]


def test_api_servers_may_share_an_authority(
    tmp_path: Path, authorities: Mapping[str, bytes]
) -> None:
    shared = authorities_in(kubeconfig("https://x", authorities["cluster1"]))
    answers = {
        SECRETS: listed(
            *(
                secret(name, name, kubeconfig("https://vpc", authorities["cluster1"]), **LABEL)
                for name in ("cluster1", "cluster2", "unknown")
            )
        ),
        "/version": {},
    }
    with view_of(FakeApiServer(answers=answers), tmp_path) as view:
        known = dict.fromkeys(("cluster1", "cluster2"), shared)
        found = remote_secrets(view.kube["cluster1"], view, known)
    assert [(each.cluster, each.leads_to) for each in found] == [
        ("cluster1", "cluster1"),
        ("cluster2", "cluster2"),
        ("unknown", "cluster1"),
    ]


def test_istiods_say_by_which_secret_they_read_a_cluster() -> None:
    answer = [
        {"id": "cluster1", "syncStatus": "synced"},
        {"id": "cluster2", "syncStatus": "timeout", "secretName": "istio-system/any"},
    ]
    kube = FakeKube(lambda argv: json.dumps(answer))
    view = cast(
        "MeshView", SimpleNamespace(kube={"cluster1": kube}, lab=SimpleNamespace(names=GUIDE_NAMES))
    )
    istiod = facts.Pod("istio-system", "istiod-1", {"app": "istiod"}, "10.1.0.2", "1/1", True)
    clusters = {"cluster1": facts.ClusterFacts("cluster1", pods=(istiod,))}
    asked = programs.queries(view, clusters)
    key = ("istiod", "cluster1", "istiod-1", "clusters")
    (seen,) = (
        programs.with_answers(view, clusters, {key: asked[key].ask()})["cluster1"].istiods or ()
    )
    assert seen.clusters == {"cluster1": "synced", "cluster2": "timeout"}
    assert seen.secrets == {"cluster2": "istio-system/any"}
    (silent,) = programs.with_answers(view, clusters, {})["cluster1"].istiods or ()
    assert silent.clusters is None


@pytest.mark.parametrize(("refusals", "accepted"), [([], True), ([401], False), ([403], True)])
def test_a_token_is_accepted_by_who_knows_it(
    tmp_path: Path, refusals: list[int], accepted: bool
) -> None:
    server = FakeApiServer(answers={"/version": {}}, refusals=refusals)
    with client_of(server, tmp_path) as kube:
        assert kube.accepts("a-token") is accepted


def token(claims: str) -> str:
    encoded = base64.urlsafe_b64encode(claims.encode()).decode().rstrip("=")
    return f"e30.{encoded}.c2ln"


@pytest.mark.parametrize(
    ("given", "expires"),
    [
        (token('{"exp": 1795000000, "sub": "x"}'), 1795000000.0),
        (token('{"sub": "x"}'), None),
        (token("[1]"), None),
        (token("no JSON"), None),
        ("opaque", None),
        ("a.b.c", None),
        ("", None),
    ],
)
def test_a_token_says_when_it_expires(given: str, expires: float | None) -> None:
    assert expiry_of(given) == expires


def test_credentials_are_found_in_a_kubeconfig() -> None:
    assert list(credentials_in(kubeconfig("https://a", b"", "the-token"))) == ["the-token"]
    assert list(credentials_in("no: kubeconfig")) == []


def test_attempts_to_connect_are_counted_by_what_became_of_them() -> None:
    def line(curl_exit: int, seconds: float, port: int, number: int, message: str = "") -> str:
        url = f"http://10.0.0.1:{port}/healthz/ready#{number}"
        return f"{curl_exit} 0 {seconds:.6f} 0.000000 {url} {message}".rstrip()

    printed = "\n".join(
        (
            line(0, 0.001, 15021, 1),
            line(0, 1.02, 15021, 2),
            line(28, 0, 15021, 3, "Connection timed out after 3500 milliseconds"),
            line(52, 0.001, 15443, 1, "Empty reply from server"),
            "0 503 0.001000 0.000000 http://10.0.0.1:15443/healthz/ready#3",
            line(7, 0, 15443, 2, "Failed to connect"),
            "a line that is none",
        )
    )
    stderr = "* connect to 10.0.0.1 port 15443 from 10.1.0.9 port 1 failed: Connection refused\n"
    targets = tuple(
        Target("gateway", "cluster2", "10.0.0.1", port, 3) for port in (15021, 15443, 15012)
    )
    status, services = read_paths("cluster1", SLEEP, targets, result(printed, stderr))
    assert (status.attempts, status.open, status.slow, status.timed_out) == (3, 2, 1, 1)
    assert (services.attempts, services.open, services.refused) == (3, 2, 1)
    assert services.http_status == 503
    assert str(services).endswith("HTTP 503")
    assert services.message == "Connection refused"
    assert "curl" in services.source


def test_gateways_are_tried_at_addresses_of_the_clients_families() -> None:
    of_ipv4, of_ipv6, named = ("192.0.2.2", 15443), ("2001:db8::2", 15443), ("gw.example", 15443)
    ways = [of_ipv4, of_ipv6, named]
    assert usable(ways, {4}) == [of_ipv4, named]
    assert usable(ways, {6}) == [of_ipv6, named]
    assert usable(ways, {4, 6}) == usable(ways, ()) == ways
    assert usable([of_ipv6], {4}) == [of_ipv6]


@pytest.mark.parametrize(
    ("curl_exit", "connected", "agreed", "expected"),
    [
        (0, 0.001, 0.004, (1, 0, 0)),
        (92, 0.001, 0.004, (1, 0, 0)),
        (28, 0.001, 0.004, (1, 0, 0)),
        (35, 0.001, 0, (0, 1, 0)),
        (28, 0.001, 0, (0, 0, 1)),
        (28, 0, 0, (0, 0, 1)),
    ],
    ids=["answered", "reset after it", "silent after it", "ended", "hung", "not connected"],
)
def test_istiod_is_reached_where_it_agrees_on_tls(
    curl_exit: int, connected: float, agreed: float, expected: tuple[int, int, int]
) -> None:
    host = "istiod.istio-system.svc"
    lines = [
        f"0 0 0.001000 0.000000 http://{host}:15012/healthz/ready#1 ",
        f"{curl_exit} 0 {connected:.6f} {agreed:.6f} https://{host}:15012/healthz/ready#1 words",
    ]
    targets = tuple(Target(kind, "", host, 15012, 2) for kind in ("istiod", ISTIOD_TLS))
    plain, secured = read_paths("cluster1", SLEEP, targets, result("\n".join(lines)))
    assert (plain.kind, plain.open) == ("istiod", 1)
    assert secured.kind == ISTIOD_TLS
    assert (secured.open, secured.refused, secured.timed_out) == expected
    assert str(secured).startswith(f"1 connections to {host}:15012 by TLS: ")


def test_a_client_reads_logs_as_text(tmp_path: Path) -> None:
    path = "/api/v1/namespaces/sample/pods/sleep-1/log"
    server = FakeApiServer(answers={path: "a line"})
    with client_of(server, tmp_path) as kube:
        assert kube.log("sample", "sleep-1", "sleep", lines=3) == '"a line"'
    (asked,) = [query for where, query in server.asked if where == path]
    assert asked["container"] == ["sleep"]
    assert asked["tailLines"] == ["3"]


def test_a_log_that_is_not_there_is_no_answer(tmp_path: Path) -> None:
    with client_of(FakeApiServer(), tmp_path) as kube, pytest.raises(ProbeError):
        kube.log("sample", "sleep-1", "sleep", lines=3)
