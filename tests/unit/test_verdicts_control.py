"""Verdicts on written-down observations: each can hold, and each can fail. Control plane."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
from fake_kube import pod
from mesh_examples import SCENARIOS
from verdicts import SOURCE, FakeView, checked, holds_unless, mesh

from mesh_fixtures.kube import Container, Deployment, Meta
from mesh_fixtures.kube.admission import refusal_in
from mesh_fixtures.probe.istiod import KnownClusters, RemoteCluster
from mesh_fixtures.probe.remote_secrets import RemoteSecret
from mesh_fixtures.probe.workloads import ControlPlane, Workload, injection_of
from mesh_fixtures.requirements import Outcome, control_1, control_4, discovery_1, workload_1

# CONTROL-1 ----------------------------------------------------------------------------------------


def plane(cluster: str, ready: int | None = None) -> ControlPlane:
    meta = Meta("istiod", "istio-system")
    deployments = () if ready is None else (Deployment(meta, 1, ready),)
    return ControlPlane(SOURCE, cluster, deployments, ())


@pytest.mark.parametrize(
    ("primary", "remote", "finding"),
    [
        (1, None, ""),
        (0, None, "cluster1: expected an istiod with a ready pod"),
        (None, None, "cluster1: expected an istiod with a ready pod, in a primary, but saw no"),
        (1, 1, ""),
    ],
)
def test_control(primary: int | None, remote: int | None, finding: str) -> None:
    ready = {"cluster1": primary, "cluster2": remote}
    probes = control_1.Probes(control_plane=lambda kube: plane(kube.name, ready[kube.name]))
    outcome = checked(control_1, mesh(FakeView(SCENARIOS["primary-remote"])), probes)
    assert holds_unless(finding, outcome)


def test_replicas_that_are_missing_while_others_serve_are_noted() -> None:
    def part(kube: Any) -> ControlPlane:
        deployment = Deployment(Meta("istiod", "istio-system"), 3, 2)
        return replace(plane(kube.name), deployments=(deployment,))

    probes = control_1.Probes(control_plane=part)
    outcome = checked(control_1, mesh(FakeView(SCENARIOS["primary-remote"])), probes)
    assert outcome.result == "met"
    assert outcome.notes == ("cluster1: istio-system/istiod has 2 of 3 pods ready",)


# CONTROL-4 ----------------------------------------------------------------------------------------

NOT_ANSWERING = (
    'Internal error occurred: failed calling webhook "validation.istio.io": failed to call '
    'webhook: Post "https://istiod.istio-system.svc:443/validate": service "istiod" not found'
)
DENIED = 'admission webhook "validate.policies.example" denied the request: no such rules here'


def trying(message: str, asked: list[str] | None = None) -> control_4.Probes:
    """cluster1 refuses, if there is a message; others admit."""

    def try_rule(view: Any, cluster: str) -> control_4.TriedRule:
        (asked if asked is not None else []).append(cluster)
        refused = message and cluster == "cluster1"
        return control_4.TriedRule(SOURCE, refusal_in(message) if refused else None)

    return control_4.Probes(try_rule=try_rule)


@pytest.mark.parametrize(
    ("message", "finding"),
    [
        ("", ""),
        (NOT_ANSWERING, "cluster1: expected a DestinationRule to be admitted"),
        (DENIED, ""),
    ],
)
def test_configuration_that_can_be_changed(message: str, finding: str) -> None:
    outcome = checked(control_4, mesh(FakeView(SCENARIOS["multi-primary"])), trying(message))
    assert holds_unless(finding, outcome)
    assert [DENIED in each for each in outcome.notes] == [True] * (message == DENIED)


def test_only_clusters_with_the_meshs_configuration_are_tried() -> None:
    asked: list[str] = []
    checked(control_4, mesh(FakeView(SCENARIOS["primary-remote"])), trying("", asked))
    assert asked == ["cluster1"]


def test_a_webhook_of_others_that_does_not_answer_says_nothing_of_the_mesh() -> None:
    message = NOT_ANSWERING.replace("validation.istio.io", "validate.policies.example")
    for text, is_of_mesh in ((message, False), (NOT_ANSWERING, True)):
        seen = control_4.TriedRule(SOURCE, refusal_in(text))
        assert seen.is_unanswered == is_of_mesh


# DISCOVERY-1 --------------------------------------------------------------------------------------


def known(*clusters: tuple[str, str]) -> KnownClusters:
    those = tuple(RemoteCluster(name, "", status, "istiod-1") for name, status in clusters)
    return KnownClusters(SOURCE, "istiod-1", those)


@pytest.mark.parametrize(
    ("clusters", "finding"),
    [
        ((("cluster1", "synced"), ("cluster2", "synced")), ""),
        ((("cluster1", "synced"),), "but saw cluster1 synced"),
        ((("cluster1", "synced"), ("cluster2", "timeout")), "but saw cluster1 synced, cluster2 ti"),
        ((("cluster1", "synced"), ("cluster2", "synced"), ("cluster3", "synced")), "cluster3"),
        (None, "expected a ready istiod to ask, but saw none"),
    ],
)
def test_discovery_of_api_servers(
    clusters: tuple[tuple[str, str], ...] | None, finding: str
) -> None:
    seen = () if clusters is None else (known(*clusters),)
    probes = discovery_1.Probes(remote_clusters=lambda kube: seen, secrets=lambda kube, view: ())
    outcome = checked(discovery_1, mesh(FakeView(SCENARIOS["primary-remote"])), probes)
    assert holds_unless(finding, outcome)
    assert outcome.figures["cluster1.seconds_to_synced"] == pytest.approx(0, abs=5)


def remote_secret(**fields: Any) -> RemoteSecret:
    given: dict[str, Any] = {"leads_to": "cluster2", "accepted": True, **fields}
    return RemoteSecret("secret-2", "cluster2", True, "https://b", created="", **given)


@pytest.mark.parametrize(
    ("secret", "finding"),
    [
        (remote_secret(), ""),
        (remote_secret(accepted=None), ""),
        (remote_secret(accepted=False), "cluster2 refuse its token"),
        (remote_secret(denied=("list pods", "watch pods")), "deny list pods, watch pods"),
        (remote_secret(denied=("list pods",), leads_to="cluster1"), ""),
    ],
)
def test_access_that_ends_with_the_present_watches(secret: RemoteSecret, finding: str) -> None:
    seen = (known(("cluster1", "synced"), ("cluster2", "synced")),)
    probes = discovery_1.Probes(
        remote_clusters=lambda kube: seen, secrets=lambda kube, view: (secret,)
    )
    outcome = checked(discovery_1, mesh(FakeView(SCENARIOS["primary-remote"])), probes)
    assert holds_unless(finding, outcome)


def read_by(secret: str, *, status: str = "synced") -> KnownClusters:
    """What an istiod says that reads cluster2 by a secret."""
    own = RemoteCluster("cluster1", "", "synced", "istiod-1")
    other = RemoteCluster("cluster2", secret, status, "istiod-1")
    return KnownClusters(SOURCE, "istiod-1", (own, other))


IN_USE, COPY = "istio-system/secret-2", "istio-system/copy-2"
USELESS = "to let the account of secret-2 read what istiod needs, but saw cluster2 refuse its token"


@pytest.mark.parametrize(
    ("istiods", "finding", "is_noted"),
    [
        ((read_by(IN_USE),), USELESS, False),
        ((read_by(COPY),), "", True),
        ((read_by(COPY), read_by(IN_USE)), USELESS, False),
        ((read_by(COPY), read_by(COPY)), "", True),
        ((read_by(COPY, status="timeout"),), USELESS, False),
        ((read_by(""),), USELESS, False),
    ],
)
def test_of_two_secrets_for_a_cluster_the_one_that_is_used_matters(
    istiods: tuple[KnownClusters, ...], finding: str, is_noted: bool
) -> None:
    dead = remote_secret(accepted=False)
    given = (dead, replace(remote_secret(), name="copy-2"))
    probes = discovery_1.Probes(
        remote_clusters=lambda kube: istiods, secrets=lambda kube, view: given
    )
    outcome = checked(discovery_1, mesh(FakeView(SCENARIOS["primary-remote"])), probes)
    assert finding in "; ".join(map(str, outcome.findings))
    assert (outcome.result == "met") is not bool(finding)
    noted = "cluster2 denies everything to the account of secret-2. istiod reads cluster2 by copy-2"
    assert any(noted in each for each in outcome.notes) is is_noted


@pytest.mark.parametrize("accepted", [True, False, None])
def test_a_cluster_that_is_read_by_an_earlier_name_too_is_noted(accepted: bool | None) -> None:
    described = SCENARIOS["primary-remote"].model_copy(update={"others": ("k2",)})
    own = known(("cluster1", "synced"), ("cluster2", "synced"), ("k2", "synced"))
    earlier = replace(remote_secret(accepted=accepted), name="secret-k2", cluster="k2")
    probes = discovery_1.Probes(
        remote_clusters=lambda kube: (own,), secrets=lambda kube, view: (remote_secret(), earlier)
    )
    outcome = checked(discovery_1, mesh(FakeView(described)), probes)
    assert outcome.result == "met"
    noted = "cluster1: k2, which istiod reads by secret-k2, is cluster2"
    assert [each.startswith(noted) for each in outcome.notes] == [True] * (accepted is True)


@pytest.mark.parametrize(
    ("hours", "noted"), [(None, False), (-1.0, False), (5.01, True), (24 * 365.0, False)]
)
def test_a_token_that_ends_soon_is_noted(hours: float | None, noted: bool) -> None:
    seen = (known(("cluster1", "synced"), ("cluster2", "synced")),)
    expires = None if hours is None else time.time() + hours * 3600
    probes = discovery_1.Probes(
        remote_clusters=lambda kube: seen,
        secrets=lambda kube, view: (remote_secret(expires=expires),),
    )
    outcome = checked(discovery_1, mesh(FakeView(SCENARIOS["primary-remote"])), probes)
    assert outcome.result == "met"
    wanted = "cluster1: the token in secret-2 for cluster2 expires in 5 hours"
    assert [each.partition(",")[0] for each in outcome.notes] == [wanted] * noted


@pytest.mark.parametrize("status", ["synced", "timeout"])
def test_clusters_that_are_not_described_may_be_read_and_need_not_be_synced(status: str) -> None:
    described = SCENARIOS["primary-remote"].model_copy(update={"others": ("cluster3",)})
    own = known(("cluster1", "synced"), ("cluster2", "synced"), ("cluster3", status))
    probes = discovery_1.Probes(remote_clusters=lambda kube: (own,), secrets=lambda kube, view: ())
    assert checked(discovery_1, mesh(FakeView(described)), probes).result == "met"


# WORKLOAD-1 ---------------------------------------------------------------------------------------


MESH = {"ISTIO_META_NETWORK": "network1", "ISTIO_META_MESH_ID": "mesh1"}


def workload(
    app: str, version: str, cluster: str, env: Mapping[str, str] | None = None, **changes: Any
) -> Workload:
    injected = {"ISTIO_META_CLUSTER_ID": cluster, **MESH, **(env or {})}
    proxy = Container("istio-proxy", env=injected, ready=True)
    containers = (proxy, Container(app, ready=True))
    running = replace(pod(f"{app}-1"), **{"containers": containers, **changes})
    return Workload(SOURCE, cluster, app, version, running, injection_of(running))


def workloads(cluster: str, **changes: Any) -> tuple[Workload, ...]:
    version = cluster.replace("cluster", "v")
    return (
        workload("helloworld", version, cluster, **changes),
        workload("sleep", "", cluster),
    )


def check_workloads(
    found: dict[str, tuple[Workload, ...]], topology: str = "primary-remote"
) -> Outcome:
    probes = workload_1.Probes(workloads=lambda kube: found[kube.name])
    return checked(workload_1, mesh(FakeView(SCENARIOS[topology])), probes)


def test_workloads_that_run() -> None:
    found = {name: workloads(name) for name in ("cluster1", "cluster2")}
    assert check_workloads(found).result == "met"


@pytest.mark.parametrize(
    ("second", "finding"),
    [
        (workloads("cluster2")[:1], "pods of helloworld v2, sleep only, but saw"),
        ((), "but saw none"),
        (workloads("cluster2", ready=False), "to be Running with every container"),
        (workloads("cluster2", containers=()), "expected a proxy in sample/hello"),
    ],
)
def test_workloads_that_do_not(second: tuple[Workload, ...], finding: str) -> None:
    seen = {"cluster1": workloads("cluster1"), "cluster2": second}
    assert holds_unless(finding, check_workloads(seen))


@pytest.mark.parametrize(
    ("variable", "value", "finding"),
    [
        ("CLUSTER_ID", "Kubernetes", "configured with cluster cluster1, but saw Kubernetes"),
        ("NETWORK", "network2", "configured with network network1, but saw network2"),
    ],
)
def test_workloads_of_another_place(variable: str, value: str, finding: str) -> None:
    wrong = workload("sleep", "", "cluster1", {f"ISTIO_META_{variable}": value})
    found = {"cluster1": (workloads("cluster1")[0], wrong), "cluster2": workloads("cluster2")}
    assert holds_unless(finding, check_workloads(found))


def test_a_network_must_be_named_where_there_are_several() -> None:
    unnamed: dict[str, tuple[Workload, ...]] = {
        name: (
            workload("helloworld", f"v{name[-1]}", name, {"ISTIO_META_NETWORK": ""}),
            workload("sleep", "", name, {"ISTIO_META_NETWORK": ""}),
        )
        for name in ("cluster1", "cluster2")
    }
    assert check_workloads(unnamed, "multi-primary").result == "met"
    finding = "configured with network network1, but saw nothing"
    assert holds_unless(finding, check_workloads(unnamed, "multi-primary-multi-network"))
