"""Meshes broken on purpose, to prove that requirements fail when they should, by the right cause.

    target = Target(view, progress)
    for fault in FAULTS:
        with fault.inject(target):
            detection = detect(mesh, fault.fails, fault.unaffected)

Every fault is data (`table.py`) with a context manager that breaks a mesh when it is entered, and
mends it when it is left. Add one: a context manager over a `Target` in the module that it belongs
to, and a row of the table. A target's changes are bounded, and wait until they show.
"""

from mesh_fixtures.faults.fault import Fault, Injection
from mesh_fixtures.faults.table import FAULTS, TOPOLOGIES, by_id
from mesh_fixtures.faults.target import Target
from mesh_fixtures.faults.trial import Detection, ImpatientMesh, detect, root_causes
from mesh_fixtures.faults.whole import WholeMesh

__all__ = [
    "FAULTS",
    "TOPOLOGIES",
    "Detection",
    "Fault",
    "ImpatientMesh",
    "Injection",
    "Target",
    "WholeMesh",
    "by_id",
    "detect",
    "root_causes",
]
