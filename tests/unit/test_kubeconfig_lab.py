"""A run's own namespace: made, and removed from wherever it was made."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from fake_api_server import FakeApiServer
from fake_kube import pod
from mesh_examples import RELEASED, SCENARIOS

from mesh_fixtures import records
from mesh_fixtures.contract import Cluster
from mesh_fixtures.errors import LabError, MachineError, NotPermitted, ProbeError
from mesh_fixtures.install.names import PROXY_CONFIG
from mesh_fixtures.kube import (
    Container,
    Event,
    KubeEditor,
    Meta,
    Pod,
    Resource,
)
from mesh_fixtures.kube import transport as transports
from mesh_fixtures.kube.resources import DEPLOYMENTS, NETWORK_POLICIES, PODS, SERVICES
from mesh_fixtures.lab import upkeep
from mesh_fixtures.lab.kubeconfig import allotted_users, namespace, namespace_policies, sample
from mesh_fixtures.lab.kubeconfig.lab import KubeconfigLab
from mesh_fixtures.lab.kubeconfig.overrides import PodOverrides, SampleOptions
from mesh_fixtures.lab.kubeconfig.provider import KubeconfigProvider, sample_images
from mesh_fixtures.lab.kubeconfig.reference import Reference
from mesh_fixtures.probe.envoy import CONFIGURATION, PROXY
from mesh_fixtures.progress import Progress
from mesh_fixtures.progress import ProgressEvent as ProgressEvent

SCENARIO = SCENARIOS["multi-primary"]
WEBHOOKS = "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations"
SHOWN = {"forwardedClientCert": "APPEND_FORWARD"}
CLUSTERS = ("cluster1", "cluster2")
NETWORK_POLICY = "NetworkPolicy"
Servers = dict[str, tuple[FakeApiServer, Reference]]


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(transports, "PAUSE_SECONDS", 0.0)
    monkeypatch.setattr(sample, "_INTERVAL", 0.01)
    monkeypatch.setattr(namespace_policies, "GENERATED_SECONDS", 0.0)
    monkeypatch.setattr(namespace, "_INTERVAL", 0.01)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


@pytest.fixture
def servers(tmp_path: Path) -> Iterator[Servers]:
    """Two clusters in which whatever is deployed runs at once."""
    with ExitStack() as stack:
        found: Servers = {}
        for name in CLUSTERS:
            folder = tmp_path / name
            folder.mkdir()
            server = Obedient({WEBHOOKS: {"items": []}})
            kubeconfig = stack.enter_context(server.running(folder))
            found[name] = (server, Reference(name, (kubeconfig,), "cluster1"))
        yield found


@dataclass
class Obedient(FakeApiServer):
    """Has what was made of a kind listed, and runs Deployments at once."""

    class _Answers(dict[str, Any]):
        def __contains__(self, path: object) -> bool:
            return super().__contains__(path) or self._is_list(str(path))

        def __getitem__(self, path: str) -> Any:
            if super().__contains__(path):
                return super().__getitem__(path)
            items = [value for key, value in self.items() if key.rpartition("/")[0] == path]
            for each in items:
                each["status"] = {"readyReplicas": 1}
            return {"items": items}

        @staticmethod
        def _is_list(path: str) -> bool:
            kinds = ("deployments", "pods", "events", "services", "serviceaccounts", "configmaps")
            return path.rpartition("/")[2] in kinds

    def __post_init__(self) -> None:
        self.answers = self._Answers(self.answers)


def provider(servers: Servers) -> KubeconfigProvider:
    return KubeconfigProvider([each for _, each in servers.values()], sample_images("h", "s"))


def opened(servers: Servers, **more: Any) -> KubeconfigLab:
    lab = provider(servers).open(SCENARIO, Progress("test"), **more)
    lab.wait_ready()
    return lab


def kept(servers: Servers) -> KubeconfigLab:
    """One with sample workloads, which a later run may take over."""
    lab = opened(servers)
    lab.mark_installed()
    lab.deploy_sample()
    lab.close(keep=True)
    return lab


def namespace_of(server: FakeApiServer) -> dict[str, Any] | None:
    there = (
        each
        for path, each in server.answers.items()
        if path.startswith("/api/v1/namespaces/mesh-conformance-") and path.count("/") == 4
    )
    return next(there, None)


def test_opening_a_lab_makes_nothing(servers: Servers) -> None:
    lab = opened(servers)
    assert lab.external
    assert not lab.installed
    assert list(lab.clusters) == ["cluster1", "cluster2"]
    contexts = yaml.safe_load(lab.kubeconfig.read_text())["contexts"]
    assert [each["name"] for each in contexts] == ["cluster1", "cluster2"]
    assert lab.folder.stat().st_mode & 0o077 == 0
    lab.close()
    assert not lab.folder.exists()
    assert [server.changes for server, _ in servers.values()] == [[], []]


def test_all_that_is_made_is_in_a_namespace_of_its_own_and_goes_with_it(
    servers: Servers,
) -> None:
    lab = opened(servers)
    lab.deploy_sample()
    name = lab.sample_namespace
    for server, _ in servers.values():
        (made, namespace), *others = [(path, body) for _, path, body in server.changes]
        assert made == "/api/v1/namespaces"
        assert namespace["metadata"]["name"] == name
        assert namespace["metadata"]["labels"]["istio-injection"] == "enabled"
        assert all(f"/namespaces/{name}/" in path for path, _ in others)
        assert {body["kind"] for _, body in others} == {"Service", "ServiceAccount", "Deployment"}
    lab.close()
    for server, _ in servers.values():
        assert server.changes[-1][:2] == ("DELETE", f"/api/v1/namespaces/{name}")
        assert namespace_of(server) is None
    assert records.load_all() == []


def test_a_kept_lab_is_taken_over_with_its_namespace(
    servers: Servers,
) -> None:
    first = kept(servers)
    second = opened(servers, reuse=True)
    assert second.id == first.id
    second.deploy_sample()
    second.close()
    assert records.load_all() == []


def test_a_kept_lab_whose_namespace_is_gone_is_not(
    servers: Servers,
) -> None:
    first = kept(servers)
    server, _ = servers["cluster2"]
    del server.answers[f"/api/v1/namespaces/{first.sample_namespace}"]
    second = opened(servers, reuse=True)
    assert second.id != first.id
    second.close()
    assert records.load_all() == []


def test_another_namespace_of_that_name_stays(
    servers: Servers,
) -> None:
    lab = opened(servers)
    server, _ = servers["cluster1"]
    path = f"/api/v1/namespaces/{lab.sample_namespace}"
    theirs = {"metadata": {"name": lab.sample_namespace, "uid": "theirs"}}
    server.answers[path] = theirs
    with pytest.raises(LabError, match="not of this run"):
        lab.deploy_sample()
    lab.close()
    assert server.answers[path] is theirs


SHOP = "/api/v1/namespaces/shop"
CLAIM = f"{SHOP}/configmaps/{namespace.CLAIM}"


def provided(servers: Servers) -> KubeconfigProvider:
    """Runs in a namespace that both clusters' owners provide."""
    key, _, value = namespace.PROVIDED_LABEL.partition("=")
    for server, _ in servers.values():
        labels = {key: value, "istio-injection": "enabled"}
        server.answers[SHOP] = {"metadata": {"name": "shop", "uid": "theirs", "labels": labels}}
    references = [each for _, each in servers.values()]
    return KubeconfigProvider(references, sample_images("h", "s"), SampleOptions(namespace="shop"))


