"""The topologies that faults are shown on, as parameters of tests."""

from __future__ import annotations

from pathlib import Path

from mesh_fixtures.scenario import load_scenarios
from mesh_fixtures.session.selection import Chosen

_SCENARIOS = {each.id: each for each in load_scenarios(Path(__file__).parents[2] / "scenarios")}


def chosen(topology: str) -> Chosen:
    """The parameter `scenario` of a test, for one of the guide's topologies."""
    return Chosen(_SCENARIOS[topology])
