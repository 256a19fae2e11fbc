"""Waiting for what takes its time, with a deadline."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from mesh_fixtures import retries
from mesh_fixtures.errors import ProbeError
from mesh_fixtures.retries import Retry

Value = TypeVar("Value")


@dataclass(frozen=True)
class Settled(Generic[Value]):
    """The last answer, and what it took.

    Attributes:
        accepted: whether it is what was waited for.
        seconds: from the first question to the last answer.
        attempts: how often it was asked.
    """

    value: Value
    accepted: bool
    seconds: float
    attempts: int


def settle(
    probe: Callable[[], Value],
    accept: Callable[[Value], bool],
    *,
    deadline: float,
    interval: float,
    consecutive: int = 1,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> Settled[Value]:
    """Ask until an answer is accepted or the deadline has passed. The first question comes at once,
    the last one not before the deadline.

    Args:
        deadline: seconds after which no further question is asked.
        interval: seconds between an answer and the next question.
        consecutive: how many answers in a row have to be accepted.

    Raises:
        ProbeError: as the last question; an earlier one only delays.
    """
    begun = clock()
    attempts = accepted = 0
    while True:
        attempts += 1
        last_chance = clock() - begun >= deadline
        try:
            value = probe()
        except ProbeError as error:
            accepted = 0
            if last_chance:
                raise
            retries.tell(Retry(error.where, error.wanted, error.seen))
        else:
            accepted = accepted + 1 if accept(value) else 0
            if accepted == consecutive or last_chance:
                return Settled(value, accepted == consecutive, clock() - begun, attempts)
        sleep(max(0.0, min(interval, deadline - (clock() - begun))))