def test_a_provided_namespace_stays_and_all_that_was_made_in_it_goes(servers: Servers) -> None:
    lab = provided(servers).open(SCENARIO, Progress("test"))
    lab.wait_ready()
    lab.deploy_sample()
    kinds = {"ConfigMap", "Service", "ServiceAccount", "Deployment"}
    for server, _ in servers.values():
        assert all("/namespaces/shop/" in path for _, path, _ in server.changes)
        assert {body["kind"] for _, _, body in server.changes} == kinds
        owners = [body["metadata"]["labels"][namespace.OWNER_LABEL] for *_, body in server.changes]
        assert set(owners) == {lab.id}
    lab.close()
    for server, _ in servers.values():
        assert [path for path in server.answers if "/namespaces/shop" in path] == [SHOP]
        removed = [path for method, path, _ in server.changes if method == "DELETE"]
        # nobody else gets the namespace before it is empty
        assert removed[-1] == CLAIM
        assert removed.count(CLAIM) == 1
    assert records.load_all() == []


def test_a_provided_namespace_is_for_one_run_after_the_other(servers: Servers) -> None:
    first = provided(servers).open(SCENARIO, Progress("test"))
    first.wait_ready()
    first.deploy_sample()
    second = provided(servers).open(SCENARIO, Progress("test"))
    second.wait_ready()
    with pytest.raises(LabError, match=f"says that {first.id} has it"):
        second.deploy_sample()
    second.close()
    assert [CLAIM in server.answers for server, _ in servers.values()] == [True, True]
    abandoned(first)
    third = provided(servers).open(SCENARIO, Progress("test"))
    assert [CLAIM in server.answers for server, _ in servers.values()] == [False, False]
    third.wait_ready()
    third.deploy_sample()
    third.close()


