"""What istioctl does is recorded on a stand-in of a cluster, and done to a cluster."""

from __future__ import annotations

import copy
import json
import os
import shutil
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import yaml
from fake_api_server import kubeconfig_of
from hypothesis import given
from hypothesis import strategies as st
from kube_client import cluster
from mesh_examples import BUILT, SCENARIOS, meshes

from mesh_fixtures.contract import Lab
from mesh_fixtures.errors import ProbeError
from mesh_fixtures.install import ids
from mesh_fixtures.install.plan import injection, plan
from mesh_fixtures.install.step import Command
from mesh_fixtures.kube import transport
from mesh_fixtures.rehearsal import recording
from mesh_fixtures.rehearsal.late_waits import INGRESS, LATE, with_late_waits
from mesh_fixtures.rehearsal.recording import InstallCall, InstallRecording
from mesh_fixtures.rehearsal.replay import Replay
from mesh_fixtures.rehearsal.stand_in import (
    AUTHORITY,
    Apply,
    Change,
    Place,
    StandIn,
    Wait,
    differences,
    patch,
    selects,
)
from mesh_fixtures.runner import CommandContext, Completed, RunningProgram
from mesh_fixtures.scenario import Scenario

REMOTE = SCENARIOS["primary-remote-multi-network"]
VERSION = {"gitVersion": "v1.36.3"}
APPLYING = "application/apply-patch+yaml"
QUERY = {"fieldManager": "istio-operator", "force": "true"}

ISTIOD = "/apis/apps/v1/namespaces/istio-system/deployments/istiod"
INGRESSES = f"/apis/apps/v1/namespaces/istio-system/deployments/{INGRESS}"
DEFINITION = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/gateways.networking.istio.io"
MUTATING = "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations"
VALIDATING = "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations"
INJECTOR = f"{MUTATING}/istio-sidecar-injector"
TAG = f"{MUTATING}/istio-revision-tag-default"


def deployment(name: str, **labels: str) -> dict[str, Any]:
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "labels": labels},
        "spec": {
            "selector": {"matchLabels": {"app": name}},
            "template": {"metadata": {"labels": {"app": name}}, "spec": {"containers": []}},
        },
    }


def webhook(kind: str, name: str, **labels: str) -> dict[str, Any]:
    hook = {
        "name": "a.istio.io",
        "clientConfig": {"caBundle": "", "service": {"name": "istiod"}},
        "failurePolicy": "Ignore",
        "namespaceSelector": {"matchExpressions": [{"key": "a", "operator": "Exists"}]},
    }
    return {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": kind,
        "metadata": {"name": name, "labels": labels},
        "webhooks": [hook],
    }


def applied(path: str, item: Mapping[str, Any]) -> Apply:
    return Apply(path, QUERY, yaml.safe_dump(dict(item)))


def apply(stand_in: StandIn, path: str, item: Mapping[str, Any]) -> int:
    return stand_in.apply(path, QUERY, APPLYING, yaml.safe_dump(dict(item)))[0]


@pytest.mark.parametrize(
    ("path", "place"),
    [
        (ISTIOD, Place("/apis/apps/v1", "istio-system", "deployments", "istiod")),
        ("/api/v1/namespaces", Place("/api/v1", "", "namespaces", "")),
        ("/api/v1/namespaces/a", Place("/api/v1", "", "namespaces", "a")),
        ("/api/v1/namespaces/a/pods", Place("/api/v1", "a", "pods", "")),
        (TAG, Place(MUTATING.rpartition("/")[0], "", *TAG.split("/")[-2:])),
    ],
)
def test_paths_of_objects(path: str, place: Place) -> None:
    assert Place.of(path) == place


@pytest.mark.parametrize("path", ["/version", "/api/v1", "/apis/apps/v1", f"{ISTIOD}/status"])
def test_other_paths(path: str) -> None:
    with pytest.raises(ValueError, match=path):
        Place.of(path)


