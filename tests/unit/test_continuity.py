"""How a client's requests are judged after a change to the mesh."""

from __future__ import annotations

from fractions import Fraction

import pytest
from fake_kube import result
from hypothesis import given
from hypothesis import strategies as st

from mesh_fixtures import patience
from mesh_fixtures.patience import Patience, patient, whole
from mesh_fixtures.probe.continuous import TimedRequest
from mesh_fixtures.probe.envoy import Endpoint, Endpoints
from mesh_fixtures.probe.traffic import REQUEST_SECONDS, Answer, Failure
from mesh_fixtures.requirements.resilience_traffic import WAITING_SECONDS
from mesh_fixtures.verdict.continuity import (
    CLEAN_REQUESTS,
    aftermath,
    longest_pause,
    share_through,
    versions,
)

SOURCE = result().source


def request(begun: float, *, ok: bool = True, seconds: float = 0.1, by: str = "v1") -> TimedRequest:
    outcome = Answer(1, by, f"pod-{by}", seconds) if ok else Failure(1, 28, 0, "slow", seconds)
    return TimedRequest(begun, seconds, outcome)


@st.composite
def streams(draw: st.DrawFn) -> list[TimedRequest]:
    """Requests of a client, one after the other; times are whole, so that nothing is rounded."""
    found: list[TimedRequest] = []
    at = 0
    for _ in range(draw(st.integers(0, 60))):
        at += draw(st.integers(0, 3))
        seconds = draw(st.integers(1, 4))
        found.append(request(at, ok=draw(st.booleans()), seconds=seconds))
        at += seconds
    return found


changes = st.integers(-5, 200)


@given(streams(), changes)
def test_every_request_after_a_change_is_good_or_bad(sent: list[TimedRequest], change: int) -> None:
    seen = aftermath(sent, change)
    after = [each for each in sent if each.ended > change]
    assert seen.sent == len(after)
    assert list(seen.bad) == [each for each in after if each.failed]
    assert seen.clean <= seen.sent - len(seen.bad)
    assert seen.seconds_to_converge >= 0
    assert (seen.seconds_to_converge == 0) is (not seen.bad)


@given(streams(), changes, changes)
def test_only_differences_of_times_count(sent: list[TimedRequest], change: int, shift: int) -> None:
    later = [TimedRequest(each.begun + shift, each.seconds, each.outcome) for each in sent]
    one, other = aftermath(sent, change), aftermath(later, change + shift)
    assert one.seconds_to_converge == other.seconds_to_converge
    assert one.errored_seconds == other.errored_seconds
    assert (one.sent, one.clean) == (other.sent, other.clean)


@given(streams(), changes, st.integers(1, 40))
def test_good_requests_end_the_trouble_and_do_not_move_it(
    sent: list[TimedRequest], change: int, more: int
) -> None:
    end = max([change, *(each.ended for each in sent)])
    good = [request(end + n, seconds=1) for n in range(more)]
    before, after = aftermath(sent, change), aftermath([*sent, *good], change)
    assert after.seconds_to_converge == before.seconds_to_converge
    assert after.clean == before.clean + more
    assert after.is_over or after.clean < CLEAN_REQUESTS


@given(streams(), changes, st.integers(1, 4))
def test_one_failure_more_begins_the_count_again(
    sent: list[TimedRequest], change: int, seconds: int
) -> None:
    end = max([change, *(each.ended for each in sent)])
    seen = aftermath([*sent, request(end, ok=False, seconds=seconds)], change)
    assert seen.clean == 0
    assert not seen.is_over
    assert seen.seconds_to_converge == end + seconds - change


@given(streams(), changes, changes)
def test_what_ends_after_the_next_change_is_not_the_first_ones(
    sent: list[TimedRequest], change: int, following: int
) -> None:
    first, second = sorted((change, following))
    one, both = aftermath(sent, first, second), aftermath(sent, first)
    assert one.sent + aftermath(sent, second).sent == both.sent
    assert one.seconds_to_converge <= second - first or not one.bad


@given(streams(), changes)
def test_errored_seconds_are_as_many_as_failures_can_touch(
    sent: list[TimedRequest], change: int
) -> None:
    seen = aftermath(sent, change)
    assert (seen.errored_seconds == 0) is (not seen.failures)
    assert seen.errored_seconds <= sum(each.seconds + 1 for each in seen.failures)
    assert seen.errored_seconds <= seen.seconds_to_converge + 1


@pytest.mark.parametrize(
    ("begun", "seconds", "touched"),
    [(10.2, 0.1, 1), (10.95, 0.1, 2), (10.5, 2.0, 3), (9.5, 0.6, 1), (9.0, 3.5, 3)],
)
def test_an_errored_second_begins_with_the_change(
    begun: float, seconds: float, touched: int
) -> None:
    assert aftermath([request(begun, ok=False, seconds=seconds)], 10).errored_seconds == touched


@pytest.mark.parametrize("factor", [1.0, 1.5, 2.0, 8.0])
@pytest.mark.parametrize("begun", [10.0, 10.5, 10.97])
def test_budgets_are_not_spent_by_one_request_that_waits_in_vain(
    begun: float, factor: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(patience, "_current", Patience(factor, "test"))
    given = patient(REQUEST_SECONDS) + 0.002  # which curl takes to end it
    seen = aftermath([request(begun, ok=False, seconds=given)], 10)
    assert seen.errored_seconds <= whole(WAITING_SECONDS)


@given(streams())
def test_the_longest_pause_is_between_requests(sent: list[TimedRequest]) -> None:
    pause = longest_pause(sent)
    assert pause >= 0
    end = sent[-1].ended if sent else 0
    assert longest_pause([*sent, request(end)]) == pause
    if sent:
        assert longest_pause([*sent, request(end + 5)]) == max(pause, 5)


def test_bad_is_what_the_caller_says() -> None:
    sent = [request(n, by="v1" if n < 3 else "v2") for n in range(30)]
    seen = aftermath(sent, 0.0, is_bad=lambda each: each.version == "v1")
    assert [each.begun for each in seen.bad] == [0, 1, 2]
    assert (seen.failures, seen.errored_seconds) == ((), 0)
    assert seen.is_over


def test_answers_are_counted_that_lie_within_a_time_as_a_whole() -> None:
    sent = [request(1, seconds=2), request(3, by="v2"), request(4, ok=False), request(5, seconds=9)]
    assert versions(sent, 1, 10) == {"v1": 1, "v2": 1}
    assert versions(sent, 2, 10) == {"v2": 1}


def test_the_share_that_goes_through_addresses_follows_from_the_weights_in_use() -> None:
    def endpoint(address: str, weight: int, *, healthy: bool = True) -> Endpoint:
        return Endpoint(address, 15443, weight, healthy, "", "", 0)

    known = (endpoint("a", 1), endpoint("b", 2), endpoint("c", 5, healthy=False))
    assert share_through(Endpoints(SOURCE, True, known), ["b", "c"]) == Fraction(2, 3)
    assert share_through(Endpoints(SOURCE, True, known), []) == 0
    assert share_through(Endpoints(SOURCE, False, ()), ["a"]) == 0