@pytest.mark.parametrize(
    "there",
    [
        f"{SHOP}/pods/cart-1",
        f"{SHOP}/services/cart",
    ],
)
def test_a_provided_namespace_that_something_else_uses(servers: Servers, there: str) -> None:
    chosen = provided(servers)
    server, _ = servers["cluster2"]
    server.answers[there] = {"metadata": {"name": "cart", "namespace": "shop"}, "spec": {}}
    with pytest.raises(MachineError, match=r"no pods and no services \(cluster2\)") as error:
        chosen.open(SCENARIO, Progress("test"))
    assert error.value.seen.endswith("cart")
    assert [server.changes for server, _ in servers.values()] == [[], []]


def test_a_run_that_came_first_has_the_provided_namespace(servers: Servers) -> None:
    lab = provided(servers).open(SCENARIO, Progress("test"))
    lab.wait_ready()
    server, _ = servers["cluster1"]
    labels = {namespace.OWNER_LABEL: "mesh-0000"}
    theirs = {"metadata": {"name": namespace.CLAIM, "namespace": "shop", "labels": labels}}
    server.answers[CLAIM] = theirs
    with pytest.raises(LabError, match="mesh-0000 has it"):
        lab.deploy_sample()
    lab.close()
    assert server.answers[CLAIM] is theirs


def abandoned(lab: KubeconfigLab) -> records.Record:
    """As if the process that used a lab had been killed."""
    (record,) = (each for each in records.load_all() if each.id == lab.id)
    gone = replace(record, owner_pid=0, owner_started=0)
    gone.save()
    return gone


@pytest.mark.parametrize("permitted", [True, False])
def test_pods_end_before_the_namespace_does_where_the_run_may_delete_them(
    servers: Servers, monkeypatch: pytest.MonkeyPatch, permitted: bool
) -> None:
    lab = opened(servers)
    lab.deploy_sample()
    deleted, delete = [], KubeEditor.delete

    def recorded(
        self: KubeEditor, resource: Resource[Any], namespace: str, name: str, **more: Any
    ) -> None:
        deleted.append((self.name, resource.kind, namespace, name))
        if resource == PODS and not permitted:
            raise NotPermitted(wanted="to delete it", seen="403", where=self.name, remedy="")
        delete(self, resource, namespace, name, **more)

    monkeypatch.setattr(KubeEditor, "delete", recorded)
    ours = lab.sample_namespace
    for server, _ in servers.values():
        names = ("sleep-1", "sleep-2")
        pods = [{"metadata": {"name": each, "namespace": ours}, "spec": {}} for each in names]
        server.answers[f"/api/v1/namespaces/{ours}/pods"] = {"items": pods}
    lab.close()
    assert [namespace_of(server) for server, _ in servers.values()] == [None, None]
    for cluster in CLUSTERS:
        first, *others = [each[1:] for each in deleted if each[0] == cluster]
        assert first == ("Namespace", "", ours)
        tried = ["sleep-1", "sleep-2"] if permitted else ["sleep-1"]
        assert others == [("Pod", ours, each) for each in tried]


def test_the_next_run_removes_what_a_killed_one_left(
    servers: Servers,
) -> None:
    lost = opened(servers)
    lost.deploy_sample()
    abandoned(lost)
    opened(servers).close()
    assert [namespace_of(server) for server, _ in servers.values()] == [None, None]
    assert records.load_all() == []


