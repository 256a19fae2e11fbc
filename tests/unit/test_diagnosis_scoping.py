"""A cause explains findings about its clusters, addresses and objects, and no others."""

from __future__ import annotations

import pytest
from diagnosis_changes import KNOWING_NOTHING, MULTI, configured, of, unanswered
from diagnosis_recordings import recorded
from hypothesis import given
from hypothesis import strategies as st
from mesh_examples import SCENARIOS

from mesh_fixtures.diagnosis import UNKNOWN, diagnose
from mesh_fixtures.diagnosis.cause import Cause, CauseReach, Evidence, Kind, Layer, explains
from mesh_fixtures.verdict.findings import Finding, Subject

TWO = SCENARIOS["multi-primary-multi-network"]
REMOTE = SCENARIOS["primary-remote-multi-network"]

GATEWAY = Kind("of-a-gateway", Layer.GATEWAY, ())
CLIENT = Kind("of-a-client", Layer.ROUTING, ())
ACCESS = Kind("of-access", Layer.ACCESS, ())
LINK = Kind("of-a-link", Layer.UNDERLAY, (), reach=CauseReach.BETWEEN)
INJECTION = Kind("of-injection", Layer.INJECTION, ())


def cause(kind: Kind, *clusters: str, **subject: tuple[str, ...]) -> Cause:
    about = Subject(clusters if subject else (), **subject)
    return Cause(kind, clusters, kind.id, (Evidence("seen"),), "repair it", about=about)


def seen(client: str, *servers: str, **subject: tuple[str, ...]) -> Finding:
    return Finding(client, "an answer", "none", about=Subject(servers, **subject))


@pytest.mark.parametrize(
    ("kind", "clusters", "finding", "explained"),
    [
        (GATEWAY, ("cluster2",), seen("cluster1", "cluster2"), True),
        (GATEWAY, ("cluster2",), seen("cluster2", "cluster1"), False),
        (GATEWAY, ("cluster2",), seen("cluster2"), True),
        (CLIENT, ("cluster1",), seen("cluster1", "cluster2"), True),
        (CLIENT, ("cluster1",), seen("cluster2", "cluster1"), False),
        (CLIENT, ("cluster1",), seen("cluster2", "cluster2", clients=("cluster1",)), True),
        (ACCESS, ("cluster1", "cluster2"), seen("cluster1", "cluster2"), True),
        (ACCESS, ("cluster1", "cluster2"), seen("cluster2", "cluster1"), False),
        (ACCESS, ("cluster1", "cluster2"), seen("cluster1", "cluster1"), False),
        (LINK, ("cluster1", "cluster2"), seen("cluster2", "cluster1"), True),
        (LINK, ("cluster1", "cluster2"), seen("cluster2", "cluster2"), False),
        (INJECTION, ("cluster2",), seen("cluster1", "cluster1"), False),
    ],
)
def test_primaries_are_apart(
    kind: Kind, clusters: tuple[str, ...], finding: Finding, explained: bool
) -> None:
    assert explains(cause(kind, *clusters), finding, TWO) is explained


@pytest.mark.parametrize(
    ("kind", "clusters", "finding", "explained"),
    [
        (GATEWAY, ("cluster1",), seen("cluster2", "cluster2"), True),
        (GATEWAY, ("cluster2",), seen("cluster1", "cluster1"), False),
        (CLIENT, ("cluster1",), seen("cluster2", "cluster1"), True),
        (ACCESS, ("cluster1", "cluster2"), seen("cluster2", "cluster1"), True),
        (ACCESS, ("cluster1", "cluster2"), seen("cluster1", "cluster1"), False),
        (INJECTION, ("cluster1",), seen("cluster2", "cluster2"), False),
    ],
)
def test_a_remote_depends_on_its_primary(
    kind: Kind, clusters: tuple[str, ...], finding: Finding, explained: bool
) -> None:
    assert explains(cause(kind, *clusters), finding, REMOTE) is explained


def test_addresses_and_objects_that_differ_are_not_the_same() -> None:
    one = {"addresses": ("192.0.2.1",), "objects": ("Pod/sample/a",)}
    blamed = cause(GATEWAY, "cluster2", **one)
    assert explains(blamed, seen("cluster1", "cluster2", addresses=("192.0.2.1",)), TWO)
    assert not explains(blamed, seen("cluster1", "cluster2", addresses=("192.0.2.2",)), TWO)
    assert not explains(blamed, seen("cluster1", "cluster2", objects=("Pod/sample/b",)), TWO)
    assert explains(cause(GATEWAY, "cluster2"), seen("c", addresses=("192.0.2.2",)), TWO)


@given(st.sampled_from(CauseReach), st.sampled_from(["cluster1", "cluster2"]))
def test_a_finding_that_says_no_more_may_be_due_to_any_cause_of_its_client(
    reach: CauseReach, client: str
) -> None:
    other = {"cluster1": "cluster2", "cluster2": "cluster1"}[client]
    kind = Kind("any", Layer.UNDERLAY, (), reach=reach)
    assert explains(cause(kind, client, other), Finding(client, "a", "b"), TWO)


def test_two_faults_are_both_named_each_for_what_it_breaks() -> None:
    recording = of(
        "cluster1",
        configuration=configured("Sidecar", "x", {"egress": [{"hosts": ["istio-system/*"]}]}),
        client=KNOWING_NOTHING,
    )(recorded(MULTI))
    here, there = seen("cluster1", "cluster2"), seen("cluster2", "cluster1")
    both = diagnose(recording.scenario, recording.facts, {"TRAFFIC-1": (here, there)})
    assert both.ids == ("sidecar-scope", UNKNOWN)
    assert [root.consequences for root in both.roots] == [("TRAFFIC-1",), ("TRAFFIC-1",)]
    unexplained = both.roots[1].cause
    assert unexplained.clusters == ("cluster2",)
    assert "in cluster2" in unexplained.statement
    assert not any(each.seen.startswith("cluster1: expected") for each in unexplained.evidence)


def test_a_gateway_that_is_out_of_reach_says_nothing_of_another() -> None:
    recording = unanswered("gateway", "cluster1", "cluster2")(recorded(MULTI))
    failures = {"DISCOVERY-2": (seen("cluster2", "cluster1"),)}
    assert diagnose(recording.scenario, recording.facts, failures).ids == (UNKNOWN,)
