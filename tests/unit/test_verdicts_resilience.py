"""Verdicts on written-down observations: each can hold, and each can fail. Resilience."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from dataclasses import replace
from fractions import Fraction
from types import SimpleNamespace
from typing import Any, cast

import pytest
import yaml
from mesh_examples import SCENARIOS
from verdicts import SOURCE, advertised

from mesh_fixtures.contract import GUIDE_NAMES
from mesh_fixtures.errors import ProbeError
from mesh_fixtures.kube import Meta, Secret
from mesh_fixtures.probe.continuous import Stream, TimedRequest
from mesh_fixtures.probe.envoy import Endpoint, Endpoints
from mesh_fixtures.probe.shards import ShardEndpoint, Shards, Slices
from mesh_fixtures.probe.traffic import Answer, Failure, TrafficSample
from mesh_fixtures.requirements import Figure, ObservedMesh, Outcome, by_id
from mesh_fixtures.requirements.resilience_1 import Absence
from mesh_fixtures.requirements.resilience_2 import ERRORED_SECONDS, RESTART_SECONDS, Restart
from mesh_fixtures.requirements.resilience_3 import Outage
from mesh_fixtures.requirements.resilience_clients import answered, held, known
from mesh_fixtures.requirements.resilience_rotation import planned
from mesh_fixtures.verdict.client_endpoints import ClientEndpoints
from mesh_fixtures.verdict.expectations import Backend, destinations

STEP = 0.05
FAILED = ""


def stream(client: str, *phases: tuple[float, tuple[str, ...]]) -> Stream:
    """Requests every 50 ms: until each time, what becomes of them by turns."""
    found: list[TimedRequest] = []
    for until, turns in phases:
        while len(found) * STEP < until:
            version = turns[len(found) % len(turns)]
            outcome = (
                Answer(len(found) + 1, version, f"pod-{version}", 0.01)
                if version
                else Failure(len(found) + 1, 0, 503, "no healthy upstream", 0.01)
            )
            found.append(TimedRequest(len(found) * STEP, 0.01, outcome))
    return Stream(SOURCE, client, tuple(found))


def judged(of: Any, *arguments: Any) -> tuple[str, Mapping[str, Figure]]:
    outcome: Outcome = of.judged(*arguments)
    return "\n".join(map(str, outcome.findings)), outcome.figures


# RESILIENCE-1 -------------------------------------------------------------------------------------

LEFT, BACK, RETURNED, END = 5.0, 30.0, 34.0, 60.0


def absence(*phases: tuple[float, tuple[str, ...]], returned: float | None = RETURNED) -> Absence:
    streams = {"cluster1": stream("cluster1", *phases)}
    return Absence("cluster2", "v2", frozenset({"pod-v2"}), streams, LEFT, BACK, returned)


BOTH, ONE, EVERY_OTHER_FAILS = ("v1", "v2"), ("v1",), ("v1", FAILED)
COMES_BACK = (END, ("v1", "v3"))


@pytest.mark.parametrize(
    ("seen", "wanted"),
    [
        (absence((6, BOTH), (BACK, ONE), COMES_BACK), ""),
        (absence((6, BOTH), (8, EVERY_OTHER_FAILS), (BACK, ONE), COMES_BACK), ""),
        (absence((22, BOTH), (BACK, ONE), COMES_BACK), "answered by pod-v2"),
        (absence((6, BOTH), (BACK, EVERY_OTHER_FAILS), COMES_BACK), "no healthy upstream"),
        (absence((6, BOTH), (BACK, ONE), (END, EVERY_OTHER_FAILS)), "no error any more"),
        (absence((6, BOTH), (BACK, ONE), returned=None), "but saw no answer by it"),
    ],
)
def test_a_helloworld_that_is_away(seen: Absence, wanted: str) -> None:
    found, measured = judged(seen)
    assert (wanted in found) if wanted else not found
    assert "cluster2.away.cluster1.seconds_to_converge" in measured


def test_convergence_is_measured_from_the_change() -> None:
    _, measured = judged(absence((7, BOTH), (9, EVERY_OTHER_FAILS), (BACK, ONE), COMES_BACK))
    converged = float(measured["cluster2.away.cluster1.seconds_to_converge"])
    assert converged == pytest.approx(9 - LEFT, abs=3 * STEP)
    assert measured["cluster2.away.cluster1.failures"] == 20
    assert measured["cluster2.back.seconds_to_first_answer"] == RETURNED - BACK


def test_requests_that_take_long_since_the_change_are_the_meshs_fault() -> None:
    slow = Answer(1, "v1", "pod-v1", 3.0)
    requests = [
        *stream("cluster1", (LEFT, BOTH)).requests,
        *(TimedRequest(LEFT + 3 * n, 3.0, replace(slow, index=101 + n)) for n in range(20)),
    ]
    clients = {"cluster1": Stream(SOURCE, "cluster1", tuple(requests))}
    seen = Absence("cluster2", "v2", frozenset({"pod-v2"}), clients, LEFT, BACK, RETURNED)
    findings, _ = judged(seen)
    assert "8 of 8 requests took up to 3.0 s" in findings


def test_too_few_requests_are_no_verdict() -> None:
    seen = absence((LEFT + 1, BOTH), (LEFT + 1.5, ONE))
    with pytest.raises(ProbeError, match="20 requests in a row"):
        judged(seen)


# RESILIENCE-2 -------------------------------------------------------------------------------------


def restart(
    *phases: tuple[float, tuple[str, ...]], seconds: float | None = 3.0, share: int = 1
) -> Restart:
    streams = {"cluster1": stream("cluster1", *phases)}
    shares = {"cluster1": Fraction(share, 2)}
    return Restart("cluster2", SOURCE, streams, shares, 5.0, seconds, "pod x 0/1 Pending")


@pytest.mark.parametrize(
    ("seen", "wanted"),
    [
        (restart((30, BOTH)), ""),
        (restart((8, EVERY_OTHER_FAILS), (30, BOTH)), ""),
        (restart((5 + 3 + ERRORED_SECONDS - 1, EVERY_OTHER_FAILS), (30, BOTH)), ""),
        (
            restart((5 + 3 + ERRORED_SECONDS + 2, EVERY_OTHER_FAILS), (30, BOTH)),
            f"at most {3 + ERRORED_SECONDS} errored seconds",
        ),
        (restart((60, EVERY_OTHER_FAILS)), f"no error later than {RESTART_SECONDS:g} s"),
        (restart((30, BOTH), share=0), ""),
        (restart((6, EVERY_OTHER_FAILS), (30, BOTH), share=0), "at most 0 errored seconds"),
        (restart((60, BOTH), seconds=None), "but saw pod x 0/1 Pending"),
    ],
)
def test_a_gateway_that_restarts(seen: Restart, wanted: str) -> None:
    found, measured = judged(seen)
    assert (wanted in found) if wanted else not found
    assert "cluster2.cluster1.errored_seconds" in measured


# RESILIENCE-3 -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("phases", "wanted"),
    [
        ([(40, BOTH)], ""),
        ([(4, EVERY_OTHER_FAILS), (40, BOTH)], ""),
        ([(20, BOTH), (20.05, (FAILED,)), (40, BOTH)], "1 of "),
        ([(35, BOTH), (35.05, (FAILED,)), (40, BOTH)], "1 of "),
        ([(40, ONE)], "expected answers from v1, v2 while istiod of cluster1 is down"),
    ],
)
def test_an_istiod_that_is_down(phases: list[tuple[float, tuple[str, ...]]], wanted: str) -> None:
    outage = Outage("cluster1", {"cluster2": stream("cluster2", *phases)}, 5.0, 6.0, 30.0)
    found, measured = judged(outage, {"v1", "v2"})
    assert (wanted in found) if wanted else not found
    assert measured["cluster1.seconds_down"] == 24.0


@pytest.mark.parametrize(("pause", "result"), [(0.9, "unmet"), (1.5, "inconclusive")])
def test_what_is_found_while_the_machine_stands_still_is_no_verdict(
    pause: float, result: str
) -> None:
    sent = stream("cluster2", (20, BOTH), (20.05, (FAILED,)), (40, BOTH)).requests
    late = [replace(each, begun=each.begun + pause) for each in sent if each.begun > 20]
    early = [each for each in sent if each.begun <= 20]
    clients = {"cluster2": Stream(SOURCE, "cluster2", (*early, *late))}
    outcome = Outage("cluster1", clients, 5.0, 6.0, 30.0).judged({"v1", "v2"})
    assert outcome.result == result
    assert outcome.figures["cluster1.cluster2.failures"] == 1


# RESILIENCE-4 -------------------------------------------------------------------------------------


def remote_secret(name: str, cluster: str, subject: str) -> Secret:
    claims = base64.urlsafe_b64encode(json.dumps({"sub": subject}).encode()).decode()
    user = {"name": cluster, "user": {"token": f"a.{claims}.b"}}
    content = yaml.safe_dump({"users": [user]}).encode()
    return Secret(Meta(name, "istio-system"), {cluster: content})


READER = "system:serviceaccount:istio-system:istio-reader-service-account"


def mesh_with(*found: Secret) -> ObservedMesh:
    kube = SimpleNamespace(
        name="cluster1", names=GUIDE_NAMES, list=lambda resource, namespace, selector: found
    )
    return cast(
        "ObservedMesh",
        SimpleNamespace(view=SimpleNamespace(kube={"cluster1": kube}, data_planes=("cluster1",))),
    )


WHICH = SCENARIOS["primary-remote"].remote_secrets[0]


def test_a_rotation_is_for_the_account_that_the_secret_belongs_to() -> None:
    other = remote_secret("other", "cluster3", READER)
    rotation = planned(mesh_with(remote_secret("it", "cluster2", READER), other), WHICH)
    assert rotation.secret.name == "it"
    assert rotation.account == ("istio-system", "istio-reader-service-account")
    assert rotation.token.startswith("istio-reader-service-account-rotated-")


@pytest.mark.parametrize(
    ("found", "seen"),
    [
        ([], "none"),
        ([remote_secret(name, "cluster2", READER) for name in ("one", "two")], "one, two"),
        ([remote_secret("it", "cluster2", "admin")], "no service account"),
    ],
)
def test_what_cannot_be_rotated_is_no_verdict(found: list[Secret], seen: str) -> None:
    with pytest.raises(ProbeError, match=seen):
        planned(mesh_with(*found), WHICH)


def test_a_rotation_that_comes_again_has_another_token() -> None:
    rotation = planned(mesh_with(remote_secret("it", "cluster2", READER)), WHICH)
    assert rotation.again().token != rotation.token
    assert replace(rotation.again(), token=rotation.token) == rotation


MULTI = SCENARIOS["multi-primary-multi-network"]
PODS = (Backend("cluster1", "v1", "pod-v1", "10.1.0.5"), Backend("cluster2", "v2", "pod-v2", "x"))
LOCAL, REMOTE = ("10.1.0.5", 5000), ("172.18.1.100", 15443)


def knowing(*targets: tuple[str, int]) -> Mapping[str, ClientEndpoints]:
    wanted = destinations(MULTI, "cluster1", PODS, [advertised("cluster2", "172.18.1.100")], {4})
    held = tuple(Endpoint(address, port, 1, True, "", "", 0) for address, port in targets)
    return {"cluster1": ClientEndpoints("cluster1", wanted, Endpoints(SOURCE, True, held), 15.0)}


def answers(*pods: str, failures: int = 0, requested: int = 0) -> Mapping[str, TrafficSample]:
    given = tuple(Answer(n, "v", each, 0.01) for n, each in enumerate(pods, 1))
    failed = tuple(Failure(n, 28, 0, "timed out", 5.0) for n in range(failures))
    sent = len(given) + failures
    cut_short = sent < requested
    return {
        "cluster1": TrafficSample(
            SOURCE, "cluster1", requested or sent, given, failed, 1.0, cut_short
        )
    }


@pytest.mark.parametrize(
    ("endpoints", "wanted"),
    [
        (knowing(LOCAL, REMOTE), ""),
        (knowing(LOCAL), "(missing 172.18.1.100:15443)"),
        (knowing(LOCAL, REMOTE, ("10.9.9.9", 5000)), "unexpected 10.9.9.9:5000"),
    ],
)
def test_what_a_new_client_knows(endpoints: Mapping[str, ClientEndpoints], wanted: str) -> None:
    findings = known(MULTI, endpoints, "a new client", "new").findings
    assert wanted in "\n".join(map(str, findings))
    assert bool(findings) is bool(wanted)
    assert all(each.about.clusters in ((), ("cluster2",)) for each in findings)


@pytest.mark.parametrize(
    ("sample", "result", "wanted"),
    [
        (answers("pod-v1", "pod-v2"), "met", ""),
        (answers("pod-v1", "pod-v1"), "unmet", "none of v2 (network2) in 2 answers"),
        (answers("pod-v1", "pod-v2", failures=1), "unmet", "1 errors in 3 requests: request 0"),
        (answers("pod-v1", "pod-v1", requested=20), "inconclusive", ""),
    ],
)
def test_what_answers_a_new_client(
    sample: Mapping[str, TrafficSample], result: str, wanted: str
) -> None:
    outcome = answered(knowing(LOCAL, REMOTE), sample, "a new client", "new")
    assert outcome.result == result
    assert wanted in "\n".join(map(str, outcome.findings))


@pytest.mark.parametrize(
    ("of_cluster2", "wanted"),
    [({"10.2.0.5"}, ""), (set(), "lacks 10.2.0.5"), ({"10.2.0.5", "gone"}, "still has gone")],
)
def test_what_istiod_holds_is_what_the_clusters_have(of_cluster2: set[str], wanted: str) -> None:
    endpoints = [ShardEndpoint("cluster1", "10.1.0.5", "", True)]
    endpoints += [ShardEndpoint("cluster2", each, "", True) for each in sorted(of_cluster2)]
    shards = {"cluster1": (Shards(SOURCE, "istiod-1", tuple(endpoints)),)}
    slices = {
        name: Slices(SOURCE, frozenset({address}), frozenset())
        for name, address in (("cluster1", "10.1.0.5"), ("cluster2", "10.2.0.5"))
    }
    findings = held(shards, slices, {"cluster1": ("cluster1", "cluster2")}, "later").findings
    assert wanted in "\n".join(map(str, findings))
    assert bool(findings) is bool(wanted)


@pytest.mark.parametrize("requirement", ["RESILIENCE-1", "RESILIENCE-4"])
def test_a_single_cluster_has_no_other_to_take_over(requirement: str) -> None:
    alone = MULTI.model_copy(update={"clusters": MULTI.clusters[:1]})
    assert by_id(requirement).missing_features(alone) == ("multi-cluster",)