def test_a_cluster_that_is_gone_hinders_no_later_run(servers: Servers, tmp_path: Path) -> None:
    lost = opened(servers)
    lost.deploy_sample()
    record = abandoned(lost)
    nowhere = "http://127.0.0.1:1"
    file = record.folder / "cluster2.kubeconfig"
    content = yaml.safe_load(file.read_text())
    content["clusters"][0]["cluster"]["server"] = nowhere
    file.write_text(yaml.safe_dump(content))
    said: list[ProgressEvent] = []
    provider(servers).open(SCENARIO, Progress("test", said.append)).close()
    assert any(each.phase == "clean" and "cluster2" in each.detail for each in said)
    assert namespace_of(servers["cluster1"][0]) is None
    abandoned(lost)
    with pytest.raises(LabError, match=f"namespace {lost.sample_namespace} in cluster2") as raised:
        upkeep.clean_abandoned(Progress("test"))
    assert str(record.folder) in raised.value.where
    assert "gone for good" in raised.value.remedy
    shutil.rmtree(record.folder)


def test_one_lab_that_cannot_be_removed_does_not_keep_others(
    servers: Servers, monkeypatch: pytest.MonkeyPatch
) -> None:
    labs = [opened(servers) for _ in range(3)]
    for lab in labs:
        abandoned(lab)
    stuck = min(lab.id for lab in labs)

    def tear_down(record: records.Record) -> None:
        if record.id == stuck:
            raise LabError(wanted="nothing", seen="something", where="here")
        shutil.rmtree(record.folder)

    monkeypatch.setattr(upkeep, "tear_down", tear_down)
    with pytest.raises(LabError, match="something"):
        upkeep.clean_abandoned(Progress("test"))
    assert [record.id for record in records.load_all()] == [stuck]


def test_nothing_more_is_made_once_it_is_stopped(
    servers: Servers,
) -> None:
    lab = opened(servers)
    lab.stop()
    with pytest.raises(LabError, match="stopped"):
        lab.deploy_sample()
    lab.close()
    assert [server.changes for server, _ in servers.values()] == [[], []]


def test_what_is_not_permitted_is_found_before_anything_is_made(
    servers: Servers,
) -> None:
    server, _ = servers["cluster2"]
    server.reviews = lambda asked: asked["resource"] != "deployments"
    with pytest.raises(MachineError, match="permission in cluster2 to create deployments"):
        opened(servers)
    server.reviews = lambda asked: asked["resource"] != "secrets"
    said: list[ProgressEvent] = []
    provider(servers).open(SCENARIO, Progress("test", said.append)).close()
    assert any("TRUST-2) cannot be verified" in each.detail for each in said)


def test_a_scenario_of_other_clusters_is_refused(
    servers: Servers,
) -> None:
    with pytest.raises(MachineError, match="cluster1, cluster2, cluster3, and no other"):
        provider(servers).open(SCENARIOS["three-clusters-two-networks"], Progress("test"))
    assert records.load_all() == []


def test_a_refusal_for_lack_of_permission_is_told_apart(tmp_path: Path) -> None:
    item = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "x"}}
    server = FakeApiServer(refusals=[403, 422])
    with server.running(tmp_path) as kubeconfig:
        cluster = Cluster("cluster1", network="", kubeconfig=kubeconfig)
        with KubeEditor(cluster) as editor:
            with pytest.raises(NotPermitted, match="mesh-conformance rbac"):
                editor.create(item, "x")
            with pytest.raises(ProbeError, match="422") as raised:
                editor.create(item, "x")
            assert not isinstance(raised.value, NotPermitted)
            assert editor.create(item, "x")
            assert not editor.create(item, "x")
            editor.delete(SERVICES, "x", "x", uid="another")
            assert "/api/v1/namespaces/x/services/x" in server.answers
            editor.delete(SERVICES, "x", "x", uid="uid-3")
            editor.delete(SERVICES, "x", "x", uid="uid-3")
            assert "/api/v1/namespaces/x/services/x" not in server.answers


def test_images_of_the_samples() -> None:
    released = sample_images()
    assert set(released.helloworld) == {"v1", "v2"}
    chosen = sample_images("mine/hello:1", "mine/curl:1")
    made = sample.manifests(SCENARIO, "cluster2", chosen, "ours")
    images = {
        container["image"]: container.get("env")
        for item in made
        if item["kind"] == "Deployment"
        for container in item["spec"]["template"]["spec"]["containers"]
    }
    assert images == {
        "mine/hello:1": [{"name": "SERVICE_VERSION", "value": "v2"}],
        "mine/curl:1": None,
    }


