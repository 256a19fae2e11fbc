"""Each fault makes its requirements fail, is named as their cause, and can be repaired."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from mesh_fixtures.diagnosis import UNKNOWN, explained
from mesh_fixtures.requirements import ObservedMesh
from tests.faults.fault import Fault
from tests.faults.healthy import HealthyMesh
from tests.faults.table import FAULTS
from tests.faults.topologies import chosen
from tests.faults.trial import Detection, detect, is_disruptive, root_causes


def parameter(fault: Fault) -> object:
    return pytest.param(fault, chosen(fault.topology), id=fault.id)


@pytest.mark.timeout(420)
@pytest.mark.parametrize(
    ("fault", "mesh_scenario"),
    [parameter(fault) for fault in FAULTS],
    indirect=["mesh_scenario"],
    scope="session",
)
def test_fault(
    fault: Fault, healthy_mesh: HealthyMesh, record_property: Callable[[str, object], None]
) -> None:
    if fault.provider not in ("", healthy_mesh.target.lab.provider):
        pytest.skip(f"only labs of the provider {fault.provider} can be broken like this")
    healthy_mesh.begin()
    begun = time.monotonic()
    with fault.inject(healthy_mesh.target):
        record_property("seconds_to_break", round(time.monotonic() - begun, 1))
        seen = detect(healthy_mesh.mesh, fault.fails, fault.unaffected)
        record_property("seconds_to_detection", round(seen.seconds, 1))
        begun = time.monotonic()
        verdict = Verdict(fault, seen, healthy_mesh.mesh)
        record_property("seconds_to_diagnosis", round(time.monotonic() - begun, 1))
        begun = time.monotonic()
    record_property("seconds_to_repair", round(time.monotonic() - begun, 1))
    again = [each for each in fault.fails if not is_disruptive(each)]
    record_property("seconds_to_be_healthy", round(healthy_mesh.require_healthy(*again), 1))
    verdict.require()


class Verdict:
    """What is to be said of a fault once the mesh is repaired."""

    def __init__(self, fault: Fault, seen: Detection, mesh: ObservedMesh) -> None:
        self.fault = fault
        self.seen = seen
        self.diagnosis = root_causes(mesh, seen.outcomes)

    def require(self) -> None:
        __tracebackhide__ = True
        results = {name: outcome.result for name, outcome in self.seen.outcomes.items()}
        said = "\n".join((*self.seen.unmet, *explained(self.diagnosis)))
        for name in self.fault.fails:
            assert results[name] == "unmet", f"{name} must be unmet\n{said}"
        for name in self.fault.unaffected:
            assert results[name] == "met", f"{name} must be met\n{said}"
        first = next(iter(self.diagnosis.ids), "")
        assert first == self.fault.named, f"the first cause must be {self.fault.named}\n{said}"
        assert UNKNOWN not in self.diagnosis.ids, f"nothing must be left unexplained\n{said}"
