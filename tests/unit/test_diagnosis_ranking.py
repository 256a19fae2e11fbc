"""How causes are ranked and grouped, whatever was recorded and whatever fails."""

from __future__ import annotations

from graphlib import TopologicalSorter

import pytest
from diagnosis_recordings import names, recorded
from hypothesis import given
from hypothesis import strategies as st
from mesh_examples import SCENARIOS, meshes

from mesh_fixtures.diagnosis import UNKNOWN, Facts, Recording, diagnose
from mesh_fixtures.diagnosis.cause import (
    CERTAINTIES,
    Cause,
    Diagnosis,
    Evidence,
    Kind,
    Layer,
    RootCause,
)
from mesh_fixtures.diagnosis.diagnostician import merged
from mesh_fixtures.diagnosis.facts import ClusterFacts
from mesh_fixtures.diagnosis.rules import KINDS
from mesh_fixtures.requirements import REQUIREMENTS
from mesh_fixtures.requirements.registry import depending_on, foundations
from mesh_fixtures.scenario import Scenario
from mesh_fixtures.verdict.findings import Finding

IDS = [each.id for each in REQUIREMENTS]
FINDING = Finding("cluster1", "something", "something else")
RECORDINGS = [recorded(name) for name in names()]
MULTI = SCENARIOS["multi-primary-multi-network"]


def test_every_requirement_has_its_place_in_the_dependency_graph() -> None:
    others = foundations("unknown", MULTI)
    assert {*IDS} <= others | {each for each in IDS if foundations(each, MULTI) != others}


@given(meshes(), st.sampled_from(IDS))
def test_no_requirement_depends_on_itself(scenario: Scenario, requirement: str) -> None:
    assert requirement not in foundations(requirement, scenario)


@given(meshes(), st.sampled_from(IDS), st.sampled_from(IDS))
def test_foundations_are_those_of_all_that_is_below(
    scenario: Scenario, upper: str, lower: str
) -> None:
    if lower in foundations(upper, scenario):
        assert foundations(lower, scenario) <= foundations(upper, scenario)
        assert depending_on([lower], [upper], scenario) == {upper}


def test_kinds_of_causes_are_distinct_and_follow_only_from_known_ones_and_never_in_a_circle() -> (
    None
):
    known = [kind.id for kind in KINDS]
    assert len(known) == len({*known})
    assert {each for kind in KINDS for each in kind.follows} <= {*known}
    assert {each for kind in KINDS for each in kind.breaks} <= {*IDS} | foundations("any", MULTI)
    TopologicalSorter({kind.id: kind.follows for kind in KINDS}).prepare()


@given(st.sampled_from(RECORDINGS), st.sets(st.sampled_from(IDS)))
def test_every_requirement_that_is_not_met_has_a_cause(
    recording: Recording, failed: set[str]
) -> None:
    failures = {each: (FINDING,) for each in IDS if each in failed}
    diagnosis = diagnose(recording.scenario, recording.facts, failures)
    assert {each for root in diagnosis.roots for each in root.consequences} == failed
    assert all(root.cause.evidence for root in diagnosis.roots)
    assert all(diagnosis.of(each) for each in failed)
    certainties = [CERTAINTIES.index(root.certainty) for root in diagnosis.roots]
    assert certainties == sorted(certainties)
    roots = [root.cause for root in diagnosis.roots]
    assert not any(one.may_follow(other) for one in roots for other in roots if one is not other)


@given(st.sampled_from(RECORDINGS), st.sets(st.sampled_from(IDS)))
def test_where_nothing_could_be_checked_nothing_unknown_is_claimed(
    recording: Recording, failed: set[str]
) -> None:
    found = diagnose(recording.scenario, recording.facts, dict.fromkeys(failed, ()))
    assert UNKNOWN not in found.ids


def test_without_any_facts_the_cause_is_unknown_and_says_what_could_not_be_read() -> None:
    clusters = {each.name: ClusterFacts(each.name) for each in MULTI.clusters}
    facts = Facts(at=0, sample_namespace="sample", clusters=clusters)
    found = diagnose(MULTI, facts, {"TRAFFIC-1": (FINDING,), "TRAFFIC-2": (FINDING,)})
    assert found.ids == (UNKNOWN,)
    assert found.roots[0].consequences == ("TRAFFIC-1", "TRAFFIC-2")
    assert "something else" in found.roots[0].cause.evidence[0].seen


def cause(kind: Kind, *clusters: str) -> Cause:
    return Cause(kind, clusters, f"{kind.id} in {clusters}", (Evidence("seen"),), "mend it")


def test_a_diagnosis_of_two_states_of_a_mesh_says_each_cause_once() -> None:
    upper = cause(Kind("upper", Layer.WORKLOAD, ("TRAFFIC-1",)), "cluster1")
    lower = cause(Kind("lower", Layer.TRUST, ("TRUST-1",)), "cluster2")
    both = merged(
        [
            Diagnosis((RootCause(upper, ("TRAFFIC-1",)),)),
            Diagnosis((RootCause(lower, ("TRUST-1",)), RootCause(upper, ("TRAFFIC-2",)))),
        ]
    )
    assert both.ids == ("lower", "upper")
    assert both.of("TRAFFIC-2")[0].consequences == ("TRAFFIC-1", "TRAFFIC-2")


@pytest.mark.parametrize(("clusters", "follows"), [(("cluster1",), True), (("cluster2",), False)])
def test_causes_follow_from_others_of_the_same_cluster(
    clusters: tuple[str, ...], follows: bool
) -> None:
    upper = cause(Kind("upper", Layer.WORKLOAD, (), follows=("lower",)), "cluster1")
    assert upper.may_follow(cause(Kind("lower", Layer.TRUST, ()), *clusters)) is follows
