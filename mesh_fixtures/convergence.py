"""Waiting for what takes its time, with a deadline, and with words for what is waited for."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from mesh_fixtures.errors import MeshConformanceError, ProbeError

Value = TypeVar("Value")


class NotConverged(MeshConformanceError):
    """What was waited for did not come about.

    Attributes:
        last: the value last seen.
        seconds: how long it was waited for.
        attempts: how often it was asked.
    """

    last: object
    seconds: float
    attempts: int


@dataclass(frozen=True)
class Converged(Generic[Value]):
    """The value that was accepted, and what it took.

    Attributes:
        seconds: from the first question to the answer that was accepted.
        attempts: how often it was asked.
    """

    value: Value
    seconds: float
    attempts: int


def converge(
    probe: Callable[[], Value],
    accept: Callable[[Value], bool],
    *,
    what: str,
    where: str,
    deadline: float,
    interval: float,
    consecutive: int = 1,
    describe: Callable[[Value], str] = repr,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> Converged[Value]:
    """Ask until an answer is accepted. The first question comes at once, the last one not before
    the deadline.

    Args:
        what: what is waited for, as in "wanted ...".
        where: cluster or object that is asked.
        deadline: seconds after which no further question is asked.
        interval: seconds between an answer and the next question.
        consecutive: how many answers in a row have to be accepted.
        describe: says what an answer that was not accepted was.

    Raises:
        NotConverged: the deadline passed; says what was last seen.
        ProbeError: as the last question; an earlier one only delays.
    """
    begun = clock()
    attempts = accepted = 0
    while True:
        attempts += 1
        last_chance = clock() - begun >= deadline
        try:
            value = probe()
        except ProbeError:
            accepted = 0
            if last_chance:
                raise
        else:
            accepted = accepted + 1 if accept(value) else 0
            if accepted == consecutive:
                return Converged(value, clock() - begun, attempts)
            if last_chance:
                raise _not_converged(what, where, describe(value), value, clock() - begun, attempts)
        sleep(max(0.0, min(interval, deadline - (clock() - begun))))


def _not_converged(
    what: str, where: str, seen: str, last: object, seconds: float, attempts: int
) -> NotConverged:
    error = NotConverged(
        wanted=f"{what} within {seconds:.0f} s",
        seen=f"{seen} (the last of {attempts} answers)",
        where=where,
    )
    error.last, error.seconds, error.attempts = last, seconds, attempts
    return error
