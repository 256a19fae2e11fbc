"""Makes embedded labs."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from mesh_fixtures.artifacts import istio, versions
from mesh_fixtures.contract import Problem, Provider
from mesh_fixtures.errors import MachineError
from mesh_fixtures.options import Choice

if TYPE_CHECKING:
    from mesh_fixtures.artifacts.build import Artifacts
    from mesh_fixtures.artifacts.helm_install import HelmInstall
    from mesh_fixtures.lab.netns.lab import NetnsLab
    from mesh_fixtures.progress import Progress
    from mesh_fixtures.records import Record
    from mesh_fixtures.scenario import Scenario


class NetnsProvider(Provider):
    """Real Kubernetes nodes in network namespaces of this machine."""

    name = "netns"
    summary = "network namespaces of this machine, as root"
    needs = "netns needs Linux and root: run the same command with sudo"
    priority = 20

    def __init__(
        self,
        kubernetes: str = versions.KUBERNETES,
        charts: str | None = None,
        istio: str = versions.ISTIO,
        earlier: str = "",
    ) -> None:
        """Choose what runs.

        Args:
            kubernetes: one of the versions that can be built.
            istio: one of the versions that can be built.
            charts: where Helm takes Istio's charts from, empty for those that are built; None
                where istioctl installs.
            earlier: another version that can be built, from which meshes are upgraded; empty for
                none.
        """
        self._kubernetes = kubernetes
        self._charts = charts
        self._istio = istio
        self._earlier = earlier

    @classmethod
    def fits(cls, choice: Choice) -> str:
        del choice
        return "root on Linux" if sys.platform == "linux" and os.geteuid() == 0 else ""

    @classmethod
    def make(cls, choice: Choice) -> NetnsProvider:
        if choice.images == "released" or choice.istioctl:
            asked = "--mesh-istioctl" if choice.istioctl else "--mesh-images released"
            raise MachineError(
                wanted="images that are built on this machine: the embedded lab pulls none",
                seen=asked,
                where="provider netns",
                remedy="use --mesh-provider kind for released images",
            )
        return cls(
            kubernetes_version(choice.kubernetes),
            choice.chart_source,
            istio.version_of(choice.istio),
            istio.earlier_of(choice.upgrade_from),
        )

    @classmethod
    def tear_down(cls, record: Record) -> None:
        from mesh_fixtures.lab.netns import teardown

        teardown.tear_down(record)

    @classmethod
    def node_commands(cls, record: Record) -> Iterable[tuple[str, Sequence[str]]]:
        from mesh_fixtures.lab.processes import is_alive

        for entry in record.journal.entries():
            if entry.kind == "process" and is_alive(entry.pid, entry.started):
                kind, _, node = entry.name.partition(" ")
                if kind == "node":
                    yield node, ("nsenter", f"--mount=/proc/{entry.pid}/ns/mnt", "--")

    def problems(self) -> Sequence[Problem]:
        from mesh_fixtures.artifacts import helm_install
        from mesh_fixtures.lab.netns import machine

        return [*machine.problems(), *helm_install.problems(self._charts, self._istio)]

    def problems_of_building(self) -> Sequence[Problem]:
        from mesh_fixtures.artifacts import build

        return build.problems_of_labs(
            self._kubernetes,
            self._istio,
            self._earlier,
            with_charts=self._charts is not None,
        )

    def prepare(self, progress: Progress) -> None:
        self._gather(progress)

    def open(
        self, scenario: Scenario, progress: Progress, *, reuse: bool = False, bare: bool = False
    ) -> NetnsLab:
        from pyroute2 import NetlinkError

        from mesh_fixtures.artifacts.helm_install import method_name
        from mesh_fixtures.lab.addressing import assign_addresses
        from mesh_fixtures.lab.netns import machine
        from mesh_fixtures.lab.netns.lab import NetnsLab
        from mesh_fixtures.lab.opening import Blueprint, open_lab

        loaded = machine.load_modules()
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
            # what the machine's kernel and programs refuse with
            trouble=(OSError, RuntimeError, NetlinkError),
            method=method_name(helm),
            bare=bare,
        )
        return open_lab(blueprint, progress, reuse=reuse)

    def _gather(self, progress: Progress) -> tuple[Artifacts, HelmInstall | None]:
        from mesh_fixtures.artifacts import helm_install
        from mesh_fixtures.artifacts.build import ensure_artifacts

        artifacts = ensure_artifacts(progress, self._kubernetes, self._istio, self._earlier)
        if self._charts is None:
            return artifacts, None
        return artifacts, helm_install.gather(
            self._charts, artifacts.images, progress, earlier=self._earlier
        )


def kubernetes_version(asked: str) -> str:
    """The version that the embedded lab builds for the one that is asked for.

    Args:
        asked: major and minor number, or a full version; empty for the default.

    Raises:
        MachineError: it cannot be built.
    """
    if not asked:
        return versions.KUBERNETES
    known = (versions.KUBERNETES, *versions.OLDER_KUBERNETES)
    wanted = asked.removeprefix("v")
    for version in known:
        if wanted in (version, version.rpartition(".")[0]):
            return version
    raise MachineError(
        wanted=f"a version of Kubernetes that the embedded lab runs: {', '.join(known)}",
        seen=f"--mesh-kubernetes {asked}",
        where="provider netns",
        remedy="name one of these, or its minor version; or use --mesh-provider kind for others",
    )
