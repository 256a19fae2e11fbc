"""Writes a scenario as the text of its file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import yaml

from mesh_fixtures.scenario.model import ClusterSpec, Scenario


def as_yaml(scenario: Scenario) -> str:
    """The file's text, by which `load_scenario` returns the same but for the id.

    What has its default is left out.
    """
    whole = scenario.model_dump(mode="json", by_alias=True, exclude_defaults=True)
    lines = [_line({key: whole[key]}) for key in ("title", "mesh")]
    lines.append("networks:")
    lines += [f"  - {_line(network, flow=True)}" for network in whole["networks"]]
    lines.append("clusters:")
    lines += [
        f"  - {_line(_entry(cluster, at), flow=True)}"
        for at, cluster in enumerate(scenario.clusters)
    ]
    if scenario.others:
        lines.append(f"others: {_line_of(scenario.others)}")
    if "clusterDomain" in whole:
        lines.append(_line({"clusterDomain": whole["clusterDomain"]}))
    return "".join(f"{line}\n" for line in lines)


def _line(content: Mapping[str, Any], *, flow: bool = False) -> str:
    return yaml.safe_dump(
        dict(content), sort_keys=False, default_flow_style=flow, allow_unicode=True, width=10**6
    ).rstrip("\n")


def _line_of(names: Sequence[str]) -> str:
    return yaml.safe_dump(list(names), default_flow_style=True, width=10**6).rstrip("\n")


def _entry(cluster: ClusterSpec, at: int) -> dict[str, Any]:
    entry = cluster.model_dump(mode="json", by_alias=True, exclude_defaults=True)
    if entry["helloworld"] == f"v{at + 1}":
        del entry["helloworld"]
    return entry
