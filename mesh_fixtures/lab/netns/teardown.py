"""Removes what a lab made: exactly what its journal says, and proves that nothing is left."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass

from pyroute2 import netns

from mesh_fixtures.errors import LabError, MeshConformanceError
from mesh_fixtures.lab.netns import cgroups
from mesh_fixtures.lab.netns.journal import Entry
from mesh_fixtures.lab.netns.processes import is_alive, kill, marked_with, started_at
from mesh_fixtures.lab.netns.state import Record, exclusive, records
from mesh_fixtures.progress import Progress

_KILL_DEADLINE = 20.0
_MARKED_ROUNDS = 20


def end_processes(record: Record) -> None:
    """End all processes of a lab.

    Raises:
        LabError: one of them is still there.
    """
    _end_processes(record.id, list(record.journal.entries()))


def tear_down(record: Record) -> None:
    """Remove a lab and check that nothing of it is left.

    Every part is tried, whatever happens to the others, so that a second call has less to do.

    Raises:
        LabError: something is still there; its text names all of it.
    """
    entries = list(record.journal.entries())
    failures = []
    steps: tuple[Callable[[], None], ...] = (
        lambda: _end_processes(record.id, entries),
        lambda: _remove_namespaces(entries),
        lambda: _remove_cgroups(entries),
    )
    for step in steps:
        try:
            step()
        except (MeshConformanceError, OSError) as error:
            failures.append(str(error))
    left = failures + leftovers(record.id, entries)
    if left:
        raise LabError(
            wanted=f"nothing of lab {record.id} to be left",
            seen="; ".join(left),
            where=str(record.folder),
            remedy="mesh-conformance clean tries again",
        )
    shutil.rmtree(record.folder)


def leftovers(lab: str, entries: list[Entry]) -> list[str]:
    """What of a lab's journal still exists, one line each."""
    namespaces = set(netns.listnetns())
    found = [f"process {pid} carries the lab's mark" for pid in marked_with(lab)]
    for entry in entries:
        if entry.kind == "process" and is_alive(entry.pid, entry.started):
            found.append(f"process {entry.pid} ({entry.name})")
        elif entry.kind == "namespace" and entry.name in namespaces:
            found.append(f"network namespace {entry.name}")
        elif entry.kind == "cgroup":
            found.extend(f"control group {path}" for path in cgroups.leftovers(entry.name))
    return sorted(set(found))


@dataclass(frozen=True)
class Cleaned:
    """What was cleaned: ids of removed labs; ids of those that live on, with the reason."""

    removed: tuple[str, ...]
    left_alone: tuple[tuple[str, str], ...]


def clean_abandoned(progress: Progress) -> Cleaned:
    """Remove labs whose process is gone and that nobody asked to keep.

    Raises:
        LabError: one of them could not be removed.
    """
    removed, left_alone = [], []
    with exclusive():
        for record in records():
            if record.in_use:
                left_alone.append((record.id, f"in use by process {record.owner_pid}"))
            elif record.kept and record.booted:
                left_alone.append((record.id, f"kept, scenario {record.scenario}"))
            else:
                with progress.phase("clean", detail=f"abandoned lab {record.id}"):
                    tear_down(record)
                removed.append(record.id)
    return Cleaned(tuple(removed), tuple(left_alone))


def _end_processes(lab: str, entries: list[Entry]) -> None:
    journalled = {e.pid: e.started for e in entries if e.kind == "process"}
    kill(journalled, deadline=_KILL_DEADLINE)
    for _ in range(_MARKED_ROUNDS):
        # The journal learns of a process after its start; the mark is there from the start.
        marked = {pid: started_at(pid) for pid in marked_with(lab)}
        alive = {pid: started for pid, started in marked.items() if started is not None}
        if not alive:
            return
        kill(alive, deadline=_KILL_DEADLINE)


def _remove_namespaces(entries: list[Entry]) -> None:
    existing = set(netns.listnetns())
    for name in dict.fromkeys(e.name for e in entries if e.kind == "namespace"):
        if name in existing:
            netns.remove(name)


def _remove_cgroups(entries: list[Entry]) -> None:
    for path in dict.fromkeys(e.name for e in entries if e.kind == "cgroup"):
        cgroups.remove(path)
