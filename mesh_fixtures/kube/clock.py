"""The time that API servers have, by the `Date` of what they answer.

Go's HTTP server adds it to each answer (source: Go, net/http, Server; RFC 9110, 6.6.1).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Final

_RESOLUTION: Final = 1.0
"""Seconds that `Date` leaves out fractions of."""

BACKDATED_SECONDS: Final = 120.0
"""By which certificates of istiod begin in the past, so that clocks may be apart (source: Istio,
security/pkg/pki/util, generate_cert.go)."""


@dataclass(frozen=True)
class Clock:
    """A cluster's clock, beside that of this machine.

    Attributes:
        ahead: seconds that it is ahead; negative where it is behind.
        doubt: seconds that `ahead` may be off by.
    """

    ahead: float
    doubt: float

    def now(self) -> datetime:
        """The present moment by it."""
        return datetime.now(UTC) + timedelta(seconds=self.ahead)

    def differs_from(self, other: Clock, seconds: float) -> bool:
        """Whether both are apart by more than some seconds, whatever they may be off by."""
        return abs(self.ahead - other.ahead) > seconds + self.doubt + other.doubt


THIS: Final = Clock(0.0, 0.0)
"""This machine's own."""


def read_clock(date: str, asked: float, answered: float) -> Clock | None:
    """The clock of an API server; None where it does not say the time.

    Args:
        date: of its answer, as HTTP has it.
        asked: when the answer was asked for, and `answered` when it had come, by this machine's
            clock in seconds since the epoch.
    """
    try:
        served = parsedate_to_datetime(date).replace(tzinfo=UTC).timestamp()
    except ValueError:
        return None
    least, most = served - answered, served + _RESOLUTION - asked
    return Clock((least + most) / 2, (most - least) / 2)


def spoken(seconds: float) -> str:
    """A difference between clocks without its sign, for people: `2:03:04`, `1 day, 0:00:00`."""
    return str(timedelta(seconds=round(abs(seconds))))