def test_pods_end_before_the_namespace_is_looked_at_again() -> None:
    named = SCENARIO.model_copy(update={"dns_proxying": True})
    made = [
        *sample.manifests(SCENARIO, "cluster1", RELEASED, "ours"),
        *sample.with_host_names(named, "cluster1", RELEASED),
    ]
    graces = {
        item["metadata"]["name"]: item["spec"]["template"]["spec"]["terminationGracePeriodSeconds"]
        for item in made
        if item["kind"] in ("Deployment", "StatefulSet")
    }
    assert len(graces) == 4
    assert {*graces.values()} == {0, sample.GRACE_SECONDS}


def test_samples_are_on_nodes_that_run_their_images() -> None:
    named = SCENARIO.model_copy(update={"dns_proxying": True})

    def selectors(overrides: PodOverrides) -> list[Any]:
        made = [
            *sample.manifests(SCENARIO, "cluster1", RELEASED, "ours", overrides),
            *sample.with_host_names(named, "cluster1", RELEASED, overrides),
        ]
        kinds = ("Deployment", "StatefulSet")
        pods = [item["spec"]["template"]["spec"] for item in made if item["kind"] in kinds]
        return [each["nodeSelector"] for each in pods]

    assert selectors(PodOverrides()) == [sample.ON_LINUX] * 4
    chosen = PodOverrides(node_selector={"pool": "mesh", "kubernetes.io/os": None})
    assert selectors(chosen) == [{"pool": "mesh"}] * 4


@pytest.mark.parametrize(
    ("given", "annotated"),
    [
        ({}, {"proxyHeaders": SHOWN}),
        ({PROXY_CONFIG: "concurrency: 1"}, {"concurrency": 1, "proxyHeaders": SHOWN}),
        (
            {PROXY_CONFIG: "proxyHeaders: {server: {value: mine}}"},
            {"proxyHeaders": {"server": {"value": "mine"}, **SHOWN}},
        ),
    ],
)
def test_proxies_that_would_hide_who_asks_say_it(
    given: Mapping[str, str], annotated: Mapping[str, Any]
) -> None:
    overrides = PodOverrides(annotations=given)
    made = sample.manifests(SCENARIO, "cluster1", RELEASED, "ours", overrides)
    hiding = {CONFIGURATION: '{"proxyHeaders": {"forwardedClientCert": "SANITIZE"}}'}
    injected = replace(pod("x"), containers=(Container(PROXY, env=hiding),))
    for item in made:
        assert sample.disclosed(item, {}) is item
        if item["metadata"]["name"] == "helloworld-v1" and item["kind"] == "Deployment":
            disclosed = sample.disclosed(item, {"helloworld-v1": injected})
            found = disclosed["spec"]["template"]["metadata"]["annotations"][PROXY_CONFIG]
            assert json.loads(found) == annotated
            assert sample.disclosed(item, {"helloworld-v1": pod("x")}) is item


def test_connections_are_used_once_where_a_gateway_chooses() -> None:
    three = SCENARIOS["three-clusters-two-networks"]
    (rule,) = (
        item
        for item in sample.manifests(three, "cluster1", RELEASED, "ours")
        if item["kind"] == "DestinationRule"
    )
    assert rule["spec"]["host"] == "helloworld.ours.svc.cluster.local"
    kinds = {item["kind"] for item in sample.manifests(SCENARIO, "cluster1", RELEASED, "ours")}
    assert "DestinationRule" not in kinds


def test_policies_that_a_platform_brings_leave_the_workloads_alone(servers: Servers) -> None:
    lab = opened(servers)
    (closed, _), (open_, _) = servers.values()
    policies = f"/apis/networking.k8s.io/v1/namespaces/{lab.sample_namespace}/networkpolicies"
    meta = {"name": "default-deny", "namespace": lab.sample_namespace}
    closed.answers[policies] = {"items": [{"metadata": meta, "spec": {"podSelector": {}}}]}
    said: list[ProgressEvent] = []
    lab._progress = Progress("test", said.append)
    lab.deploy_sample()
    made = [
        [body["spec"]["ingress"] for _, _, body in server.changes if body["kind"] == NETWORK_POLICY]
        for server in (closed, open_)
    ]
    assert made == [[[{}]], []]
    assert any(f"NetworkPolicy {lab.sample_namespace}/default-deny" in each.detail for each in said)
    lab.close()


