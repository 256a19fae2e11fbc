"""Steps as bars on an axis of time, by cluster."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, floor, log10
from typing import Final

from mesh_fixtures.report.model import StepReport

_MOST_TICKS: Final = 8


@dataclass(frozen=True)
class Bar:
    """A step; `left` and `width` in percent of the axis."""

    step: StepReport
    left: float
    width: float


@dataclass(frozen=True)
class Lane:
    """The steps of one cluster, in the order in which they began."""

    cluster: str
    bars: tuple[Bar, ...]


@dataclass(frozen=True)
class Tick:
    """A mark of the axis at a number of seconds; `left` in percent."""

    seconds: int
    left: float


@dataclass(frozen=True)
class Timeline:
    """All steps of a topology; those that span it come first."""

    seconds: float
    lanes: tuple[Lane, ...]
    ticks: tuple[Tick, ...]


def timeline(steps: Sequence[StepReport]) -> Timeline:
    """Lay steps out along the time from the first one's beginning to the last one's end."""
    end = max((each.began + each.seconds for each in steps), default=0.0)
    whole = end or 1.0
    lanes = tuple(
        Lane(
            cluster,
            tuple(
                Bar(each, 100 * each.began / whole, 100 * each.seconds / whole)
                for each in steps
                if each.cluster == cluster
            ),
        )
        for cluster in sorted({each.cluster for each in steps})
    )
    pace = tick_seconds(whole)
    ticks = tuple(Tick(at, 100 * at / whole) for at in range(0, int(whole) + 1, pace))
    return Timeline(end, lanes, ticks)


def tick_seconds(whole: float) -> int:
    """Seconds from one mark to the next: 1, 2 or 5 times a power of ten."""
    least = max(whole / _MOST_TICKS, 1.0)
    power = int(10 ** floor(log10(least)))
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power >= ceil(least) * 0.999)
