"""Removes the namespaces made for a run from existing clusters, by its journal."""

from __future__ import annotations

import shutil
from pathlib import Path

from mesh_fixtures.contract import Cluster
from mesh_fixtures.errors import MeshConformanceError
from mesh_fixtures.lab.kubeconfig import namespace
from mesh_fixtures.lab.processes import end_processes
from mesh_fixtures.lab.removal import attempt, require_nothing_left
from mesh_fixtures.parallel import parallel_map
from mesh_fixtures.records import Record


def kubeconfig_of(record: Record, cluster: str) -> Path:
    """File by which a lab reaches one of its clusters."""
    return record.folder / f"{cluster}.kubeconfig"


def tear_down(record: Record) -> None:
    """Remove what a lab made in its clusters, see that it is gone, and then the lab's folder.

    Raises:
        LabError: a namespace is still there, or a cluster could not be asked; names them all.
    """
    failures = attempt((lambda: end_processes(record.id, record.journal),))
    made = [each.name for each in record.journal.entries() if each.kind == "kubernetes-namespace"]
    clusters = list(dict.fromkeys(name.partition("/")[0] for name in made))
    found = parallel_map(lambda cluster: _left_in(record, cluster), clusters)
    left = [*failures, *(each for each in found.values() if each)]
    gone = "where a cluster is gone for good, remove the folder"
    require_nothing_left(record, left, otherwise=gone)
    shutil.rmtree(record.folder)


def _left_in(record: Record, cluster: str) -> str:
    """What may be left in a cluster; empty when nothing is."""
    reached = Cluster(cluster, network="", kubeconfig=kubeconfig_of(record, cluster))
    try:
        namespace.remove(reached, record.id)
    except (MeshConformanceError, OSError) as error:
        return f"namespace {namespace.name_of(record.id)} in {cluster}: {error}"
    return ""