def test_pods_run_as_a_user_that_the_cluster_allots_to_their_namespace(servers: Servers) -> None:
    users = {allotted_users.ANNOTATION: "1000680000/10000"}
    system = {"metadata": {"name": "istio-system", "annotations": users}}
    for server, _ in servers.values():
        server.answers["/api/v1/namespaces/istio-system"] = system
    lab = KubeconfigProvider(
        [each for _, each in servers.values()],
        sample_images("h", "s"),
        SampleOptions(annotations=users),
    ).open(SCENARIO, Progress("test"))
    lab.wait_ready()
    lab.deploy_sample()
    for server, _ in servers.values():
        pods = [
            body["spec"]["template"]["spec"]
            for _, _, body in server.changes
            if body["kind"] == "Deployment"
        ]
        contexts = [each["containers"][0]["securityContext"] for each in pods]
        assert [each["runAsUser"] for each in contexts] == [1000680000] * 3
    lab.close()


def test_gateways_know_the_service_whatever_the_mesh_exports_by_default(servers: Servers) -> None:
    lab = opened(servers)
    lab.deploy_sample()
    for server, _ in servers.values():
        services = [body for _, _, body in server.changes if body["kind"] == "Service"]
        annotations = [each["metadata"]["annotations"] for each in services]
        assert annotations == [{"networking.istio.io/exportTo": "*"}]
    lab.close()


@pytest.mark.parametrize("status", [201, 403, 422])
def test_pods_with_host_names_are_made_where_proxies_answer_dns_queries(
    servers: Servers, status: int
) -> None:
    def admits(path: str, body: Any) -> tuple[int, str] | None:
        refused = status != 201 and body["kind"] == "StatefulSet"
        return (status, "no stateful sets") if refused else None

    for server, _ in servers.values():
        server.admits = admits
    proxying = SCENARIO.model_copy(update={"dns_proxying": True})
    lab = provider(servers).open(proxying, Progress("test"))
    lab.wait_ready()
    lab.deploy_sample()
    for position, (server, _) in enumerate(servers.values(), 1):
        made = [(body["kind"], body["metadata"]["name"]) for _, _, body in server.changes]
        assert ("Service", f"helloworld-only-{position}") in made
        assert ("Service", "helloworld-stateful") in made
        assert (("StatefulSet", f"stateful-{position}") in made) == (status == 201)
    lab.close()


def waiting(name: str, reason: str) -> Pod:
    container = Container(name, image="i", waiting=reason)
    return Pod(Meta("p"), "", "Pending", False, False, (container,))


FAILED_BY_QUOTA = Event(
    "Warning", "ReplicaSet/x", "FailedCreate", "pods is forbidden: exceeded quota", ""
)
FAILED_BY_WEBHOOK = Event(
    "Warning", "ReplicaSet/x", "FailedCreate", 'failed calling webhook "rev"', ""
)


@pytest.mark.parametrize(
    ("pods", "events", "said"),
    [
        ([waiting("helloworld", "ImagePullBackOff: no")], [], "ImagePullBackOff: no"),
        ([waiting("sleep", "CrashLoopBackOff")], [], "container sleep (i)"),
        ([waiting("helloworld", "ContainerCreating")], [], ""),
        ([waiting("helloworld", "PodInitializing")], [], ""),
        ([waiting("istio-proxy", "ImagePullBackOff")], [], "container istio-proxy (i)"),
        ([waiting("istio-proxy", "CrashLoopBackOff")], [], ""),
        ([replace(waiting("sleep", ""), unscheduled="0/3 nodes")], [], "has no node: 0/3 nodes"),
        ([], [FAILED_BY_QUOTA], "exceeded quota"),
        ([], [FAILED_BY_WEBHOOK], ""),
        ([], [FAILED_BY_QUOTA, FAILED_BY_WEBHOOK], ""),
        ([waiting("sleep", "")], [FAILED_BY_QUOTA], ""),
        ([], [], ""),
    ],
)
def test_what_no_mesh_has_to_do_with(pods: list[Pod], events: list[Event], said: str) -> None:
    found = sample.obstacle(pods, events, wanted=1, injectors=["rev"])
    assert said in (found.seen if found else "")
    assert (found is not None) == bool(said)


