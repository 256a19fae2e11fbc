"""The topologies that faults are shown on, as parameters of tests."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import pytest

from mesh_fixtures.scenario import load_more, load_scenarios
from mesh_fixtures.session.selection import Chosen

ONE_NETWORK: Final = "multi-primary"
TWO_NETWORKS: Final = "multi-primary-multi-network"
THREE_CLUSTERS: Final = "three-clusters-two-networks"
REMOTE: Final = "primary-remote-multi-network"
TWO_REGIONS: Final = "two-regions"
EXTERNAL: Final = "external-control-plane"

DNS_PROXYING: Final = "dns-proxying"

MCS: Final = "multi-primary-multi-network-mcs"

TOPOLOGIES: Final = (REMOTE, TWO_NETWORKS, ONE_NETWORK, DNS_PROXYING, MCS, TWO_REGIONS, EXTERNAL)

_ROOT: Final = Path(__file__).parents[2]
_FOLDERS: Final = ("scenarios", "scenarios/more", "tests/variants/scenarios")

_MORE: Final = load_more(_ROOT / "scenarios", {"external-control-plane"})

SCENARIOS: Final = {
    each.id: each
    for those in (*(load_scenarios(_ROOT / folder) for folder in _FOLDERS), _MORE)
    for each in those
}
"""By id: the guide's topologies, and those of meshes that people have."""


def chosen(topology: str) -> Chosen:
    """The parameter `scenario` of a test, for one of these."""
    return Chosen(SCENARIOS[topology])


def on(*topologies: str) -> pytest.MarkDecorator:
    """Marks a test that is run once on each of these, one after another."""
    return pytest.mark.parametrize(
        "mesh_scenario",
        [pytest.param(chosen(each), id=each) for each in topologies],
        indirect=True,
        scope="session",
    )
