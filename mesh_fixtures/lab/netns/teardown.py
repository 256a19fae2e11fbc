"""Removes what a lab made: exactly what its journal says, and proves that nothing is left."""

from __future__ import annotations

import shutil
from pathlib import Path

from pyroute2 import netns

from mesh_fixtures.journal import JournalEntry
from mesh_fixtures.lab.netns import cgroups
from mesh_fixtures.lab.processes import end_processes, is_alive, marked_with
from mesh_fixtures.lab.upkeep import attempt, require_nothing_left
from mesh_fixtures.records import Record


def tear_down(record: Record) -> None:
    """Remove a lab and check that nothing of it is left.

    Every part is tried, whatever happens to the others, so that a second call has less to do.

    Raises:
        LabError: something is still there; its text names all of it.
    """
    entries = list(record.journal.entries())
    failures = attempt(
        (
            lambda: end_processes(record.id, record.journal),
            lambda: _remove_namespaces(entries),
            lambda: _remove_cgroups(entries),
            lambda: _remove_folder(record.folder, record.id, entries),
        )
    )
    left = failures + leftovers(record.id, entries)
    require_nothing_left(record, left)


def _remove_folder(folder: Path, lab: str, entries: list[JournalEntry]) -> None:
    """Remove the folder, which holds the journal, when all else is gone."""
    if not leftovers(lab, entries):
        shutil.rmtree(folder)


def leftovers(lab: str, entries: list[JournalEntry]) -> list[str]:
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


def _remove_namespaces(entries: list[JournalEntry]) -> None:
    existing = set(netns.listnetns())
    for name in dict.fromkeys(e.name for e in entries if e.kind == "namespace"):
        if name in existing:
            netns.remove(name)


def _remove_cgroups(entries: list[JournalEntry]) -> None:
    for path in dict.fromkeys(e.name for e in entries if e.kind == "cgroup"):
        cgroups.remove(path)
