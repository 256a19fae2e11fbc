"""Verdicts on phases of an upgrade that are written down: each can hold, and each can fail."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from fractions import Fraction
from types import SimpleNamespace
from typing import Any, cast

import pytest
from mesh_examples import SCENARIOS
from verdicts import SOURCE

from mesh_fixtures.artifacts import versions
from mesh_fixtures.artifacts.images import image_set
from mesh_fixtures.errors import LabError, ProbeError
from mesh_fixtures.install.upgrade import Phase, Version, upgrade
from mesh_fixtures.probe.continuous import Stream, TimedRequest
from mesh_fixtures.probe.traffic import Answer, Failure
from mesh_fixtures.probe.versions import IstioVersions
from mesh_fixtures.requirements import REQUIREMENTS, ObservedMesh, Outcome, by_id
from mesh_fixtures.requirements.upgrading import (
    ENDING_SECONDS,
    ERRORED_SECONDS,
    PassedPhase,
    Performed,
    SeenMesh,
    called,
    core,
)
from mesh_fixtures.verdict.findings import Finding

STEP = 0.05
BEGUN, DONE, ENDED, LAST = 5.0, 15.0, 20.0, 45.0
OLD = next(each for each in versions.ISTIO_MODULES if each != versions.ISTIO)
NEW = versions.ISTIO
SCENARIO = SCENARIOS["multi-primary-multi-network"]
PHASES = upgrade(SCENARIO, Version(image_set(OLD)), Version(image_set(NEW)), "in-place")
CLUSTERS = ("cluster1", "cluster2")


def phase(kind: str) -> Phase:
    return next(each for each in PHASES if each.kind == kind and each.cluster == "cluster1")


def stream(client: str, *failing: tuple[float, float], last: float = LAST) -> Stream:
    """Requests every 50 ms, of which those fail that begin within given times."""
    found: list[TimedRequest] = []
    while (begun := len(found) * STEP) < last:
        index = len(found) + 1
        failed = any(first <= begun < end for first, end in failing)
        outcome = (
            Failure(index, 0, 503, "upstream connect error", 0.01)
            if failed
            else Answer(index, "v1", "pod-v1", 0.01)
        )
        found.append(TimedRequest(begun, 0.01, outcome))
    return Stream(SOURCE, client, tuple(found))


def ran(**of: tuple[str, str]) -> Mapping[str, IstioVersions]:
    return {
        cluster: IstioVersions(cluster, {"istiod-1": istiod}, {"sleep-1": proxy})
        for cluster, (istiod, proxy) in of.items()
    }


HALF = ran(cluster1=(NEW, NEW), cluster2=(OLD, OLD))
WHOLE = ran(cluster1=(NEW, NEW), cluster2=(NEW, NEW))
GATEWAYS = {cluster: frozenset({"ingress", "east-west"}) for cluster in CLUSTERS}
MET = Outcome.judged(())
UNMET = Outcome.judged([Finding("cluster2", "no error", "503")])


def passed(
    kind: str = "control-plane",
    *streams: Stream,
    seen: Mapping[str, IstioVersions] = HALF,
    core: Mapping[str, Outcome] | None = None,
    **others: Any,
) -> PassedPhase:
    return PassedPhase(
        phase=phase(kind),
        begun=BEGUN,
        seconds=DONE - BEGUN,
        ended=ENDED,
        lingering=others.get("lingering", ()),
        shares=others.get("shares", {"cluster1": Fraction(0), "cluster2": Fraction(1, 2)}),
        streams={each.cluster: each for each in streams or map(stream, CLUSTERS)},
        first=others.get("first", {}),
        seen=SeenMesh(seen, others.get("gateways", GATEWAYS), core or {"TRAFFIC-1": MET}),
    )


def performed(wanted: str, phases: tuple[PassedPhase, ...], failed: Finding | None) -> Performed:
    return Performed(wanted, GATEWAYS, phases, failed)


@pytest.mark.parametrize(
    ("before", "after", "back", "wanted"),
    [
        ((OLD, OLD), (NEW, NEW), False, NEW),
        ((OLD, OLD), (NEW, OLD), False, NEW),
        ((OLD, OLD), (OLD, OLD), False, NEW),
        ((OLD, OLD), ("vendor-2", "vendor-2"), False, "vendor-2"),
        (("vendor-1", "vendor-1"), ("vendor-2", "vendor-1"), False, "vendor-2"),
        ((OLD, OLD), ("vendor-2", "vendor-3"), False, NEW),
        (("vendor-1", "vendor-1"), ("vendor-1", "vendor-2"), True, "vendor-1"),
        ((OLD, OLD), (NEW, NEW), True, OLD),
    ],
)
def test_what_images_call_a_version(
    before: tuple[str, str], after: tuple[str, str], back: bool, wanted: str
) -> None:
    named = OLD if back else NEW
    assert called(named, ran(cluster1=before), ran(cluster1=after), back=back) == wanted


def said(outcome: Outcome) -> str:
    return "\n".join(map(str, outcome.findings))


def test_all_core_requirements_are_looked_at_between_phases() -> None:
    looked_at = {each.id for each in core(SCENARIO)}
    assert looked_at == {each.id for each in REQUIREMENTS if each.level == "core"}


@pytest.mark.parametrize("kind", ["control-plane", "gateway", "servers"])
def test_a_phase_without_an_error_holds_and_is_measured(kind: str) -> None:
    outcome = passed(kind).judged()
    assert outcome.result == "met"
    name = f"cluster1.{kind}.cluster2"
    assert outcome.figures[f"cluster1.{kind}.seconds"] == DONE - BEGUN
    assert outcome.figures[f"{name}.failures"] == 0
    assert outcome.figures[f"{name}.seconds_to_converge"] == 0.0
    assert cast("int", outcome.figures[f"{name}.requests"]) > 100


def test_an_istiod_that_is_replaced_allows_no_error() -> None:
    outcome = passed("control-plane", stream("cluster1"), stream("cluster2", (6.0, 6.1))).judged()
    assert outcome.result == "unmet"
    assert "cluster2: expected at most 0 errored seconds in: Upgrade the control" in said(outcome)
    assert outcome.figures["cluster1.control-plane.cluster2.errored_seconds_allowed"] == 0


def test_a_gateway_has_a_budget_for_those_who_use_it() -> None:
    short, long = (6.0, 8.5), (6.0, 7.0 + ERRORED_SECONDS["gateway"])
    through = passed("gateway", stream("cluster1"), stream("cluster2", short))
    assert through.judged().result == "met"
    past = passed("gateway", stream("cluster1", short), stream("cluster2")).judged()
    assert "cluster1: expected at most 0 errored seconds" in said(past)
    over = passed("gateway", stream("cluster1"), stream("cluster2", long)).judged()
    allowed = ERRORED_SECONDS["gateway"]
    assert f"cluster2: expected at most {allowed} errored seconds" in said(over)


def test_no_error_comes_long_after_the_replaced_pods_are_gone() -> None:
    late = passed("servers", stream("cluster1", (36.0, 36.1)), stream("cluster2")).judged()
    assert "cluster1: expected no error later than 15 s after: Upgrade HelloWorld" in said(late)
    soon = passed("servers", stream("cluster1", (34.0, 34.1)), stream("cluster2")).judged()
    assert soon.result == "met"


def test_too_few_requests_afterwards_tell_nothing() -> None:
    few = passed("servers", stream("cluster1", (6.0, 7.0), last=7.5), stream("cluster2"))
    with pytest.raises(ProbeError, match="in a row"):
        few.judged()


def test_an_error_before_a_phase_is_told() -> None:
    outcome = passed("servers", stream("cluster1", (1.0, 1.1)), stream("cluster2")).judged()
    assert "cluster1: expected no error before: Upgrade HelloWorld of cluster1" in said(outcome)


def test_pods_that_linger_are_told() -> None:
    outcome = passed("servers", lingering=("sample/helloworld-v1-1",)).judged()
    assert f"gone within {ENDING_SECONDS:g} s" in said(outcome)
    assert "sample/helloworld-v1-1" in said(outcome)


def test_the_first_requests_of_a_new_client_count() -> None:
    first = {"cluster1": stream("cluster1", (0.0, 0.1), last=5.0)}
    outcome = passed("clients", stream("cluster2"), first=first).judged()
    assert "cluster1: expected no error of a new client's first requests" in said(outcome)
    assert outcome.figures["cluster1.clients.cluster1.first_failures"] == 2
    good = {"cluster1": stream("cluster1", last=5.0)}
    assert passed("clients", stream("cluster2"), first=good).judged().result == "met"


def test_an_upgrade_leaves_nothing_of_the_old_version() -> None:
    done = performed(NEW, (passed(), passed("servers", seen=WHOLE)), None)
    outcome = done.judged({"from": OLD})
    assert (outcome.result, outcome.figures["from"]) == ("met", OLD)
    left = ran(cluster1=(NEW, NEW), cluster2=(NEW, OLD))
    outcome = performed(NEW, (passed(seen=left),), None).judged({})
    assert f"cluster2: expected proxies of {NEW} only, at the end" in said(outcome)
    assert f"sleep-1 {OLD}" in said(outcome)


def test_an_upgrade_leaves_the_gateways() -> None:
    left = {**GATEWAYS, "cluster2": frozenset({"east-west"})}
    outcome = performed(NEW, (passed(seen=WHOLE, gateways=left),), None).judged({})
    assert (
        "cluster2: expected east-west, ingress as before, at the end, but saw no ingress"
        in said(outcome)
    )


def test_what_must_hold_after_an_upgrade() -> None:
    last = passed(seen=WHOLE, core={"TRAFFIC-1": UNMET})
    outcome = performed(NEW, (last,), None).judged({})
    assert "cluster2: expected TRAFFIC-1: after: Upgrade the control plane" in said(outcome)


def test_an_upgrade_after_which_something_could_not_be_seen_is_inconclusive() -> None:
    unseen = Outcome.inconclusive(ProbeError(wanted="an answer", seen="none", where="cluster2"))
    last = passed(seen=WHOLE, core={"TRAFFIC-1": unseen})
    assert performed(NEW, (passed(), last), None).judged({}).result == "inconclusive"
    with_finding = passed(seen=WHOLE, core={"TRAFFIC-1": unseen, "TRAFFIC-2": UNMET})
    assert performed(NEW, (with_finding,), None).judged({}).result == "unmet"


def test_a_step_that_fails_is_a_finding_beside_what_was_seen_before() -> None:
    failed = Finding("cluster2", "step new-istiod/cluster2 of the upgrade to succeed", "exit 1")
    bad = passed("control-plane", stream("cluster1", (6.0, 6.1)), stream("cluster2"))
    outcome = performed(NEW, (bad,), failed).judged({})
    assert outcome.result == "unmet"
    assert "step new-istiod/cluster2" in said(outcome)
    assert "at most 0 errored seconds" in said(outcome)


def checked(requirement: str, done: Performed) -> Outcome:
    """What a requirement says of an upgrade that has been done."""
    mesh = SimpleNamespace(
        once=lambda act, lasting: done,
        scenario=SCENARIO,
        view=SimpleNamespace(
            lab=SimpleNamespace(
                scenario=SCENARIO,
                images=image_set(NEW),
                charts=None,
                earlier=SimpleNamespace(images=image_set(OLD), charts=None),
            )
        ),
    )
    return by_id(requirement).check(cast("ObservedMesh", mesh))


@pytest.mark.parametrize(
    ("requirement", "strategy"), [("UPGRADE-1", "in-place"), ("UPGRADE-2", "revision")]
)
def test_a_report_says_what_was_upgraded(requirement: str, strategy: str) -> None:
    outcome = checked(requirement, performed(NEW, (passed(seen=WHOLE),), None))
    assert outcome.result == "met"
    figures = [outcome.figures[name] for name in ("from", "to", "strategy")]
    assert figures == [OLD, NEW, strategy]


def test_core_requirements_hold_between_clusters_of_two_versions() -> None:
    good = performed(NEW, (passed(), passed("servers", seen=WHOLE)), None)
    outcome = checked("SKEW-1", good)
    assert outcome.result == "met"
    assert (
        outcome.figures["cluster1.control-plane.after.cluster2"] == f"istiod {OLD}; proxies {OLD}"
    )
    assert not any(name.startswith("cluster1.servers") for name in outcome.figures)
    bad = replace(good, passed=(passed(core={"TRAFFIC-1": UNMET}), *good.passed[1:]))
    assert "cluster2: expected TRAFFIC-1: after" in said(checked("SKEW-1", bad))


def test_what_could_not_be_seen_between_is_no_verdict() -> None:
    trouble = Outcome.inconclusive(ProbeError(wanted="an answer", seen="none", where="cluster1"))
    half = passed(core={"TRAFFIC-1": trouble})
    assert checked("SKEW-1", performed(NEW, (half,), None)).result == "inconclusive"
    both = passed(core={"TRAFFIC-1": trouble, "TRAFFIC-2": UNMET})
    assert checked("SKEW-1", performed(NEW, (both,), None)).result == "unmet"


def test_one_version_at_all_times_is_no_skew() -> None:
    outcome = checked("SKEW-1", performed(NEW, (passed(seen=WHOLE),), None))
    assert outcome.result == "inconclusive"


def test_a_rollback_leaves_nothing_of_the_new_version() -> None:
    old = ran(cluster1=(OLD, OLD), cluster2=(OLD, OLD))
    there = passed()
    good = performed(OLD, (there, passed("servers", seen=old)), None)
    assert checked("ROLLBACK-1", good).result == "met"
    assert "of " + OLD in said(checked("ROLLBACK-1", performed(OLD, (there,), None)))
    bad = replace(good, passed=(passed(core={"TRAFFIC-1": UNMET}), *good.passed[1:]))
    assert checked("ROLLBACK-1", bad).result == "unmet"


def test_what_is_done_to_a_mesh_is_done_once_whatever_is_forgotten() -> None:
    mesh = ObservedMesh(cast("Any", SimpleNamespace(scenario=SCENARIO)), requests=200)
    done: list[str] = []

    def act(of: ObservedMesh) -> int:
        done.append("act")
        return len(done)

    assert mesh.once(act, lasting=True) == 1
    mesh.forget()
    assert mesh.once(act, lasting=True) == 1
    mesh.taint(LabError(wanted="w", seen="s", where="w"))
    assert mesh.once(act, lasting=True) == 1
    assert mesh.once(act) == 2
