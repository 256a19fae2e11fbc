"""When steps began, and how long they took."""

from __future__ import annotations

from typing import Any

from mesh_fixtures.progress import Event
from mesh_fixtures.progress.step_times import StepTime, StepTimes


def times(*events: Any) -> StepTimes:
    found = StepTimes()
    for phase, cluster, outcome, at, seconds in events:
        found(Event("one", phase, cluster, outcome, seconds=seconds, at=at))
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
