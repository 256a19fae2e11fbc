"""Answers that come so late that users take it for an outage, told from a machine that is slow."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Final

from mesh_fixtures.probe.traffic import Answer
from mesh_fixtures.verdict.expectations import Destination

SLOW_SECONDS: Final = 1.0
"""HelloWorld answers within a hundredth of that; where the first packet of a connection is lost,
the second is sent after that time (source: RFC 6298, initial retransmission timeout)."""


@dataclass(frozen=True)
class Waiting:
    """Answers of a destination.

    Attributes:
        seconds: their median.
    """

    destination: Destination
    answers: int
    seconds: float

    def __str__(self) -> str:
        targets = ", ".join(sorted(self.destination.targets)) or "no address"
        what = f"{self.answers} answers of {self.destination.name} by {targets}"
        return f"{what} took {self.seconds:.1f} s each (median)"


def waiting(wanted: Iterable[Destination], answers: Sequence[Answer]) -> tuple[Waiting, ...]:
    """How long destinations that answered took for it."""
    found = []
    for destination in wanted:
        times = [each.seconds for each in answers if each.instance in destination.instances]
        if times:
            found.append(Waiting(destination, len(times), median(times)))
    return tuple(found)


def late(seen: Sequence[Waiting], seconds: float) -> tuple[Waiting, ...]:
    """Destinations whose answers are late where others' are not: on a slow machine all are late.

    Args:
        seconds: above which an answer is late.
    """
    found = tuple(each for each in seen if each.seconds > seconds)
    return found if len(found) < len(seen) else ()