def test_a_new_cluster_has_the_namespace_and_nothing_else() -> None:
    stand_in = StandIn(VERSION)
    assert stand_in.get("/version", {}) == (200, VERSION)
    assert stand_in.get("/api/v1/namespaces/istio-system", {})[0] == 200
    assert stand_in.get(ISTIOD, {})[0] == 404
    status, found = stand_in.get(MUTATING, {"labelSelector": "app=sidecar-injector"})
    assert (status, found["kind"], found["items"]) == (
        200,
        "MutatingWebhookConfigurationList",
        [],
    )
    assert not stand_in.refused
    assert not stand_in.events


def test_what_is_applied_is_there_and_found_by_its_labels() -> None:
    stand_in = StandIn(VERSION)
    assert apply(stand_in, ISTIOD, deployment("istiod", app="istiod")) == 200
    _, found = stand_in.get("/apis/apps/v1/deployments", {"labelSelector": "app=istiod"})
    assert [each["metadata"]["name"] for each in found["items"]] == ["istiod"]
    _, others = stand_in.get("/apis/apps/v1/namespaces/other/deployments", {})
    assert not others["items"]


def test_pods_of_deployments_are_ready_as_istioctl_looks_at_them() -> None:
    stand_in = StandIn(VERSION)
    apply(stand_in, ISTIOD, deployment("istiod"))
    _, found = stand_in.get(ISTIOD, {})
    query = {"labelSelector": "app=istiod"}
    _, sets = stand_in.get("/apis/apps/v1/namespaces/istio-system/replicasets", query)
    (replica_set,) = sets["items"]
    (owner,) = replica_set["metadata"]["ownerReferences"]
    assert owner["uid"] == found["metadata"]["uid"]
    assert replica_set["spec"]["template"] == found["spec"]["template"]
    assert replica_set["status"]["readyReplicas"] >= found["spec"]["replicas"]


def test_what_is_waited_for_is_recorded_once_and_where_it_was_waited_for() -> None:
    stand_in = StandIn(VERSION)
    apply(stand_in, DEFINITION, {"kind": "CustomResourceDefinition", "metadata": {"name": "x"}})
    for _ in range(2):
        _, found = stand_in.get(DEFINITION, {})
        assert found["status"]["conditions"][0]["type"] == "Established"
    apply(stand_in, ISTIOD, deployment("istiod"))
    stand_in.get(ISTIOD, {})
    assert [type(event) for event in stand_in.events] == [Apply, Wait, Apply, Wait]


def test_an_update_is_recorded_as_what_it_changes() -> None:
    stand_in = StandIn(VERSION)
    apply(stand_in, INJECTOR, webhook("MutatingWebhookConfiguration", "istio-sidecar-injector"))
    changed = copy.deepcopy(stand_in.get(INJECTOR, {})[1])
    changed["metadata"]["creationTimestamp"] = None
    changed["webhooks"][0]["namespaceSelector"] = {"matchLabels": {"a": "never"}}
    status, _ = stand_in.update(INJECTOR, "istioctl", json.dumps(changed))
    assert status == 200
    assert stand_in.events[-1] == Change(
        INJECTOR,
        "istioctl",
        (
            {"op": "remove", "path": "/webhooks/0/namespaceSelector/matchExpressions"},
            {
                "op": "add",
                "path": "/webhooks/0/namespaceSelector/matchLabels",
                "value": {"a": "never"},
            },
        ),
    )
    assert stand_in.get(INJECTOR, {})[1]["webhooks"] == changed["webhooks"]


@pytest.mark.parametrize(("has_istiod", "policy"), [(True, "Fail"), (False, "Ignore")])
def test_webhooks_have_an_authority_and_are_relied_on_once_istiod_serves_the_cluster(
    has_istiod: bool, policy: str
) -> None:
    validator = f"{VALIDATING}/validator"
    first = StandIn(VERSION)
    apply(first, validator, webhook("ValidatingWebhookConfiguration", "validator"))
    if has_istiod:
        apply(first, ISTIOD, deployment("istiod", app="istiod"))
    (hook,) = first.get(validator, {})[1]["webhooks"]
    assert (hook["clientConfig"]["caBundle"], hook["failurePolicy"]) == (AUTHORITY, "Ignore")
    second = StandIn(VERSION, first.events)
    (hook,) = second.get(validator, {})[1]["webhooks"]
    assert (hook["clientConfig"]["caBundle"], hook["failurePolicy"]) == (AUTHORITY, policy)