@pytest.mark.parametrize(
    ("container", "reason", "hinders"),
    [("helloworld", "ImagePullBackOff", True), ("istio-proxy", "CrashLoopBackOff", False)],
)
def test_only_a_cluster_that_does_not_run_them_is_an_error(
    servers: Servers,
    monkeypatch: pytest.MonkeyPatch,
    container: str,
    reason: str,
    hinders: bool,
) -> None:
    monkeypatch.setattr(sample, "READY_SECONDS", 0.1)
    pods = (waiting(container, reason), waiting(container, reason))
    listed = KubeEditor.list

    def without_deployments(
        self: KubeEditor, resource: Resource[Any], namespace: str = "", selector: str = ""
    ) -> tuple[Any, ...]:
        there = {DEPLOYMENTS: (), PODS: pods}
        return there[resource] if resource in there else listed(self, resource, namespace, selector)

    monkeypatch.setattr(KubeEditor, "list", without_deployments)
    lab = opened(servers)
    said: list[ProgressEvent] = []
    lab._progress = Progress("test", said.append)
    if hinders:
        with pytest.raises(LabError, match="ImagePullBackOff") as raised:
            lab.deploy_sample()
        assert "--mesh-helloworld-image" in raised.value.remedy
    else:
        lab.deploy_sample()
        notes = [each.detail for each in said if each.outcome == "note"]
        assert len(notes) == 2
        assert all("for tests to judge" in note for note in notes)
    lab.close()


@pytest.mark.parametrize("apps", [(), ("plain-client",)])
def test_pods_that_nobody_makes_are_not_waited_for(
    servers: Servers, monkeypatch: pytest.MonkeyPatch, apps: tuple[str, ...]
) -> None:
    monkeypatch.setattr(sample, "READY_SECONDS", 60.0)
    monkeypatch.setattr(sample, "MADE_SECONDS", 0.1)
    pods = [Pod(Meta(app, labels={"app": app}), "", "Running", False, True, ()) for app in apps]
    listed = KubeEditor.list

    def list_(
        self: KubeEditor, resource: Resource[Any], namespace: str = "", selector: str = ""
    ) -> tuple[Any, ...]:
        there: dict[Resource[Any], Any] = {DEPLOYMENTS: (), PODS: pods}
        return there[resource] if resource in there else listed(self, resource, namespace, selector)

    monkeypatch.setattr(KubeEditor, "list", list_)
    lab = opened(servers)
    said: list[ProgressEvent] = []
    lab._progress = Progress("test", said.append)
    lab.deploy_sample()
    assert [each.detail for each in said if "for tests to judge" in each.detail]
    lab.close()


@pytest.mark.parametrize("members", [{}, {"mesh": "member"}])
def test_who_is_not_let_in_by_istiod_is_told_soon(
    servers: Servers, monkeypatch: pytest.MonkeyPatch, members: dict[str, str]
) -> None:
    monkeypatch.setattr(sample, "READY_SECONDS", 1.0)
    monkeypatch.setattr(sample, "CONFIGURED_SECONDS", 0.1)
    istiod = {"app": "istiod"}
    letting_in = {
        "metadata": {"name": "for-members", "namespace": "istio-system"},
        "spec": {
            "podSelector": {"matchLabels": istiod},
            "ingress": [{"from": [{"namespaceSelector": {"matchLabels": members}}]}],
        },
    }
    meta = {"name": "istiod-1", "namespace": "istio-system", "labels": istiod}
    control_plane = Pod.read({"metadata": meta, "spec": {}})
    unconfigured = Pod(Meta("p"), "", "Running", False, False, (Container(PROXY, running=True),))
    listed = KubeEditor.list

    def list_(
        self: KubeEditor, resource: Resource[Any], namespace: str = "", selector: str = ""
    ) -> tuple[Any, ...]:
        in_system = namespace == "istio-system"
        there: dict[Resource[Any], Any] = {
            DEPLOYMENTS: (),
            PODS: (control_plane if in_system else unconfigured,),
            NETWORK_POLICIES: [NETWORK_POLICIES.read(letting_in)] if in_system else (),
        }
        return there[resource] if resource in there else listed(self, resource, namespace, selector)

    monkeypatch.setattr(KubeEditor, "list", list_)
    lab = opened(servers)
    if members:
        with pytest.raises(LabError, match="lets namespaces with mesh=member reach istiod") as told:
            lab.deploy_sample()
        assert told.value.remedy == "--mesh-namespace-label mesh=member"
    else:
        lab.deploy_sample()
    lab.close()
