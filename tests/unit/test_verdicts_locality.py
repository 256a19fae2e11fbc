"""Verdicts on written-down observations: each can hold, and each can fail. Localities."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mesh_examples import SCENARIOS
from verdicts import SOURCE

from mesh_fixtures.errors import ProbeError
from mesh_fixtures.probe.continuous import Stream, TimedRequest
from mesh_fixtures.probe.traffic import Answer, Failure, TrafficSample
from mesh_fixtures.requirements import Figure
from mesh_fixtures.requirements.locality_1 import (
    ERRORED_SECONDS,
    OTHERS,
    Failover,
    at_home,
    by_other_way,
    nowhere,
)
from mesh_fixtures.requirements.locality_2 import NEAR, distributed, policy, weights
from mesh_fixtures.scenario import Scenario

HOMES = {"cluster1": "region1", "cluster2": "region2"}
REGIONS = {"near": "region1", "again": "region1", "far": "region2"}
STEP = 0.05
FAILED = ""

Turns = tuple[str, ...]


def stream(client: str, *phases: tuple[float, Turns]) -> Stream:
    """Requests every 50 ms: until each time, the pods that answer by turns."""
    found: list[TimedRequest] = []
    for until, turns in phases:
        while len(found) * STEP < until:
            pod = turns[len(found) % len(turns)]
            outcome = (
                Answer(len(found) + 1, "v1", pod, 0.01)
                if pod
                else Failure(len(found) + 1, 0, 503, "no healthy upstream", 0.01)
            )
            found.append(TimedRequest(len(found) * STEP, 0.01, outcome))
    return Stream(SOURCE, client, tuple(found))


def sample(client: str, failures: int = 0, **counts: int) -> TrafficSample:
    pods = [pod for pod, count in counts.items() for _ in range(count)]
    answers = tuple(Answer(at + 1, "v1", pod, 0.01) for at, pod in enumerate(pods))
    failed = tuple(Failure(at + 1, 0, 503, "no healthy upstream", 0.01) for at in range(failures))
    sent = len(answers) + failures
    return TrafficSample(SOURCE, client, sent, answers, failed, 1.0, cut_short=False)


# Local first --------------------------------------------------------------------------------------

SETTLED = 2.0


@pytest.mark.parametrize(
    ("phases", "wanted"),
    [
        ([(10, ("near",))], ""),
        ([(SETTLED, ("near", "far")), (10, ("near",))], ""),
        ([(9.95, ("near",)), (10, ("far",))], "159 from region1, 1 from region2 in 160 requests"),
        ([(10, ("near", "far"))], "80 from region1, 80 from region2"),
        ([(10, ("far",))], "160 from region2"),
        ([(9.95, ("near",)), (10, (FAILED,))], "no healthy upstream"),
        ([(9.95, ("near",)), (10, ("somebody",))], "1 from an unknown region"),
    ],
)
def test_clients_are_answered_in_their_own_region(
    phases: list[tuple[float, Turns]], wanted: str
) -> None:
    streams = {
        "cluster1": stream("cluster1", *phases),
        "cluster2": stream("cluster2", (10, ("far",))),
    }
    outcome = at_home(HOMES, REGIONS, streams, SETTLED)
    found = "\n".join(map(str, outcome.findings))
    assert (wanted in found) if wanted else not found
    assert "cluster2: expected" not in found
    assert outcome.figures["cluster2.answers_of.region2"] == 160


def test_too_few_requests_do_not_tell_where_they_are_answered() -> None:
    with pytest.raises(ProbeError, match="20 requests"):
        at_home(HOMES, REGIONS, {"cluster1": stream("cluster1", (2.5, ("near",)))}, SETTLED)


@pytest.mark.parametrize(
    ("gone", "first", "second", "wanted"),
    [
        ("", {"near": 40}, {"far": 40}, ""),
        ("", {"near": 39, "far": 1}, {"far": 40}, "cluster1: expected all answers"),
        ("", {"near": 40}, {"near": 40}, "in region2, and no error, but saw 40 from region1"),
        ("region1", {"far": 40}, {"far": 40}, ""),
        ("region1", {"near": 40}, {"far": 40}, "in region2, and no error while that of region1"),
        ("region2", {"near": 40}, {"near": 39, "failures": 1}, "1 errors: request 1: HTTP 503"),
    ],
)
def test_other_ways_to_state_the_preference(
    gone: str, first: dict[str, int], second: dict[str, int], wanted: str
) -> None:
    samples = {"cluster1": sample("cluster1", **first), "cluster2": sample("cluster2", **second)}
    for way in OTHERS:
        outcome = by_other_way(way, gone, HOMES, REGIONS, samples)
        found = "\n".join(map(str, outcome.findings))
        assert (f"{way.service}, which has {way.how}" in found) == bool(wanted)
        assert wanted in found


def test_few_requests_say_nothing_of_other_ways() -> None:
    with pytest.raises(ProbeError, match="20 requests"):
        by_other_way(OTHERS[0], "", HOMES, REGIONS, {"cluster1": sample("cluster1", near=3)})


# Failover -----------------------------------------------------------------------------------------

DOWN, UP, USABLE, END = 5.0, 30.0, 34.0, 70.0
IN_FAR = stream("cluster2", (END, ("far",)))
BEFORE = (DOWN, ("near",))
AWAY = (USABLE, ("far",))


def failover(
    *phases: tuple[float, Turns], usable: float | None = USABLE, other: Stream = IN_FAR
) -> tuple[str, Mapping[str, Figure]]:
    streams = {"cluster1": stream("cluster1", *phases), "cluster2": other}
    what = "HelloWorld of region1 went away"
    outcome = Failover(
        "region1", what, "away", HOMES, REGIONS, streams, DOWN, UP, usable, 15.0
    ).judged()
    return "\n".join(map(str, outcome.findings)), outcome.figures


@pytest.mark.parametrize(
    ("phases", "wanted"),
    [
        ([BEFORE, AWAY, (END, ("again",))], ""),
        ([BEFORE, (7, ("near", FAILED)), AWAY, (END, ("again",))], ""),
        ([BEFORE, AWAY, (40, ("far", "again")), (END, ("again",))], ""),
        ([BEFORE, (26, ("near",)), AWAY, (END, ("again",))], "of another region, 15 s after"),
        ([BEFORE, (26, (FAILED,)), AWAY, (END, ("again",))], "no healthy upstream"),
        (
            [BEFORE, (DOWN + 8, (FAILED, "far")), AWAY, (END, ("again",))],
            f"at most {ERRORED_SECONDS} errored",
        ),
        ([BEFORE, AWAY, (60, ("far",)), (END, ("again",))], "of region1 again, 15 s after"),
        ([BEFORE, AWAY, (END, ("far", "again"))], "of region1 again, 15 s after"),
    ],
)
def test_clients_of_a_region_that_fails(phases: list[tuple[float, Turns]], wanted: str) -> None:
    found, measured = failover(*phases)
    assert (wanted in found) if wanted else not found
    assert measured["region1.away.cluster1.errored_seconds_allowed"] == ERRORED_SECONDS


def test_a_region_that_stays_away() -> None:
    found, _ = failover(BEFORE, (END, ("far",)), usable=None)
    assert "cluster1: expected HelloWorld of region1 to be ready again" in found


@pytest.mark.parametrize(
    ("other", "wanted"),
    [
        ((END, ("far",)), ""),
        ((END, ("far", "far", "far", "again")), "answered by again"),
        ((END, ("far", FAILED)), "no healthy upstream"),
    ],
)
def test_clients_of_other_regions_are_not_disturbed(
    other: tuple[float, Turns], wanted: str
) -> None:
    found, _ = failover(BEFORE, AWAY, (END, ("again",)), other=stream("cluster2", other))
    assert ("cluster2: expected all answers of region2" in found) == bool(wanted)
    assert wanted in found


def test_seconds_to_go_over_are_measured_from_the_change() -> None:
    _, measured = failover(BEFORE, (7, ("near",)), AWAY, (END, ("again",)))
    assert measured["region1.away.cluster1.seconds_to_converge"] == pytest.approx(2, abs=3 * STEP)
    assert measured["region1.away.cluster1.failures"] == 0


def scenario_of(**second: str | None) -> Scenario:
    scenario = SCENARIOS["two-regions"]
    one, other = scenario.clusters
    return scenario.model_copy(update={"clusters": (one, other.model_copy(update=second))})


def test_helloworld_of_a_cluster_is_made_to_fail_by_its_version() -> None:
    scenario = SCENARIOS["two-regions"]
    sidecar = nowhere(scenario, scenario.clusters[1])
    assert sidecar is not None
    assert sidecar["spec"]["workloadSelector"]["labels"]["version"] == "v2"


@pytest.mark.parametrize(
    ("second", "can"),
    [
        ({"helloworld": "v1"}, True),
        ({"role": "remote", "primary": "cluster1"}, True),
        ({"role": "remote", "primary": "cluster1", "helloworld": "v1"}, False),
    ],
)
def test_one_istiod_cannot_tell_clusters_of_the_same_version_apart(
    second: dict[str, str | None], can: bool
) -> None:
    scenario = scenario_of(**second)
    assert (nowhere(scenario, scenario.clusters[1]) is not None) == can


# Distribution -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sample_of_first", "wanted"),
    [
        (sample("cluster1", near=140, far=60), ""),
        (sample("cluster1", near=120, again=25, far=55), ""),
        (sample("cluster1", near=100, far=100), "70 % from region1, 30 % from region2"),
        (sample("cluster1", near=200), "200 from region1"),
        (sample("cluster1", near=60, far=140), "140 from region2, 60 from region1"),
        (sample("cluster1", near=140, far=59, somebody=1), "an unknown region"),
        (sample("cluster1", 1, near=139, far=60), "no healthy upstream"),
    ],
)
def test_answers_are_distributed_over_regions(sample_of_first: TrafficSample, wanted: str) -> None:
    samples = {"cluster1": sample_of_first, "cluster2": sample("cluster2", near=60, far=140)}
    outcome = distributed(HOMES, REGIONS, samples)
    found = "\n".join(map(str, outcome.findings))
    assert (wanted in found) if wanted else not found
    assert outcome.result == ("unmet" if wanted else "met")
    assert "cluster2: expected" not in found


def test_too_few_answers_do_not_tell_how_they_are_distributed() -> None:
    outcome = distributed(HOMES, REGIONS, {"cluster1": sample("cluster1", near=3, far=2)})
    assert outcome.result == "inconclusive"


@given(st.integers(2, 20))
def test_weights_of_regions_are_all_requests(count: int) -> None:
    regions = {f"cluster{at}": f"region{at}" for at in range(count)}
    for home in regions.values():
        found = weights(home, regions)
        assert found.keys() == set(regions.values())
        assert sum(found.values()) == 100
        assert found[home] == NEAR
        assert min(found.values()) > 0


def test_each_region_has_its_own_weights() -> None:
    (first, second) = policy(HOMES)["loadBalancer"]["localityLbSetting"]["distribute"]
    assert first == {"from": "region1/*", "to": {"region1/*": 70, "region2/*": 30}}
    assert second == {"from": "region2/*", "to": {"region2/*": 70, "region1/*": 30}}