@pytest.mark.parametrize(
    "ask",
    [
        lambda it: it.get("/openapi/v3", {}),
        lambda it: it.get("/apis/apps/v1/deployments", {"labelSelector": "app in (a, b)"}),
        lambda it: it.get("/apis/apps/v1/deployments", {"watch": "true"}),
        lambda it: it.apply(ISTIOD, {}, "application/merge-patch+json", "{}"),
        lambda it: it.apply(ISTIOD, {"dryRun": "All"}, APPLYING, "{}"),
        lambda it: it.update(INJECTOR, "istioctl", "{}"),
        lambda it: it.refuse("DELETE", ISTIOD),
    ],
)
def test_what_it_does_not_know_is_refused_and_remembered(
    ask: Callable[[StandIn], tuple[int, Any]],
) -> None:
    stand_in = StandIn(VERSION, [applied(ISTIOD, deployment("istiod"))])
    status, _ = ask(stand_in)
    assert status == 501
    assert len(stand_in.refused) == 1
    assert not stand_in.events


@pytest.mark.parametrize(
    ("selector", "selected"),
    [
        ("", True),
        ("a=1", True),
        ("a==1", True),
        ("a", True),
        ("!b", True),
        ("a=1, c=3,!b", True),
        ("a=2", False),
        ("b", False),
        ("!a", False),
        ("a=1,b=2", False),
    ],
)
def test_selectors(selector: str, *, selected: bool) -> None:
    assert selects(selector, {"a": "1", "c": "3"}) is selected


@pytest.mark.parametrize("selector", ["a in (1)", "a!=1"])
def test_selectors_that_are_unknown(selector: str) -> None:
    with pytest.raises(ValueError, match="a"):
        selects(selector, {})


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text("a/~", max_size=2), inner, max_size=3)
    ),
    max_leaves=8,
)
OBJECTS = st.dictionaries(st.text("a/~", max_size=2), JSON, max_size=3)


@given(OBJECTS, OBJECTS)
def test_differences_make_one_of_the_other(before: dict[str, Any], after: dict[str, Any]) -> None:
    operations = tuple(differences(before, after))
    changed = copy.deepcopy(before)
    patch(changed, operations)
    # True and 1 are the same to Python, and to who compares them
    assert changed == after
    assert not tuple(differences(after, changed))


RECORDING = InstallRecording(
    "key",
    (
        applied(DEFINITION, {"kind": "CustomResourceDefinition", "metadata": {"name": "x"}}),
        Wait(DEFINITION),
        applied(ISTIOD, deployment("istiod")),
        Change(INJECTOR, "istioctl", ({"op": "remove", "path": "/webhooks"},)),
    ),
)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where recordings are kept."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(transport, "PAUSE_SECONDS", 0.01)
    return recording.recordings_folder()


def test_recordings_are_kept() -> None:
    assert recording.kept("key") is None
    recording.keep(RECORDING)
    found = recording.kept("key")
    assert found is not None
    assert found.dump() == RECORDING.dump()
    assert [type(event) for event in found.events] == [type(event) for event in RECORDING.events]


