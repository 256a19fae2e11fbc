"""Scenarios and image sets that unit tests share."""

from __future__ import annotations

from pathlib import Path

from hypothesis import strategies as st

from mesh_fixtures.charts import CHARTS, Charts
from mesh_fixtures.images import ImageSet
from mesh_fixtures.scenario import (
    ClusterSpec,
    NetworkSpec,
    Scenario,
    load_more,
    load_scenarios,
    more_files,
)

TWO_PRIMARIES = """\
title: two primaries
mesh: mesh1
networks: [{name: network1}]
clusters:
  - {name: cluster1, network: network1, role: primary}
  - {name: cluster2, network: network1, role: primary}
"""
"""A scenario's file."""

BUILT = ImageSet(
    name="built",
    istio_version="1.32-dev",
    istio_hub="localhost",
    istio_tag="7",
    helloworld={"v1": "localhost/helloworld:v1", "v2": "localhost/helloworld:v2"},
    sleep="localhost/sleep:7",
    istio_values={
        "telemetry": {"enabled": False},
        "pilot": {"env": {"PILOT_ENABLE_ALPN_FILTER": "false"}},
        "global": {"proxy": {"logLevel": "info"}},
    },
)
RELEASED = ImageSet(
    name="released",
    istio_version="1.31.1",
    istio_hub="hub.example/istio",
    istio_tag="1.31.1",
    helloworld={"v1": "hub.example/istio/examples-helloworld-v1"},
    sleep="curlimages/curl",
)

FOLDER = Charts("1.32-dev", {name: (f"/charts/{name}",) for name in CHARTS}, "0123")
REPOSITORY = Charts(
    "1.31.1",
    {name: (name, "--repo", "https://charts.example", "--version", "1.31.1") for name in CHARTS},
    "4567",
)

_FOLDER = Path(__file__).parents[2] / "scenarios"
SCENARIOS = {scenario.id: scenario for scenario in load_scenarios(_FOLDER)}
MORE = {
    scenario.id: scenario
    for scenario in load_more(_FOLDER, [file.stem for file in more_files(_FOLDER)])
}
"""Those that are verified only where they are named."""

SHIPPED = {**SCENARIOS, **MORE}


@st.composite
def meshes(draw: st.DrawFn) -> Scenario:
    """Any number of primaries and remotes on any number of networks, none unused."""
    primaries = draw(st.integers(1, 4))
    remotes = draw(st.integers(0, 4))
    total = primaries + remotes
    networks = draw(st.integers(1, total))
    placed = [*range(networks)] + [
        draw(st.integers(0, networks - 1)) for _ in range(total - networks)
    ]
    clusters = []
    for at, network in enumerate(draw(st.permutations(placed))):
        is_remote = at >= primaries
        owner = f"cluster{draw(st.integers(1, primaries))}" if is_remote else None
        clusters.append(
            ClusterSpec(
                name=f"cluster{at + 1}",
                network=f"network{network + 1}",
                role="remote" if is_remote else "primary",
                primary=owner,
                helloworld=f"v{at + 1}",
            )
        )
    return Scenario(
        id="any",
        title="any",
        mesh="mesh1",
        networks=tuple(NetworkSpec(name=f"network{at + 1}") for at in range(networks)),
        clusters=tuple(draw(st.permutations(clusters))),
    )
