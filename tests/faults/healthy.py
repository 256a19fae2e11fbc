"""A mesh that has to be healthy before a fault is injected, and again after it was repaired."""

from __future__ import annotations

from typing import Final

from mesh_fixtures import records
from mesh_fixtures.errors import LabError
from mesh_fixtures.patience import patient
from mesh_fixtures.requirements import applicable
from tests.faults.target import Target
from tests.faults.trial import REPAIRED_SECONDS, ImpatientMesh, await_met

BASIC: Final = (
    "TRUST-1",
    "CONTROL-1",
    "DISCOVERY-1",
    "DISCOVERY-2",
    "GATEWAY-1",
    "WORKLOAD-1",
    "TRAFFIC-1",
    "TRAFFIC-2",
    "NETWORK-1",
)
"""What is looked at between two faults: all that can be seen at the same time, as it changes
nothing.
"""


class HealthyMesh:
    """A mesh to inject faults into, one after another.

    Attributes:
        is_healthy: whether it was, when it was last looked at.
    """

    def __init__(self, mesh: ImpatientMesh, target: Target) -> None:
        self.mesh = mesh
        self.target = target
        self.is_healthy = False

    def begin(self) -> None:
        """See to it that the mesh is healthy before a test changes it; from then on that is not
        known, until it is required again.

        Raises:
            LabError: as `require_healthy`.
        """
        if not self.is_healthy:
            self.require_healthy()
        self.is_healthy = False

    def require_healthy(self, *also: str) -> float:
        """Wait until the basic requirements are met.

        Args:
            also: ids of others that must be met.

        Returns:
            Seconds that it took.

        Raises:
            LabError: one of them is not; nothing more can be learnt from the mesh then.
        """
        known = {each.id for each in applicable(self.mesh.scenario)}
        wanted = [each for each in (*BASIC, *also) if each in known]
        seconds = patient(REPAIRED_SECONDS)
        seen = await_met(self.mesh, wanted, seconds=seconds)
        self.is_healthy = not seen.unmet
        if seen.unmet:
            error = LabError(
                wanted=f"a healthy mesh within {seconds:g} s",
                seen="\n  ".join(seen.unmet),
                where=f"{self.mesh.scenario.id} ({self.target.lab.id})",
            )
            self.mesh.taint(error)
            raise error
        records.unmark_disrupted(self.target.lab.folder)
        return seen.seconds