def test_a_damaged_recording_is_none(folder: Path) -> None:
    recording.keep(RECORDING)
    file = folder / "key.gz"
    whole = file.read_bytes()
    for damaged in (b"", whole[: len(whole) // 2], b"no gzip", whole[:-8] + bytes(8)):
        file.write_bytes(damaged)
        assert recording.kept("key") is None


def test_recordings_that_nobody_uses_are_removed(folder: Path) -> None:
    recording.keep(RECORDING)
    long_ago = time.time() - recording.STALE_SECONDS - 60
    os.utime(folder / "key.gz", (long_ago, long_ago))
    recording.keep(InstallRecording("other", ()))
    assert [file.name for file in folder.iterdir()] == ["other.gz"]


def test_a_run_goes_on_where_nothing_can_be_kept(folder: Path) -> None:
    folder.parent.mkdir(parents=True)
    folder.touch()
    recording.keep(RECORDING)
    assert recording.kept("key") is None


PROGRAM = """
import json, os, sys, urllib.request
import yaml

server = yaml.safe_load(open(os.environ["KUBECONFIG"]))["clusters"][0]["cluster"]["server"]
print("here is istioctl", *sys.argv[1:])

def call(method, path, body=None, kind="application/json"):
    request = urllib.request.Request(server + path, body and body.encode(), method=method)
    request.add_header("Content-Type", kind)
    request.add_header("User-Agent", "istioctl/1.31")
    with urllib.request.urlopen(request) as answer:
        return json.load(answer)

for method, path, content in json.load(open(os.path.join(os.path.dirname(__file__), "calls"))):
    if method == "PATCH":
        query = "?fieldManager=istio-operator&force=true&timeout=15s"
        call(method, path + query, content, "application/apply-patch+yaml")
    elif method == "PUT":
        item = call("GET", path)
        item["webhooks"][0]["namespaceSelector"] = {"matchLabels": {"a": "never"}}
        call(method, path, json.dumps(item))
    else:
        call(method, path)
"""
"""Does in place of istioctl what the file `calls` beside it says."""

TAGGED = webhook("MutatingWebhookConfiguration", "istio-revision-tag-default", tag="default")
TAGGED["webhooks"][0]["clientConfig"]["caBundle"] = AUTHORITY
CALLS = [
    ("PATCH", DEFINITION, "{kind: CustomResourceDefinition, metadata: {name: x}}"),
    ("GET", DEFINITION, ""),
    ("PATCH", ISTIOD, yaml.safe_dump(deployment("istiod"))),
    (
        "PATCH",
        INJECTOR,
        yaml.safe_dump(webhook("MutatingWebhookConfiguration", "istio-sidecar-injector")),
    ),
    ("GET", ISTIOD, ""),
    ("PATCH", INGRESSES, yaml.safe_dump(deployment(INGRESS))),
    ("GET", INGRESSES, ""),
    ("PUT", INJECTOR, ""),
    ("PATCH", TAG, yaml.safe_dump(TAGGED)),
]


class Istioctl:
    """A program that stands in for istioctl, and the folder that it is run in."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self.folder = folder
        self.program = folder / "istioctl"
        self.program.write_text(f"#!{sys.executable}\n{PROGRAM}", encoding="utf-8")
        self.program.chmod(0o755)
        self.does(CALLS)
        (folder / "cluster1.yaml").write_text("values: {}\n", encoding="utf-8")

    def does(self, calls: object) -> None:
        (self.folder / "calls").write_text(json.dumps(calls), encoding="utf-8")

    @property
    def context(self) -> CommandContext:
        return CommandContext(self.folder, dict(os.environ), {"istioctl": self.program})

    def command(self, seconds: float = 100) -> Command:
        return Command(
            (
                *("istioctl", "install", "--context=cluster1", "-y", "-f", "cluster1.yaml"),
                f"--readiness-timeout={seconds}s",
            )
        )

    def record(self) -> tuple[InstallRecording | None, str]:
        """What it does, and what it says."""
        log = self.folder / "log"
        installation = InstallCall.read(self.command().argv, self.folder)
        with log.open("w+b") as opened:
            made = recording.record(
                installation, "key", VERSION, self.context, RunningProgram(), opened
            )
        return made, log.read_text(encoding="utf-8")


@pytest.fixture
def istioctl(tmp_path: Path) -> Istioctl:
    return Istioctl(tmp_path / "install")


def test_istioctl_is_recorded(istioctl: Istioctl) -> None:
    made, log = istioctl.record()
    assert made is not None
    assert "here is istioctl install --context=cluster1" in log
    assert [(type(event), event.path) for event in made.events] == [
        (Apply, DEFINITION),
        (Wait, DEFINITION),
        (Apply, ISTIOD),
        (Apply, INJECTOR),
        (Wait, ISTIOD),
        (Apply, INGRESSES),
        (Wait, INGRESSES),
        (Change, INJECTOR),
        (Apply, TAG),
    ]
    first, change = made.events[0], made.events[-2]
    assert isinstance(first, Apply)
    assert first.query == QUERY
    assert isinstance(change, Change)
    assert change.manager == "istioctl"


def test_what_the_stand_in_does_not_know_is_no_recording(istioctl: Istioctl) -> None:
    istioctl.does([*CALLS, ("DELETE", ISTIOD, "")])
    with pytest.raises(ProbeError) as raised:
        istioctl.record()
    assert raised.value.seen == f"DELETE {ISTIOD}"
    assert "--mesh-apply istioctl" in raised.value.remedy


def test_an_istioctl_that_fails_is_no_recording(istioctl: Istioctl) -> None:
    istioctl.does([("GET", TAG, "")])
    with pytest.raises(ProbeError, match="exit status 1"):
        istioctl.record()


def test_what_a_recording_depends_on_is_in_its_key(istioctl: Istioctl, tmp_path: Path) -> None:
    other = tmp_path / "other"
    shutil.copy(istioctl.program, other)
    argv = ("istioctl", "install", "--context=a", "-f", "cluster1.yaml", "--readiness-timeout=9s")
    made = InstallCall(argv, {"cluster1.yaml": "a"})
    key = made.key(istioctl.program, VERSION)
    same = InstallCall(
        (*("istioctl", "install", "--context=b", "-f", "cluster1.yaml"), "--kubeclient-timeout=1s"),
        {"cluster1.yaml": "a"},
    )
    assert same.key(other, VERSION) == key
    other.with_name("changed").write_text("#!/bin/sh\n", encoding="utf-8")
    keys = {
        key,
        made.key(other.with_name("changed"), VERSION),
        made.key(other, {"gitVersion": "v1.36.4"}),
        InstallCall((*argv, "--revision=x"), made.files).key(other, VERSION),
        InstallCall(argv, {"cluster1.yaml": "b"}).key(other, VERSION),
        InstallCall(argv, made.files, (RECORDING,)).key(other, VERSION),
    }
    assert len(keys) == 6


class Cluster(StandIn):
    """A cluster whose objects are watched, and whose controllers take their time.

    Attributes:
        steps: how often something is looked at until it is ready.
        bundle: what its istiod gives webhooks; empty for nothing.
    """

    def __init__(self, *, steps: int = 0, bundle: str = "") -> None:
        super().__init__(VERSION)
        self.steps = steps
        self.bundle = bundle
        self.looked: list[str] = []

    def get(self, path: str, query: Mapping[str, str]) -> tuple[int, Any]:
        if "watch" in query:
            name = query["fieldSelector"].partition("=")[2]
            status, item = super().get(f"{path}/{name}", {})
            self.looked.append(name)
            ready = self.looked.count(name) > self.steps
            return status, {"type": "ADDED", "object": self._as_it_is(item, ready=ready)}
        status, item = super().get(path, query)
        if status == 200 and path.startswith(MUTATING):
            item = copy.deepcopy(item)
            item["webhooks"][0]["clientConfig"]["caBundle"] = self.bundle
        return status, item

    def apply(self, path: str, query: Mapping[str, str], kind: str, body: str) -> tuple[int, Any]:
        if kind == "application/json-patch+json":
            self.events.append(Change(path, query["fieldManager"], json.loads(body)))
            return 200, {}
        return super().apply(path, query, kind, body)

    def _as_it_is(self, item: Mapping[str, Any], *, ready: bool) -> Mapping[str, Any]:
        if item["kind"] == "CustomResourceDefinition":
            return {**item, "status": item["status"] if ready else {}}
        conditions = [{"type": "Available", "status": str(ready), "message": "too few"}]
        pods = {"updatedReplicas": 1, "readyReplicas": int(ready)}
        return {**item, "status": {"observedGeneration": 1, "conditions": conditions, **pods}}


@contextmanager
def lab_of(stand_in: StandIn, folder: Path) -> Iterator[Lab]:
    with stand_in.serving() as url:
        only = cluster(kubeconfig_of(folder, url))
        yield cast("Lab", SimpleNamespace(clusters={"cluster1": only}))


def perform(
    replay: Replay,
    istioctl: Istioctl,
    command: Command | None = None,
    running: RunningProgram | None = None,
) -> tuple[Completed | None, str]:
    """How a command ended, and what was logged."""
    log = istioctl.folder / "step.log"
    with log.open("w+b", buffering=0) as opened:
        asked = command or istioctl.command()
        ended = replay.perform(asked, istioctl.context, running or RunningProgram(), opened)
    return ended, log.read_text(encoding="utf-8")


def test_a_cluster_gets_what_istioctl_does_in_its_order(istioctl: Istioctl, tmp_path: Path) -> None:
    bundle = "YSBidW5kbGU="
    real = Cluster(steps=2, bundle=bundle)
    with lab_of(real, tmp_path) as lab:
        ended, log = perform(Replay(lab), istioctl)
    assert ended == Completed((0,), ""), log
    assert "applied 5 objects as istioctl does" in log
    assert [(type(event), event.path) for event in real.events] == [
        (Apply, DEFINITION),
        (Wait, DEFINITION),
        (Apply, ISTIOD),
        (Apply, INJECTOR),
        (Wait, ISTIOD),
        (Apply, INGRESSES),  # not waited for: a step of its own does
        (Change, INJECTOR),
        (Apply, TAG),
    ]
    tag = real.events[-1]
    assert isinstance(tag, Apply)
    assert tag.query == QUERY
    assert yaml.safe_load(tag.body)["webhooks"][0]["clientConfig"]["caBundle"] == bundle


def test_webhooks_without_an_authority_are_given_none(istioctl: Istioctl, tmp_path: Path) -> None:
    real = Cluster()
    with lab_of(real, tmp_path) as lab:
        perform(Replay(lab), istioctl)
    tag = real.events[-1]
    assert isinstance(tag, Apply)
    assert "caBundle" not in yaml.safe_load(tag.body)["webhooks"][0]["clientConfig"]


@pytest.mark.parametrize(("there", "sent"), [("Ignore", {"failurePolicy": "Ignore"}), ("Fail", {})])
def test_webhooks_are_strict_only_where_istiod_has_made_them_so(
    istioctl: Istioctl, tmp_path: Path, there: str, sent: Mapping[str, str]
) -> None:
    path = f"{VALIDATING}/istiod-default-validator"
    item = webhook("ValidatingWebhookConfiguration", "istiod-default-validator")
    item["webhooks"][0]["failurePolicy"] = there
    real = Cluster()
    apply(real, path, item)
    del item["webhooks"][0]["failurePolicy"]
    istioctl.does([("PATCH", path, yaml.safe_dump(item))])
    with lab_of(real, tmp_path) as lab:
        perform(Replay(lab), istioctl)
    last = real.events[-1]
    assert isinstance(last, Apply)
    assert yaml.safe_load(last.body)["webhooks"] == [item["webhooks"][0] | sent]


def test_the_second_run_does_not_start_istioctl(istioctl: Istioctl, tmp_path: Path) -> None:
    logs = []
    for _ in range(2):
        real = Cluster()
        with lab_of(real, tmp_path) as lab:
            _, log = perform(Replay(lab), istioctl)
        logs.append(log)
        assert len(real.events) == 8
    assert ["here is istioctl" in log for log in logs] == [True, False]


def test_the_second_installation_of_a_cluster_is_recorded_after_the_first(
    istioctl: Istioctl, tmp_path: Path
) -> None:
    real = Cluster()
    with lab_of(real, tmp_path) as lab:
        replay = Replay(lab)
        perform(replay, istioctl)
        (istioctl.folder / "cluster1.yaml").write_text("values: {gateway: 1}\n", encoding="utf-8")
        istioctl.does([("GET", INJECTOR, "")])
        ended, log = perform(replay, istioctl)
    assert ended == Completed((0,), ""), log


def test_what_does_not_get_ready_fails_with_what_was_seen(
    istioctl: Istioctl, tmp_path: Path
) -> None:
    real = Cluster(steps=1000)
    with lab_of(real, tmp_path) as lab:
        istioctl.does(CALLS[2:5])
        ended, log = perform(Replay(lab), istioctl, istioctl.command(seconds=0.5))
    assert ended == Completed((1,), "")
    assert "deployments/istiod to be ready within 0.5 s" in log
    assert "0 of 1 pods are ready; Available False too few" in log


def test_a_refusal_fails_with_the_servers_words(istioctl: Istioctl, tmp_path: Path) -> None:
    class Refusing(Cluster):
        def apply(self, *arguments: Any) -> tuple[int, Any]:
            del arguments
            return 403, {"kind": "Status", "message": "a policy is against it"}

    with lab_of(Refusing(), tmp_path) as lab:
        ended, log = perform(Replay(lab), istioctl)
    assert ended == Completed((1,), "")
    assert "a policy is against it" in log


def test_nobody_waits_for_what_was_ended(istioctl: Istioctl, tmp_path: Path) -> None:
    real, running = Cluster(steps=10_000), RunningProgram()
    threading.Timer(0.5, running.end).start()
    with lab_of(real, tmp_path) as lab:
        istioctl.does(CALLS[2:5])
        began = time.monotonic()
        ended, _ = perform(Replay(lab), istioctl, running=running)
    assert ended is None
    assert time.monotonic() - began < 30


@pytest.mark.parametrize(
    ("argv", "taken"),
    [
        (("istioctl", "install", "-y"), True),
        (("istioctl-1.30.2", "install", "-y"), True),
        (("istioctl", "upgrade", "-y"), False),
        (("istioctl", "create-remote-secret", "--name=install"), False),
        (("kubectl", "apply"), False),
    ],
)
def test_only_installations_are_taken(argv: tuple[str, ...], *, taken: bool) -> None:
    replay = Replay(cast("Lab", SimpleNamespace(clusters={})))
    assert replay.takes(Command(argv)) is taken


@given(meshes())
def test_all_that_istioctl_installs_is_waited_for_in_the_end(scenario: Scenario) -> None:
    installation = plan(scenario, BUILT)
    made = with_late_waits(installation, scenario)
    count = len(installation.steps)
    assert [step.id for step in made.steps[:count]] == [step.id for step in installation.steps]
    late = {step.id: (step.cluster, step.needs) for step in made.steps[count:]}
    gateways = [each.name for each in scenario.clusters if scenario.needs_gateway(each.name)]
    assert late == {
        ids.ingress_ready(each.name): (each.name, (ids.istiod(each.name),))
        for each in scenario.primaries
    } | {ids.gateway_ready(each): (each, (ids.gateway(each),)) for each in gateways}


@given(meshes())
def test_pods_of_a_remote_start_when_istiod_can_be_reached(scenario: Scenario) -> None:
    made = with_late_waits(plan(scenario, BUILT), scenario)
    for remote in scenario.remotes:
        ready = ids.gateway_ready(scenario.control_plane_of(remote.name))
        for before in injection(scenario, remote.name)[:1]:
            assert ready in made.needed_by(before)


def test_the_steps_that_wait_name_what_is_left_out() -> None:
    made = with_late_waits(plan(REMOTE, BUILT), REMOTE)
    (ingress,) = made[ids.ingress_ready("cluster1")].commands
    (gateway,) = made[ids.gateway_ready("cluster2")].commands
    assert {f"deployment/{each}" for each in LATE} == {ingress.argv[-2], gateway.argv[-2]}
