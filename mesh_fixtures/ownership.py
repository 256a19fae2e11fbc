"""What the project keeps on this machine while it runs: where it lies, and whose it is."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path


def state_folder() -> Path:
    """`$XDG_STATE_HOME/mesh-conformance`, by default below `~/.local/state`."""
    base = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(base) / "mesh-conformance"


def started_at(pid: int) -> int | None:
    """Start time of a process in clock ticks since boot; None when it is gone or a zombie."""
    fields = status_of(pid)
    return None if not fields or fields[0] in "ZX" else int(fields[19])


def status_of(pid: int) -> list[str]:
    """Fields of /proc/PID/stat (proc(5)) from the third one on, the state, as the second is a name
    that may hold anything; empty when the process is gone.
    """
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return []
    return stat.rpartition(")")[2].split()


@dataclass(frozen=True)
class Owner:
    """A process that something belongs to.

    Attributes:
        started: start time in clock ticks since boot, which tells it from a later process with the
            same pid.
    """

    pid: int
    started: int

    @classmethod
    def this_process(cls) -> Owner:
        return cls(os.getpid(), started_at(os.getpid()) or 0)

    @classmethod
    def named(cls, name: str) -> Owner:
        """The owner that begins a name, as `str` writes it; one that never lived if none does."""
        found = re.match(r"(\d+)-(\d+)", name)
        return cls(int(found[1]), int(found[2])) if found else cls(0, 0)

    @property
    def is_alive(self) -> bool:
        return self.pid > 0 and started_at(self.pid) == self.started

    def __str__(self) -> str:
        return f"{self.pid}-{self.started}"
