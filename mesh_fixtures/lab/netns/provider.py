"""Makes embedded labs."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Final

from mesh_fixtures.artifacts import versions
from mesh_fixtures.contract import Problem, Provider
from mesh_fixtures.errors import MachineError
from mesh_fixtures.options import GATEWAY_API, Choice

if TYPE_CHECKING:
    from pathlib import Path

    from mesh_fixtures.artifacts.build import Artifacts
    from mesh_fixtures.artifacts.helm import HelmInstall
    from mesh_fixtures.artifacts.istio_source import IstioSource
    from mesh_fixtures.images import NodeImage
    from mesh_fixtures.lab.netns.lab import NetnsLab
    from mesh_fixtures.progress import Progress
    from mesh_fixtures.records import Record
    from mesh_fixtures.scenario import Scenario

_BUILT_HERE: Final = "built on this machine"


class NetnsProvider(Provider):
    """Real Kubernetes nodes in network namespaces of this machine."""

    name = "netns"
    summary = "network namespaces of this machine, as root"
    needs = "netns needs Linux and root: run the same command with sudo"
    priority = 20

    def __init__(self, kubernetes: str, source: IstioSource) -> None:
        """Choose what runs.

        Args:
            kubernetes: one of the versions that can be built.
            source: of Istio.
        """
        self._kubernetes = kubernetes
        self._source = source
        self._digests: Mapping[str, str] = {}

    @classmethod
    def fits(cls, choice: Choice) -> str:
        del choice
        return "root on Linux" if sys.platform == "linux" and os.geteuid() == 0 else ""

    @classmethod
    def make(cls, choice: Choice) -> NetnsProvider:
        from mesh_fixtures.artifacts.istio_source import IstioSource

        return cls(kubernetes_version(choice.kubernetes), IstioSource.of(choice))

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
        from mesh_fixtures.lab.netns import machine

        found = [*machine.problems(), *machine.ipv6_problems()]
        return [*found, *self._source.problems()]

    def problems_of_building(self) -> Sequence[Problem]:
        from mesh_fixtures.artifacts import build

        source = self._source
        return build.problems_of_labs(
            self._kubernetes,
            None if source.is_released else source.version,
            source.earlier_version,
            with_charts=source.charts is not None,
            with_definitions=source.methods.gateways == GATEWAY_API,
            source=source.parts,
        )

    def images(self) -> Sequence[NodeImage]:
        from mesh_fixtures.artifacts import images, pulling
        from mesh_fixtures.images import NodeImage

        source = self._source
        pulled, metallb = [], True
        for part, names in self._pulled().items():
            kept = pulling.kept(names, part=part)
            digests = kept.digests if kept is not None else {}
            pulled += [
                NodeImage(name, "pulled", digests.get(name, ""), pulled=True) for name in names
            ]
            metallb = metallb and part == pulling.PART
        built = images.names(None if source.is_released else source.version, metallb=metallb)
        return [*pulled, *(NodeImage(name, _BUILT_HERE) for name in built)]

    def _pulled(self) -> Mapping[str, Sequence[str]]:
        """Full names of images that are pulled, by the part that they are pulled into."""
        from mesh_fixtures.artifacts import gobuild, pulling, released
        from mesh_fixtures.artifacts.part_source import METALLB_IMAGES
        from mesh_fixtures.progress import Progress

        source, progress, found = self._source, Progress("images"), {}
        if source.is_released:
            found[pulling.PART] = source.gather_release(progress).all_names
        version = None if source.is_released else source.version
        selection = source.parts.select(gobuild.programs(self._kubernetes, version))
        if selection.has("metallb"):
            found[METALLB_IMAGES] = released.metallb_images(progress, source.parts.addresses)
        return found

    def fetch_images(self, progress: Progress, archives: Path | None = None) -> Mapping[str, str]:
        from mesh_fixtures.artifacts import build, pulling

        digests: dict[str, str] = {}
        for part, names in self._pulled().items():
            build.prepare_pulling(progress, self._source.parts)
            if archives is not None:
                digests |= pulling.load(names, archives, progress, part)
            else:
                digests |= pulling.pull(names, self._source.registries, progress, part)
        return digests

    def prepare(self, progress: Progress) -> None:
        self._gather(progress)
        self._source.definitions(progress)

    def open(
        self, scenario: Scenario, progress: Progress, *, reuse: bool = False, bare: bool = False
    ) -> NetnsLab:
        from pyroute2 import NetlinkError

        from mesh_fixtures.artifacts.definitions import digest_with
        from mesh_fixtures.lab.addressing import assign_addresses
        from mesh_fixtures.lab.netns import machine
        from mesh_fixtures.lab.netns.lab import NetnsLab
        from mesh_fixtures.lab.opening import Blueprint, open_lab

        loaded = machine.load_modules()
        if loaded:
            progress.note("modules", f"loaded into the kernel: {', '.join(loaded)}")
        machine.require_machine(
            nodes=sum(cluster.nodes for cluster in scenario.clusters),
            ipv6="IPv6" in scenario.ip_families,
        )
        assign_addresses(scenario, slot=0)
        artifacts, helm = self._gather(progress)
        definitions = self._source.definitions(progress, scenario)
        methods = self._source.methods
        runs = artifacts.digest if helm is None else helm.digest_with(artifacts.digest)
        blueprint = Blueprint(
            scenario=scenario,
            provider=self.name,
            engine="",
            runs=digest_with(runs, definitions.values()),
            slotted=True,
            build=lambda record: NetnsLab(
                scenario, record, artifacts, progress, helm, methods, definitions
            ),
            # what the machine's kernel and programs refuse with
            trouble=(OSError, RuntimeError, NetlinkError),
            method=methods.name,
            bare=bare,
        )
        return open_lab(blueprint, progress, reuse=reuse)

    def _gather(self, progress: Progress) -> tuple[Artifacts, HelmInstall | None]:
        from mesh_fixtures.artifacts import build, pulling
        from mesh_fixtures.artifacts.helm import gather_helm

        source = self._source
        if source.is_released:
            release = source.gather_release(progress)
            build.prepare(progress, self._kubernetes, None, source.parts)
            # once, so that all labs of a run are made of the same images
            self._digests = self._digests or pulling.resolve(
                release.all_names, source.registries, progress
            )
            artifacts = build.ensure_with_release(
                progress,
                self._kubernetes,
                release,
                self._digests,
                source.registries,
                source.parts,
            )
            return artifacts, release.helm
        artifacts = build.ensure_artifacts(
            progress,
            self._kubernetes,
            source.version,
            source.earlier_version,
            source.parts,
            source.registries,
        )
        if source.charts is None:
            return artifacts, None
        return artifacts, gather_helm(
            source.charts,
            artifacts.images,
            progress,
            source.registries.ca,
            earlier=source.earlier_version,
            parts=source.parts,
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
    known = (versions.KUBERNETES, *versions.OTHER_KUBERNETES)
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
