"""When steps began, and how long they took."""

from __future__ import annotations

from typing import Any

from mesh_fixtures.progress import ProgressEvent
from mesh_fixtures.progress.tallies import StepTime, StepTimes


def times(*events: Any) -> StepTimes:
    found = StepTimes()
    for phase, cluster, outcome, at, seconds in events:
        found(ProgressEvent("one", phase, cluster, outcome, seconds=seconds, at=at))
    return found


def test_steps_begin_when_the_first_event_came_or_later() -> None:
    found = times(
        ("boot", "", "started", 100.0, 0.0),
        ("istiod/cluster1", "cluster1", "started", 101.0, 0.0),
        ("boot", "", "done", 104.0, 4.0),
        ("istiod/cluster1", "cluster1", "failed", 106.0, 5.0),
    )
    assert found.of("one") == (
        StepTime("boot", "", 4.0, False, 0.0),
        StepTime("istiod", "cluster1", 5.0, True, 1.0),
    )
    assert found.unfinished("one") == ()


def test_what_has_not_ended_has_taken_until_the_last_event() -> None:
    found = times(
        ("boot", "", "started", 100.0, 0.0),
        ("istiod", "cluster1", "started", 101.0, 0.0),
        ("istiod", "cluster2", "started", 103.0, 0.0),
        ("boot", "", "done", 104.0, 4.0),
    )
    assert found.unfinished("one") == (
        StepTime("istiod", "cluster1", 3.0, False, 1.0),
        StepTime("istiod", "cluster2", 1.0, False, 3.0),
    )
    assert found.unfinished("two") == ()


def test_parts_count_the_time_in_which_any_of_their_steps_ran() -> None:
    found = StepTimes()
    progress = (
        ("boot", "cluster1", "clusters", 104.0, 4.0),
        ("boot", "cluster2", "clusters", 105.0, 3.0),
        ("istiod", "cluster1", "mesh", 112.0, 7.0),
        ("teardown", "", "removal", 120.0, 2.0),
    )
    found(ProgressEvent("one", "boot", "cluster1", "started", at=100.0))
    for phase, cluster, part, at, seconds in progress:
        event = ProgressEvent("one", phase, cluster, "done", seconds=seconds, at=at, part=part)  # type: ignore[arg-type]
        found(event)
    assert found.parts("one") == {"clusters": 5.0, "mesh": 7.0, "removal": 2.0, "": 6.0}
    found(ProgressEvent("second", "mesh", "", "done", seconds=1.0, at=130.0, part="mesh"))
    assert found.summary() == [
        "        clusters    mesh   tests  removal   total",
        "one          5.0     7.0     6.0      2.0    20.0",
        "second               1.0     0.0              0.0",
    ]
    assert "   other" in found.summary("other")[0]
