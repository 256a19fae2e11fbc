from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import pytest

from mesh_fixtures.errors import ProbeError
from mesh_fixtures.retries import Retry, reporting_to
from mesh_fixtures.verdict.convergence import Settled, settle


@dataclass
class Clock:
    """Time that passes only while something sleeps or asks."""

    now: float = 100.0
    question_takes: float = 0.0
    slept: list[float] = field(default_factory=list)

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        assert seconds >= 0
        self.slept.append(seconds)
        self.now += seconds

    def answering(self, answers: list[int | Exception]) -> Callable[[], int]:
        left: Iterator[int | Exception] = iter([*answers, *([answers[-1]] * 1000)])

        def probe() -> int:
            self.now += self.question_takes
            answer = next(left)
            if isinstance(answer, Exception):
                raise answer
            return answer

        return probe


def probe_error() -> ProbeError:
    return ProbeError(wanted="an answer", seen="none", where="cluster1")


def settled(clock: Clock, answers: list[int | Exception], consecutive: int = 1) -> Settled[int]:
    return settle(
        clock.answering(answers),
        lambda value: value >= 3,
        deadline=10,
        interval=1,
        consecutive=consecutive,
        clock=clock,
        sleep=clock.sleep,
    )


def test_an_accepted_first_answer_costs_no_wait() -> None:
    clock = Clock()
    assert settled(clock, [3]) == Settled(3, accepted=True, seconds=0.0, attempts=1)
    assert not clock.slept


def test_asks_until_an_answer_is_accepted() -> None:
    assert settled(Clock(), [1, 2, 3]) == Settled(3, accepted=True, seconds=2.0, attempts=3)


def test_asks_once_more_at_the_deadline_and_then_gives_up() -> None:
    assert settled(Clock(), [1]) == Settled(1, accepted=False, seconds=10.0, attempts=11)


def test_a_slow_question_does_not_move_the_deadline() -> None:
    outcome = settled(Clock(question_takes=4), [1])
    assert not outcome.accepted
    assert outcome.seconds <= 10 + 2 * 4


def test_answers_have_to_be_accepted_in_a_row() -> None:
    outcome = settled(Clock(), [3, 1, 3, 3], consecutive=2)
    assert outcome.accepted
    assert outcome.attempts == 4
    assert not settled(Clock(), [3, 1] * 100, consecutive=2).accepted


def test_a_probe_error_only_delays() -> None:
    assert settled(Clock(), [probe_error(), 3]).value == 3
    assert settled(Clock(), [3, probe_error(), 3, 3], consecutive=2).attempts == 4


def test_a_probe_error_that_only_delays_is_told() -> None:
    retries: list[Retry] = []
    with reporting_to(retries.append):
        settled(Clock(), [probe_error(), 1, 3])
    settled(Clock(), [probe_error(), 3])
    assert retries == [Retry("cluster1", "an answer", "none")]


def test_a_probe_error_at_the_deadline_is_raised() -> None:
    with pytest.raises(ProbeError):
        settled(Clock(), [1, probe_error()])
