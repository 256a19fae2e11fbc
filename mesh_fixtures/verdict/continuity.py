"""What became of a client's requests after something was done to the mesh: pure functions of them.

Times are seconds by one clock, whichever.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from math import floor, inf
from typing import Final

from mesh_fixtures.probe.continuous import TimedRequest
from mesh_fixtures.probe.envoy import Endpoints

CLEAN_REQUESTS: Final = 20
"""Good ones in a row after which the trouble counts as over: of errors that meet every other
request, one in a million such rows is free."""


def is_failure(request: TimedRequest) -> bool:
    return request.failed


@dataclass(frozen=True)
class Aftermath:
    """The requests that a change may have touched: those that ended after it.

    Attributes:
        requests: all of them, in order of their ends.
        bad: those that were not as they should be.
        change: when it was.
        clean: good ones that were begun after the last bad one's end.
        clean_seconds: from the last bad one's end, or the change, until the last request's end.
    """

    requests: tuple[TimedRequest, ...]
    bad: tuple[TimedRequest, ...]
    change: float
    clean: int
    clean_seconds: float

    @property
    def sent(self) -> int:
        return len(self.requests)

    @property
    def failures(self) -> tuple[TimedRequest, ...]:
        return tuple(each for each in self.bad if each.failed)

    @property
    def seconds_to_converge(self) -> float:
        """From the change to the end of the last bad one; 0.0 without any."""
        return self.bad[-1].ended - self.change if self.bad else 0.0

    @property
    def errored_seconds(self) -> int:
        """Seconds since the change, counted from it, in which at least one request was failing
        (source: ITU-T G.821, errored second).
        """
        return len(
            {
                second
                for each in self.failures
                for second in range(
                    floor(max(each.begun - self.change, 0.0)), floor(each.ended - self.change) + 1
                )
            }
        )

    @property
    def is_over(self) -> bool:
        """Whether enough good ones followed the last bad one, or the change where there is none."""
        return self.clean >= CLEAN_REQUESTS

    def __str__(self) -> str:
        if not self.bad:
            return f"{self.sent} requests, all as they should be"
        last = f"the last after {self.seconds_to_converge:.1f} s"
        kinds = _counted(self.bad)
        goes_on = "" if self.is_over else f", and only {self.clean} good ones since"
        return f"{len(self.bad)} of {self.sent} requests were not, {last}{goes_on}: {kinds}"


def _counted(bad: Iterable[TimedRequest]) -> str:
    counts: dict[str, int] = {}
    for each in bad:
        message = str(each.outcome).partition(": ")[2]
        kind = message if each.failed else f"answered by {each.instance}"
        counts[kind] = counts.get(kind, 0) + 1
    most = sorted(counts.items(), key=lambda item: -item[1])[:3]
    return "; ".join(f"{count} x {kind}" for kind, count in most)


def aftermath(
    requests: Iterable[TimedRequest],
    change: float,
    until: float = inf,
    is_bad: Callable[[TimedRequest], bool] = is_failure,
) -> Aftermath:
    """What became of the requests that ended after a change, and not after the next one.

    Args:
        until: the next change.
    """
    touched = sorted(
        (each for each in requests if change < each.ended <= until), key=lambda each: each.ended
    )
    bad = tuple(each for each in touched if is_bad(each))
    since = bad[-1].ended if bad else change
    clean = [each for each in touched if each.begun >= since]
    last = touched[-1].ended if touched else since
    return Aftermath(tuple(touched), bad, change, len(clean), last - since)


def longest_pause(requests: Sequence[TimedRequest]) -> float:
    """Most seconds between the end of a request and the beginning of the next; 0.0 without two."""
    return max((later.begun - earlier.ended for earlier, later in pairwise(requests)), default=0.0)


def versions(requests: Iterable[TimedRequest], begin: float, end: float) -> Mapping[str, int]:
    """Answers by version, of the requests that lie within a time as a whole."""
    counts: dict[str, int] = {}
    for each in requests:
        if each.version and begin <= each.begun and each.ended <= end:
            counts[each.version] = counts.get(each.version, 0) + 1
    return counts


def share_through(seen: Endpoints, addresses: Iterable[str]) -> Fraction:
    """The share of a client's requests that go to some addresses, by its endpoints' weights."""
    gateways = set(addresses)
    total = sum(each.weight for each in seen.in_use)
    through = sum(each.weight for each in seen.in_use if each.address in gateways)
    return Fraction(through, total) if total else Fraction(0)
