"""Removes what a kind lab made, found by the names and labels that carry its id."""

from __future__ import annotations

import shutil
from typing import cast

from mesh_fixtures.lab.kind import engine as engines
from mesh_fixtures.lab.kind.configuration import cluster_name
from mesh_fixtures.lab.processes import end_processes, marked_with
from mesh_fixtures.lab.removal import attempt, require_nothing_left
from mesh_fixtures.records import Record

_ROUNDS = 3


def tear_down(record: Record) -> None:
    """Remove a lab and check that nothing of it is left; kind itself is not needed.

    Every part is tried, whatever happens to the others, so that a second call has less to do.

    Raises:
        LabError: something is still there; its text names all of it.
    """
    engine = engines.Engine(cast("engines.Name", record.engine))
    failures = attempt(
        (
            lambda: end_processes(record.id, record.journal),
            lambda: _remove_clusters(engine, record.id),
            lambda: engine.remove_volumes(engine.volumes(cluster_name(record.id, ""))),
            lambda: _remove_network(engine, record.id),
        )
    )
    left = failures or leftovers(engine, record.id)
    require_nothing_left(record, left)
    shutil.rmtree(record.folder)


def leftovers(engine: engines.Engine, lab: str) -> list[str]:
    """What of a lab still exists, one line each."""
    found = [f"process {pid} carries the lab's mark" for pid in marked_with(lab)]
    found += [f"container {each.id[:12]}" for each in engine.containers(cluster_name(lab, ""))]
    found += [f"volume {each[:12]}" for each in engine.volumes(cluster_name(lab, ""))]
    if engine.has_network(lab):
        found.append(f"{engine.title}'s network {lab}")
    return found


def _remove_clusters(engine: engines.Engine, lab: str) -> None:
    for _ in range(_ROUNDS):
        # The engine may still be making one for a kind that has just been ended.
        containers = engine.containers(cluster_name(lab, ""))
        if not containers:
            return
        engine.remove_containers([each.id for each in containers])


def _remove_network(engine: engines.Engine, lab: str) -> None:
    if engine.has_network(lab):
        engine.remove_network(lab)
