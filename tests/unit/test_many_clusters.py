"""Meshes of any number of clusters, and the table of how they grow."""

from __future__ import annotations

from pathlib import Path

import pytest

from mesh_fixtures.lab.addressing import assign_addresses
from mesh_fixtures.scenario import as_yaml, load_scenario
from tools.many_clusters import MOST, mesh_of, table


@pytest.mark.parametrize("count", range(1, MOST + 1))
def test_primaries_have_a_remote_each_on_a_network_of_their_own(count: int, tmp_path: Path) -> None:
    scenario = mesh_of(count)
    assert len(scenario.clusters) == count
    assert len(scenario.primaries) == len(scenario.networks) == (count + 1) // 2
    for each in scenario.remotes:
        assert scenario.remotes_of(each.primary or "") == (each,)
        assert scenario.same_network(each.name, each.primary or "")
    assert len(assign_addresses(scenario, 0).clusters) == count
    file = tmp_path / f"{scenario.id}.yaml"
    file.write_text(as_yaml(scenario), encoding="utf-8")
    assert load_scenario(file) == scenario


def test_the_table_says_what_each_cluster_costs() -> None:
    lines = table("clusters", [2, 16], [(40.0, 60.0, 1900.0), (400.0, 760.5, 15200.4)])
    assert [line.split() for line in lines] == [
        ["clusters", "seconds", "each", "processor", "each", "MiB", "each"],
        ["2", "40.0", "20.0", "60.0", "30.0", "1900", "950"],
        ["16", "400.0", "25.0", "760.5", "47.5", "15200", "950"],
    ]
