"""One factor by which every deadline of the product is multiplied on a slow machine.

An emulated machine is ten to twenty times slower than a real one, a laptop beside a video call half
as fast. Deadlines are written down for an idle machine of two cores, as constants; where one is
used, `patient` makes of it what is right for this machine:

    process.wait(timeout=patient(SETUP_DEADLINE))

What is passed on as an argument is already multiplied, so that nothing is multiplied twice. Poll
intervals, pauses between tries, measured figures, budgets of failed requests, and limits that are
not about this machine's speed (a TCP timer, a lifetime) stay as they are.
"""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final

LEAST: Final = 1.0
MOST: Final = 100.0
"""Beyond this, a wait for what never comes takes days."""

MOST_MEASURED: Final = 8.0
"""A measured factor is no larger: who asks for more has a reason to say so."""

FORM: Final = f"a number from {LEAST:g} to {MOST:g}"

_STEP: Final = 0.5
_PROC: Final = Path("/proc")


@dataclass(frozen=True)
class Patience:
    """A factor and where it comes from.

    Attributes:
        factor: what deadlines are multiplied by, from `LEAST` to `MOST`.
        reason: the option or variable that was given, or what was measured, for people.
    """

    factor: float
    reason: str

    def __str__(self) -> str:
        return f"{self.factor:g} ({self.reason})"


@dataclass(frozen=True)
class Pressure:
    """How busy a machine is.

    Attributes:
        stalled: share of the last 10 s in which some process waited for a core, from 0 to 1
            (Linux: PSI, `some avg10` of /proc/pressure/cpu); None where it is unknown.
        load: processes that run or want to, for each core (proc(5): /proc/loadavg, over a minute);
            None where it is unknown.
    """

    stalled: float | None
    load: float | None


UNCHANGED: Final = Patience(LEAST, "default")
_current = UNCHANGED


def patient(seconds: float) -> float:
    """A deadline for this machine.

    Args:
        seconds: the deadline for an idle machine of two cores.
    """
    return seconds * _current.factor


def whole(seconds: float) -> int:
    """As `patient`, in whole seconds and not less."""
    return math.ceil(patient(seconds))


def current() -> Patience:
    """What this process multiplies by: 1 until `use` was called."""
    return _current


def one_at_a_time() -> bool:
    """Whether what is usually done at the same time is done one after another: on a machine that is
    so slow that it would run into limits that cannot be stretched (an API server's 34 s for a
    change, kubectl's 10 s for a handshake).
    """
    return _current.factor > MOST_MEASURED


def use(patience: Patience) -> None:
    """Set what this process multiplies by, once its options are known."""
    global _current
    _current = patience


def parse(text: str) -> float:
    """The factor that a person gave.

    Raises:
        ValueError: it is no number from `LEAST` to `MOST`; the text says so.
    """
    try:
        factor = float(text)
    except ValueError:
        factor = math.nan
    if not LEAST <= factor <= MOST:
        raise ValueError(f"{text!r} is not {FORM}")
    return factor


def chosen(text: str, source: str) -> Patience:
    """The factor that was given, else the one that suits this machine now.

    Args:
        text: what was given; empty for nothing.
        source: the option or variable that gave it.

    Raises:
        ValueError: it is not a factor.
    """
    if not text:
        return measured(read_pressure())
    try:
        return Patience(parse(text), source)
    except ValueError as error:
        raise ValueError(f"{source}: {error}") from error


def measured(pressure: Pressure) -> Patience:
    """What suits a machine that is so busy: 1 where it is idle, or where nothing is known.

    While some process waits for a core, each waits for the turns of the others. Factors are rounded
    to halves, so that noise does not count.
    """
    load = pressure.load or 0.0
    if pressure.stalled is None:
        slowdown = max(1.0, load)
    else:
        slowdown = 1.0 + pressure.stalled * max(1.0, load)
    factor = min(max(round(slowdown / _STEP) * _STEP, LEAST), MOST_MEASURED)
    if factor == LEAST:
        return Patience(LEAST, "machine idle")
    seen = []
    if pressure.load is not None:
        seen.append(f"{pressure.load:.1f} processes to a core")
    if pressure.stalled is not None:
        seen.append(f"{pressure.stalled:.0%} of the time some wait for one")
    return Patience(factor, f"machine under load: {', '.join(seen)}")


def read_pressure(proc: Path = _PROC) -> Pressure:
    """How busy this machine is now, as far as its kernel says.

    Args:
        proc: where the kernel's files are mounted.
    """
    return Pressure(
        stalled=parse_stalled(_text(proc / "pressure" / "cpu")),
        load=parse_load(_text(proc / "loadavg"), os.cpu_count() or 1),
    )


def parse_stalled(text: str) -> float | None:
    """`some avg10` of a pressure file, as a share; None where it is not there."""
    for line in text.splitlines():
        kind, *fields = line.split()
        values = dict(field.partition("=")[::2] for field in fields)
        if kind == "some":
            return _share(values.get("avg10", ""))
    return None


def parse_load(text: str, cores: int) -> float | None:
    """The load over the last minute by core; None where it is not there."""
    first = text.split()[:1]
    load = _number(first[0]) if first else None
    return None if load is None else load / cores


def _share(percent: str) -> float | None:
    number = _number(percent)
    return None if number is None else min(number / 100, 1.0)


def _number(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) and number >= 0 else None


def _text(file: Path) -> str:
    """Empty where the kernel has no such file, or does not let it be read (PSI may be off)."""
    try:
        return file.read_text(encoding="utf-8")
    except OSError:
        return ""
