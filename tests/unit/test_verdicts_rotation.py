"""Verdicts on changes of authorities that are written down, and how a mesh goes from one to another
and back.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from time import monotonic
from types import SimpleNamespace
from typing import Any, cast

import pytest
from fake_kube import pod
from mesh_examples import SCENARIOS
from verdicts import SOURCE

from mesh_fixtures.contract import GUIDE_NAMES
from mesh_fixtures.errors import ProbeError
from mesh_fixtures.install.certificates import CLUSTER_FILES, make_certificates, make_root
from mesh_fixtures.install.certificates import write_certificates as write
from mesh_fixtures.install.executor import working_folder
from mesh_fixtures.kube import Container, Meta, Pod, Secret
from mesh_fixtures.kube.resources import DEPLOYMENTS, SECRETS, STATEFUL_SETS
from mesh_fixtures.probe.certificates import Certificate, read_authority
from mesh_fixtures.probe.continuous import Stream, TimedRequest
from mesh_fixtures.probe.identities import Identity
from mesh_fixtures.probe.proxies import Proxy, ProxyAnswers
from mesh_fixtures.probe.traffic import Answer, Failure
from mesh_fixtures.requirements import (
    ObservedMesh,
    Outcome,
    rotating,
    rotation_1,
    rotation_2,
    rotation_stages,
)
from mesh_fixtures.requirements.restarted_workloads import RESTARTED, left, read_workload
from mesh_fixtures.requirements.rotating import REPLACED_SECONDS, StagePart, moved, trusting
from mesh_fixtures.requirements.rotation_stages import (
    Files,
    Stage,
    own_authorities,
    own_root,
    to_another_root,
    to_other_intermediates,
)
from mesh_fixtures.verdict.findings import Finding
from mesh_fixtures.workloads import NO_INJECTION

SCENARIO = SCENARIOS["multi-primary-multi-network"]
REMOTE = SCENARIOS["primary-remote"]
ROOT = make_root(SCENARIO)
STEP, BEGUN, ENDED, LAST = 0.05, 5.0, 15.0, 45.0
MET = Outcome.judged(())
TROUBLE = ProbeError(wanted="an answer", seen="none", where="cluster1")


def files(made: Mapping[str, bytes]) -> Files:
    clusters = ("cluster1", "cluster2")
    return {each: {name: made[f"{each}/{name}"] for name in CLUSTER_FILES} for each in clusters}


GIVEN = files(make_certificates(SCENARIO, ROOT))
BOTH, INTERMEDIATES, NEW = to_another_root(SCENARIO, GIVEN)
(RENEWED,) = to_other_intermediates(SCENARIO, GIVEN, ROOT)
OWN = Stage("", "it is as it was", GIVEN)


def said(outcome: Outcome) -> str:
    return "\n".join(map(str, outcome.findings))


# Stages ------------------------------------------------------------------------------------------


def test_what_signs_is_trusted_by_all_in_each_stage_and_in_the_one_before() -> None:
    stages = (OWN, BOTH, INTERMEDIATES, NEW)
    for stage in stages:
        for cluster in GIVEN:
            secret = Secret(Meta("cacerts"), stage.files[cluster])
            assert read_authority(SOURCE, secret, datetime.now(UTC)).defects == ()
    for earlier, later in pairwise(stages):
        one, other = (
            {
                name: read_authority(SOURCE, Secret(Meta("cacerts"), each), datetime.now(UTC))
                for name, each in those
            }
            for those in (earlier.files.items(), later.files.items())
        )
        for verifying in (*one.values(), *other.values()):
            for signing in (*one.values(), *other.values()):
                assert verifying.material.accepts(signing.material)


def test_the_old_root_is_gone_in_the_end_and_no_sooner() -> None:
    old = OWN.roots("cluster1")
    assert len(BOTH.roots("cluster1")) == len(INTERMEDIATES.roots("cluster2")) == 2
    assert BOTH.issuing("cluster1") == OWN.issuing("cluster1")
    assert INTERMEDIATES.issuing("cluster1") == NEW.issuing("cluster1") != OWN.issuing("cluster1")
    assert not NEW.roots("cluster1") & old
    assert BOTH.roots("cluster1") == NEW.roots("cluster1") | old
    assert all(each.starts_anew for each in (BOTH, INTERMEDIATES, NEW))


def test_renewed_intermediates_keep_their_root_and_istiod() -> None:
    assert not RENEWED.starts_anew
    for cluster, given in GIVEN.items():
        assert RENEWED.files[cluster]["root-cert.pem"] == given["root-cert.pem"]
        assert RENEWED.issuing(cluster) != OWN.issuing(cluster)
        assert (
            read_authority(
                SOURCE, Secret(Meta("cacerts"), RENEWED.files[cluster]), datetime.now(UTC)
            ).defects
            == ()
        )


# Requests ----------------------------------------------------------------------------------------

REFUSED = (
    "upstream connect error or disconnect/reset before headers. reset reason: remote connection "
    "failure, transport failure reason: TLS_error:|268435581:CERTIFICATE_VERIFY_FAILED"
)
RESET = "upstream connect error or disconnect/reset before headers. reset reason: connection reset"


def stream(client: str, *failing: tuple[float, float], message: str = RESET) -> Stream:
    """Requests every 50 ms, of which those fail that begin within given times."""
    found: list[TimedRequest] = []
    while (begun := len(found) * STEP) < LAST:
        index = len(found) + 1
        failed = any(first <= begun < end for first, end in failing)
        outcome = (
            Failure(index, 0, 503, message, 0.01) if failed else Answer(index, "v1", "pod-1", 0.01)
        )
        found.append(TimedRequest(begun, 0.01, outcome))
    return Stream(SOURCE, client, tuple(found))


def change(
    *streams: Stream,
    budget: int = 0,
    missing: tuple[Finding, ...] = (),
    first: Iterable[Stream] = (),
) -> Outcome:
    return StagePart(
        "both_roots.servers",
        "both roots are trusted",
        BEGUN,
        ENDED,
        missing,
        budget,
        {each.cluster: each for each in streams},
        {each.cluster: each for each in first},
    ).judged()


def test_a_change_without_an_error_holds_and_is_measured() -> None:
    outcome = change(stream("cluster1"), first=[stream("cluster2")])
    assert outcome.result == "met"
    assert outcome.figures["both_roots.servers.seconds"] == 10.0
    assert outcome.figures["both_roots.servers.cluster1.failures"] == 0
    assert outcome.figures["both_roots.servers.cluster2.first_failures"] == 0
    assert cast("int", outcome.figures["both_roots.servers.cluster2.first_requests"]) > 100


@pytest.mark.parametrize(
    ("seconds", "budget", "message", "finding"),
    [
        (0.1, 0, RESET, "expected no error, when both roots are trusted"),
        (0.1, REPLACED_SECONDS, RESET, ""),
        (
            REPLACED_SECONDS + 1,
            REPLACED_SECONDS,
            RESET,
            f"at most {REPLACED_SECONDS} errored seconds",
        ),
        (0.1, REPLACED_SECONDS, REFUSED, "no peer to be refused for its certificate"),
    ],
)
def test_errors_within_the_budget_are_free_but_for_certificates(
    seconds: float, budget: int, message: str, finding: str
) -> None:
    failing = stream("cluster2", (6.0, 6.0 + seconds), message=message)
    outcome = change(stream("cluster1"), failing, budget=budget)
    assert outcome.result == ("unmet" if finding else "met")
    assert finding in said(outcome)
    assert "cluster1:" not in said(outcome)


def test_errors_that_go_on_and_those_of_a_new_client_count() -> None:
    late = change(stream("cluster1", (31.0, 31.1)), budget=REPLACED_SECONDS)
    assert "no error in the end, when both roots are trusted" in said(late)
    first = change(first=[stream("cluster1", (0.0, 0.1))])
    assert "no error of a new client's first requests" in said(first)


def test_what_does_not_come_about_counts_without_an_error() -> None:
    missing = Finding("cluster2", "new pods only", "an old one")
    assert change(stream("cluster1"), missing=(missing,)).findings == (missing,)


# Trust -------------------------------------------------------------------------------------------


def test_each_state_is_judged_by_what_must_hold_of_trust() -> None:
    finding = Finding("cluster2", "every proxy to trust the new root", "the old one")
    outcome = trusting("it signs", {"TRUST-1": Outcome.judged([finding]), "TRUST-2": MET})
    assert said(outcome).startswith("cluster2: expected TRUST-1: when it signs: every proxy")
    blind = trusting("it signs", {"TRUST-1": MET, "TRUST-2": Outcome.inconclusive(TROUBLE)})
    assert blind.trouble is TROUBLE
    assert trusting("it signs", {"TRUST-1": MET, "TRUST-2": MET}).result == "met"
    assert {each.id for each in rotating.TRUST} == {"TRUST-1", "TRUST-2"}


def proxy(cluster: str) -> Proxy:
    return Proxy(SOURCE, cluster, pod(f"sleep-{cluster}"))


def holding(stage: Stage, cluster: str, roots: Stage | None = None) -> Identity:
    """What a proxy holds that was started in a stage."""
    known = (roots or stage).files[cluster]
    secret = Secret(
        Meta("cacerts"), {**stage.files[cluster], "root-cert.pem": known["root-cert.pem"]}
    )
    material = read_authority(SOURCE, secret, datetime.now(UTC)).material
    return Identity(SOURCE, stage.issuing(cluster), ("spiffe://a",), material, ())


Held = Mapping[str, ProxyAnswers[Identity | None]]


def held(**by_cluster: Identity | None) -> Held:
    return {name: ProxyAnswers(((proxy(name), seen),)) for name, seen in by_cluster.items()}


@pytest.mark.parametrize(
    ("second", "seen"),
    [
        (holding(INTERMEDIATES, "cluster2"), ""),
        (holding(BOTH, "cluster2"), "but saw one of"),
        (holding(NEW, "cluster2"), "and trust in"),
        (holding(INTERMEDIATES, "cluster1"), "but saw one of"),
        (None, "but saw no certificate, and trust in none"),
    ],
)
def test_all_proxies_hold_what_a_stage_is_about(second: Identity | None, seen: str) -> None:
    found = held(cluster1=holding(INTERMEDIATES, "cluster1"), cluster2=second)
    outcome = moved(INTERMEDIATES, SCENARIO, found)
    assert outcome.result == ("unmet" if seen else "met")
    assert seen in said(outcome)


def test_a_remote_has_its_primary_and_a_silent_proxy_says_nothing() -> None:
    one = holding(NEW, "cluster1")
    assert moved(NEW, REMOTE, held(cluster1=one, cluster2=one)).result == "met"
    silent: Held = {"cluster1": ProxyAnswers((), ((proxy("cluster1"), TROUBLE),))}
    assert moved(NEW, SCENARIO, silent).trouble is TROUBLE


# Restarts ----------------------------------------------------------------------------------------


def manifest(name: str, namespace: str = "sample", **labels: str) -> dict[str, Any]:
    app = {"app": name, **labels}
    template: dict[str, Any] = {"metadata": {"labels": app}}
    meta = {"name": name, "namespace": namespace}
    spec = {"replicas": 1, "selector": {"matchLabels": {"app": name}}, "template": template}
    return {"metadata": meta, "spec": spec}


def fresh(name: str, stage: str = "", **others: Any) -> Pod:
    """A pod that serves and was started for a stage."""
    made = pod(name)
    annotations = {RESTARTED: stage} if stage else {}
    return replace(made, meta=replace(made.meta, annotations=annotations), **others)


def test_what_has_a_proxy_is_restarted() -> None:
    proxied = {"containers": [{"name": "istio-proxy"}]}
    for labels, of_pods, has_proxy in (
        ({}, {}, True),
        (dict(NO_INJECTION), {}, False),
        (dict(NO_INJECTION), proxied, True),
    ):
        made = manifest("ingress", "istio-system", **labels)
        made["spec"]["template"]["spec"] = of_pods
        assert read_workload(DEPLOYMENTS, made).has_proxy == has_proxy


@pytest.mark.parametrize(
    ("pods", "why"),
    [
        ([fresh("new", "one")], ""),
        ([fresh("new", "one"), fresh("done", phase="Succeeded")], ""),
        ([], "0 of 1 pods are new; no other"),
        ([fresh("old")], "0 of 1 pods are new; old"),
        ([fresh("new", "one"), fresh("old", terminating=True)], "1 of 1 pods are new; old"),
        ([fresh("new", "one", ready=False)], "0 of 1 pods are new; new"),
    ],
)
def test_a_workload_is_restarted_once_all_its_pods_are_new(pods: list[Pod], why: str) -> None:
    workload = read_workload(DEPLOYMENTS, manifest("helloworld-v1"))
    assert left(workload, pods, "one").startswith(why)
    assert bool(left(workload, pods, "one")) == bool(why)


# A mesh ------------------------------------------------------------------------------------------


@dataclass
class World:
    """Two clusters that do what they are told at once, and what was done to them.

    Attributes:
        stubborn: of a cluster, the name of the workload whose pods stay as they are.
        deaf: cluster whose istiod goes on with what it has.
    """

    folder: Path
    secrets: dict[str, dict[str, bytes]] = field(
        default_factory=lambda: {name: dict(each) for name, each in GIVEN.items()}
    )
    stages: dict[tuple[str, str], str] = field(default_factory=dict)
    pods: dict[tuple[str, str], str] = field(default_factory=dict)
    done: list[str] = field(default_factory=list)
    stubborn: tuple[str, str] | None = None
    deaf: str = ""
    external: bool = False

    def kube(self, cluster: str) -> Any:
        return SimpleNamespace(
            name=cluster,
            names=GUIDE_NAMES,
            sample_namespace="sample",
            get=lambda resource, namespace, name: Secret(Meta(name), self.secrets[cluster]),
            items=lambda resource, namespace: self.items(cluster, resource, namespace),
            list=lambda resource, namespace, selector: [
                fresh(selector, self.pods.get((cluster, selector.partition("=")[2]), ""))
            ],
        )

    def items(self, cluster: str, resource: object, namespace: str) -> list[dict[str, Any]]:
        if resource is STATEFUL_SETS:
            return []
        names = ("istiod", "gateway") if namespace == "istio-system" else ("helloworld", "sleep")
        found = [manifest(name, namespace) for name in names]
        if namespace == "sample":
            found.append(manifest("plain-client", namespace, **NO_INJECTION))
        if namespace == "istio-system":  # which Istio's own manifests have injected by nobody
            found[0]["spec"]["template"]["metadata"]["labels"] |= dict(NO_INJECTION)
            found[0]["spec"]["selector"]["matchLabels"] = {"istio": "istiod"}
        for each in found:
            stage = self.stages.get((cluster, each["metadata"]["name"]), "")
            each["spec"]["template"]["metadata"]["annotations"] = {RESTARTED: stage}
        return found

    def editor(self, cluster: str) -> Any:
        def patch(resource: object, namespace: str, name: str, body: Mapping[str, Any]) -> None:
            if resource is SECRETS:
                self.done.append(f"{cluster} {name}")
                given = Secret.read({"metadata": {"name": name}, "data": body["data"]}).data
                self.secrets[cluster] = {**self.secrets[cluster], **given}
                return
            annotations = body["spec"]["template"]["metadata"]["annotations"]
            stage = annotations[RESTARTED] or ""
            self.done.append(f"{cluster} {name} {stage}".rstrip())
            self.stages[cluster, name] = stage
            if (cluster, name) != self.stubborn:
                self.pods[cluster, name] = stage

        return SimpleNamespace(patch=patch)

    @property
    def mesh(self) -> ObservedMesh:
        kube = {name: self.kube(name) for name in GIVEN}
        lab = SimpleNamespace(id="mesh-1", folder=self.folder, external=self.external)
        view = SimpleNamespace(
            lab=lab,
            scenario=SCENARIO,
            kube=kube,
            data_planes=tuple(kube),
            each=lambda probe, names=kube: {name: probe(kube[name]) for name in names},
        )
        found = SimpleNamespace(view=view, scenario=SCENARIO, forget=lambda: None)
        return cast("ObservedMesh", found)

    def authority(self, cluster: str) -> Stage:
        known = GIVEN if cluster == self.deaf else self.secrets
        return Stage("", "", known)


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    world = World(tmp_path)
    made = working_folder(cast("Any", SimpleNamespace(folder=tmp_path))) / "certs"
    made.mkdir(parents=True)
    (made / "root-cert.pem").write_bytes(ROOT.certificate_pem)

    class Traffic:
        """Clients that are always answered."""

        def __init__(self, view: object, *, seconds: int, clusters: Iterable[str]) -> None:
            self.clusters = list(clusters)

        def __enter__(self) -> Traffic:
            return self

        def __exit__(self, *_: object) -> None:
            pass

        def stop(self) -> Mapping[str, Stream]:
            return {name: always(name) for name in self.clusters}

    def always(client: str) -> Stream:
        whole = stream(client).requests
        offset = monotonic()
        return Stream(
            SOURCE, client, tuple(replace(each, begun=offset + each.begun) for each in whole)
        )

    def told(kube: Any, namespace: str) -> tuple[Certificate, ...]:
        return world.authority(kube.name).read(kube.name, "root-cert.pem")

    @contextmanager
    def disrupting(mesh: ObservedMesh, what: str) -> Any:
        undoing: list[Callable[[], None]] = []
        disruption = SimpleNamespace(
            editor=world.editor, undo_by=lambda what, action: undoing.append(action), figures={}
        )
        yield disruption
        for action in undoing:
            world.done.append("undone")
            action()

    monkeypatch.setattr(rotating, "ContinuousTraffic", Traffic)
    monkeypatch.setattr(rotating, "begin", lambda traffic: None)
    monkeypatch.setattr(rotating, "watch", lambda *of: None)
    monkeypatch.setattr(rotating, "TRUST", ())
    monkeypatch.setattr(rotating, "TAKEN_OVER_SECONDS", 0.0)
    monkeypatch.setattr(rotating, "RESTARTED_SECONDS", 0.0)
    monkeypatch.setattr(rotating, "root_bundle", told)
    monkeypatch.setattr(rotating, "istiods", lambda kube: (pod("istiod-1"),))
    monkeypatch.setattr(
        rotating,
        "signing_until",
        lambda kube, _: world.authority(kube.name).issuing(kube.name).not_after.timestamp(),
    )
    monkeypatch.setattr(
        rotating,
        "identities",
        lambda kube: held(
            **{kube.name: holding(Stage("", "", world.secrets), kube.name)},
        )[kube.name],
    )
    monkeypatch.setattr("mesh_fixtures.requirements.resilience_traffic.disrupting", disrupting)
    return world


def test_the_mesh_moves_to_another_root_and_back(world: World) -> None:
    outcome = rotation_1.judge(world.mesh)
    assert outcome.result == "met", said(outcome)
    assert world.secrets == GIVEN
    assert {*world.stages.values()} == {*world.pods.values()} == {""}
    of_stage = [each for each in world.done if each.endswith("both_roots")]
    assert world.done[:2] == ["cluster1 cacerts", "cluster2 cacerts"]
    assert of_stage == [
        *("cluster1 istiod both_roots", "cluster2 istiod both_roots"),
        *(f"cluster{n} {name} both_roots" for name in ("gateway", "helloworld") for n in (1, 2)),
        *("cluster1 sleep both_roots", "cluster2 sleep both_roots"),
    ]
    assert not any("plain-client" in each for each in world.done)
    assert "new_root.clients.cluster2.cluster2.first_failures" in outcome.figures
    assert "seconds_to_return" in outcome.figures


def test_no_rotation_where_istiod_does_not_sign_for_proxies(world: World) -> None:
    proxy = Container("istio-proxy", mounts={"/run/secrets/workload-spiffe-uds": "workload-socket"})
    served = fresh("sleep-1", containers=(proxy,), volumes={"workload-socket": "csi"})
    seen = world.mesh
    kube: Any = seen.view.kube["cluster2"]
    kube.list = lambda resource, namespace, selector: [served]
    with pytest.raises(ProbeError, match="proxies in cluster2 whose certificates istiod does not"):
        rotation_1.judge(seen)
    assert world.done == []


def test_istiod_is_not_restarted_for_renewed_intermediates(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rotation_stages, "kept_root", lambda folder: ROOT)
    outcome = rotation_2.judge(world.mesh)
    assert outcome.result == "met", said(outcome)
    assert not any("istiod" in each for each in world.done)
    assert world.secrets == GIVEN


def test_a_cluster_that_does_not_follow_ends_it_and_all_is_as_before(world: World) -> None:
    world.deaf = "cluster2"
    outcome = rotation_1.judge(world.mesh)
    (finding,) = outcome.findings
    assert finding.cluster == "cluster2"
    assert "istio-ca-root-cert of istio-system in cluster2" in finding.seen
    assert finding.about.clusters == ("cluster2",)
    assert "cluster1 gateway both_roots" not in world.done
    assert world.secrets == GIVEN
    assert {*world.stages.values()} == {""}


def test_istiod_that_goes_on_with_an_intermediate_is_found(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rotation_stages, "kept_root", lambda folder: ROOT)
    monkeypatch.setattr(rotating, "signing_until", lambda kube, _: None)
    stage, mesh = RENEWED, world.mesh
    given = own_authorities(mesh)
    with pytest.raises(ProbeError, match="sign with a certificate that ends at unknown"):
        rotating.rotated(mesh, given, [stage])


def test_pods_that_stay_are_found_and_named(world: World) -> None:
    world.stubborn = ("cluster2", "helloworld")
    (finding,) = rotation_1.judge(world.mesh).findings
    assert "new pods only of Deployment sample/helloworld" in finding.expected
    assert finding.about.objects == ("Deployment/sample/helloworld",)
    assert world.secrets == GIVEN


def test_what_is_not_ours_is_not_touched(world: World) -> None:
    world.external = True
    with pytest.raises(ProbeError, match="made elsewhere"):
        rotation_1.judge(world.mesh)
    world.external = False
    with pytest.raises(ProbeError, match="key was not kept"):
        own_root(world.mesh)
    world.secrets["cluster2"]["root-cert.pem"] = make_root(SCENARIO).certificate_pem
    with pytest.raises(ProbeError, match="cacerts of cluster2 with other contents"):
        rotation_1.judge(world.mesh)
    assert world.done == []


def test_a_root_that_was_kept_is_found(world: World) -> None:
    folder = working_folder(cast("Any", SimpleNamespace(folder=world.folder)))
    write(SCENARIO, folder, keep_root_key=True)
    assert own_root(world.mesh).certificate_pem == (folder / "certs/root-cert.pem").read_bytes()
    (folder / "certs" / "root-key.pem").write_bytes(b"text")
    with pytest.raises(ProbeError, match="nobody else's are replaced"):
        own_root(world.mesh)
