"""Makes embedded labs."""

from __future__ import annotations

from collections.abc import Sequence

from pyroute2 import NetlinkError

from mesh_fixtures.artifacts import helm_install, images, versions
from mesh_fixtures.artifacts.build import Artifacts, ensure_artifacts
from mesh_fixtures.artifacts.helm_install import HelmInstall
from mesh_fixtures.lab.addressing import assign_addresses
from mesh_fixtures.lab.netns import machine, modules
from mesh_fixtures.lab.netns.lab import NetnsLab
from mesh_fixtures.lab.opening import Blueprint, open_lab
from mesh_fixtures.lab.provider import Problem
from mesh_fixtures.progress import Progress
from mesh_fixtures.scenario import Scenario

_TROUBLE = (OSError, RuntimeError, NetlinkError)
"""What the machine's kernel and programs refuse with."""


class NetnsProvider:
    """Makes embedded labs; implements `mesh_fixtures.lab.provider.Provider`."""

    def __init__(self, kubernetes: str = versions.KUBERNETES, charts: str | None = None) -> None:
        """Choose what runs.

        Args:
            kubernetes: one of the versions that can be built.
            charts: where Helm takes Istio's charts from, empty for those that are built; None
                where istioctl installs.
        """
        self._kubernetes = kubernetes
        self._charts = charts

    @property
    def name(self) -> str:
        return "netns"

    def problems(self) -> Sequence[Problem]:
        return [*machine.problems(), *helm_install.problems(self._charts, versions.ISTIO)]

    def prepare(self, progress: Progress) -> None:
        self._gather(progress)

    def open(
        self, scenario: Scenario, progress: Progress, *, reuse: bool = False, bare: bool = False
    ) -> NetnsLab:
        loaded = modules.load()
        if loaded:
            progress.note("modules", f"loaded into the kernel: {', '.join(loaded)}")
        machine.require_machine(nodes=sum(cluster.nodes for cluster in scenario.clusters))
        assign_addresses(scenario, slot=0)
        artifacts, helm = self._gather(progress)
        blueprint = Blueprint(
            scenario=scenario,
            provider=self.name,
            engine="",
            runs=artifacts.digest if helm is None else helm.digest_with(artifacts.digest),
            slotted=True,
            build=lambda record: NetnsLab(scenario, record, artifacts, progress, helm),
            trouble=_TROUBLE,
            method=helm_install.method_name(helm),
            bare=bare,
        )
        return open_lab(blueprint, progress, reuse=reuse)

    def _gather(self, progress: Progress) -> tuple[Artifacts, HelmInstall | None]:
        artifacts = ensure_artifacts(progress, kubernetes=self._kubernetes)
        if self._charts is None:
            return artifacts, None
        return artifacts, helm_install.gather(self._charts, images.image_set(), progress)
