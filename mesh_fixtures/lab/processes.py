"""Processes by pid and start time, read from /proc (proc(5))."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from mesh_fixtures.errors import LabError
from mesh_fixtures.journal import Journal, JournalEntry
from mesh_fixtures.ownership import started_at, status_of
from mesh_fixtures.patience import patient

MARK = "MESH_CONFORMANCE_LAB"
"""Environment variable that marks a lab's processes."""

_PROC = Path("/proc")
_KILL_DEADLINE = 20.0
_MARKED_ROUNDS = 20


def marked_environment(lab: str) -> dict[str, str]:
    """This process's environment with the mark by which a lab's processes are found."""
    return {**os.environ, MARK: lab}


def is_running(entry: JournalEntry) -> bool:
    """Whether an entry's process is there; true for entries of another kind."""
    return entry.kind != "process" or is_alive(entry.pid, entry.started)


def end_processes(lab: str, journal: Journal) -> None:
    """End all processes of a lab: those of its journal, and those that carry its mark.

    Raises:
        LabError: one of them is still there.
    """
    kill({e.pid: e.started for e in journal.entries() if e.kind == "process"})
    for _ in range(_MARKED_ROUNDS):
        # The journal learns of a process after its start; the mark is there from the start.
        marked = {pid: started_at(pid) for pid in marked_with(lab)}
        alive = {pid: started for pid, started in marked.items() if started is not None}
        if not alive:
            return
        kill(alive)


def is_alive(pid: int, started: int) -> bool:
    return pid > 0 and started_at(pid) == started


def marked_with(lab: str) -> Iterator[int]:
    """Pids of the processes whose environment carries the lab's mark."""
    wanted = f"{MARK}={lab}".encode()
    for entry in _PROC.iterdir():
        if entry.name.isdigit():
            try:
                environment = (entry / "environ").read_bytes()
            except OSError:
                continue
            if wanted in environment.split(b"\0"):
                yield int(entry.name)


def kill(pids: Mapping[int, int], *, deadline: float | None = None) -> None:
    """Kill processes and wait until they are gone.

    Args:
        pids: start time in clock ticks by pid; a pid whose start time differs is left alone.
        deadline: seconds; None for `patient(_KILL_DEADLINE)`.

    Raises:
        LabError: one of them is still there at the deadline.
    """
    for pid, started in pids.items():
        if is_alive(pid, started):
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
    seconds = patient(_KILL_DEADLINE) if deadline is None else deadline
    end = time.monotonic() + seconds
    left = dict(pids)
    while left := {pid: started for pid, started in left.items() if is_alive(pid, started)}:
        if time.monotonic() > end:
            raise LabError(
                wanted=f"processes {sorted(left)} to end within {seconds:g} s of SIGKILL",
                seen="they are still running",
                where="teardown",
            )
        time.sleep(0.01)


def descendants(roots: Sequence[int]) -> set[int]:
    """The processes in `roots` and everything that descends from them."""
    children: dict[int, list[int]] = {}
    for entry in _PROC.iterdir():
        if entry.name.isdigit() and (fields := status_of(int(entry.name))):
            children.setdefault(int(fields[1]), []).append(int(entry.name))
    found: set[int] = set()
    todo = list(roots)
    while todo:
        pid = todo.pop()
        if pid not in found:
            found.add(pid)
            todo.extend(children.get(pid, []))
    return found


def processor_seconds(pids: Iterable[int]) -> float:
    """Seconds of the processor that these processes have taken, and their children that have ended
    and were waited for (proc(5): utime, stime, cutime and cstime of /proc/pid/stat).
    """
    ticks = sum(sum(map(int, status_of(pid)[11:15])) for pid in pids)
    return ticks / os.sysconf("SC_CLK_TCK")


def proportional_set_size(pids: set[int]) -> int:
    """Sum of the proportional set sizes in bytes (Pss of smaps_rollup, proc(5))."""
    total = 0
    for pid in pids:
        try:
            lines = (_PROC / str(pid) / "smaps_rollup").read_text().splitlines()
        except OSError:
            continue
        total += sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:"))
    return total
