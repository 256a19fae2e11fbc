"""All requirements: their order is that of reports."""

from __future__ import annotations

from typing import Final

from mesh_fixtures.requirements import (
    control_1,
    control_2,
    control_3,
    discovery_1,
    discovery_2,
    gateway_1,
    network_1,
    resilience_1,
    resilience_2,
    resilience_3,
    resilience_4,
    security_1,
    security_2,
    security_3,
    traffic_1,
    traffic_2,
    traffic_3,
    trust_1,
    trust_2,
    workload_1,
)
from mesh_fixtures.requirements.requirement import Requirement
from mesh_fixtures.scenario import Scenario

REQUIREMENTS: Final[tuple[Requirement, ...]] = (
    trust_1.REQUIREMENT,
    trust_2.REQUIREMENT,
    control_1.REQUIREMENT,
    control_2.REQUIREMENT,
    control_3.REQUIREMENT,
    discovery_1.REQUIREMENT,
    discovery_2.REQUIREMENT,
    gateway_1.REQUIREMENT,
    workload_1.REQUIREMENT,
    traffic_1.REQUIREMENT,
    traffic_2.REQUIREMENT,
    traffic_3.REQUIREMENT,
    network_1.REQUIREMENT,
    security_1.REQUIREMENT,
    security_2.REQUIREMENT,
    security_3.REQUIREMENT,
    resilience_1.REQUIREMENT,
    resilience_2.REQUIREMENT,
    resilience_3.REQUIREMENT,
    resilience_4.REQUIREMENT,
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
