"""Makes embedded labs."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence

from pyroute2 import NetlinkError

from mesh_fixtures.artifacts.build import ensure_artifacts
from mesh_fixtures.lab.addressing import assign_addresses
from mesh_fixtures.lab.netns import machine
from mesh_fixtures.lab.netns.lab import NetnsLab
from mesh_fixtures.lab.opening import Blueprint, open_lab
from mesh_fixtures.lab.provider import Problem
from mesh_fixtures.progress import Progress
from mesh_fixtures.scenario import Scenario

_TROUBLE = (OSError, RuntimeError, NetlinkError, subprocess.SubprocessError)
"""What the machine's kernel and programs refuse with."""


class NetnsProvider:
    """Makes embedded labs; implements `mesh_fixtures.lab.provider.Provider`."""

    @property
    def name(self) -> str:
        return "netns"

    def problems(self) -> Sequence[Problem]:
        return machine.problems()

    def prepare(self, progress: Progress) -> None:
        ensure_artifacts(progress)

    def open(self, scenario: Scenario, progress: Progress, *, reuse: bool = False) -> NetnsLab:
        machine.require_machine(nodes=sum(cluster.nodes for cluster in scenario.clusters))
        assign_addresses(scenario, slot=0)
        artifacts = ensure_artifacts(progress)
        blueprint = Blueprint(
            scenario=scenario,
            provider=self.name,
            engine="",
            runs=artifacts.digest,
            slotted=True,
            build=lambda record: NetnsLab(scenario, record, artifacts, progress),
            trouble=_TROUBLE,
        )
        return open_lab(blueprint, progress, reuse=reuse)
