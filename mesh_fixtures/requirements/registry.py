"""All requirements: their order is that of reports."""

from __future__ import annotations

from typing import Final

from mesh_fixtures.requirements import (
    control_1,
    discovery_1,
    discovery_2,
    gateway_1,
    network_1,
    traffic_1,
    traffic_2,
    trust_1,
    workload_1,
)
from mesh_fixtures.requirements.requirement import Requirement
from mesh_fixtures.scenario import Scenario

REQUIREMENTS: Final[tuple[Requirement, ...]] = (
    trust_1.REQUIREMENT,
    control_1.REQUIREMENT,
    discovery_1.REQUIREMENT,
    discovery_2.REQUIREMENT,
    gateway_1.REQUIREMENT,
    workload_1.REQUIREMENT,
    traffic_1.REQUIREMENT,
    traffic_2.REQUIREMENT,
    network_1.REQUIREMENT,
)


def by_id(requirement_id: str) -> Requirement:
    """The requirement of that id.

    Raises:
        LookupError: there is none; says which there are.
    """
    for requirement in REQUIREMENTS:
        if requirement.id == requirement_id:
            return requirement
    valid = ", ".join(requirement.id for requirement in REQUIREMENTS)
    raise LookupError(f"there is no requirement {requirement_id!r}; valid values: {valid}")


def applicable(scenario: Scenario) -> tuple[Requirement, ...]:
    """The requirements that apply to a scenario, in order; disruptive ones too."""
    return tuple(each for each in REQUIREMENTS if not each.lacking(scenario))
