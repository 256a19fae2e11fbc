"""What an installation by Helm is made of: the program, and charts from wherever they are asked."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from mesh_fixtures.artifacts import charts as sources
from mesh_fixtures.artifacts import helm
from mesh_fixtures.artifacts.part_source import BUILT, PartSource
from mesh_fixtures.charts import Charts
from mesh_fixtures.contract import Problem
from mesh_fixtures.errors import MachineError
from mesh_fixtures.images import RELEASED, ImageSet
from mesh_fixtures.progress import Progress

NAME_CHARTS: Final = (
    "name the repository that Istio's guide gives (Install with Helm: Prerequisites), or a folder, "
    "by --mesh-charts"
)


@dataclass(frozen=True)
class HelmInstall:
    """helm, and what it installs.

    Attributes:
        earlier: charts of the version from which meshes are upgraded; None without one.
    """

    program: Path
    charts: Charts
    earlier: Charts | None = None

    def digest_with(self, runs: str) -> str:
        """Digest of all that runs in a lab, the charts included.

        Args:
            runs: digest of the rest.
        """
        before = f" {self.earlier.digest}" if self.earlier is not None else ""
        return hashlib.sha256(f"{runs} {self.charts.digest}{before}".encode()).hexdigest()[:20]


def describe(source: str, images: ImageSet, ca: str = "") -> Charts:
    """The charts, without building them or asking a repository.

    Args:
        source: a folder, or a repository's URL; empty for those that built images belong to.
        ca: PEM file of authorities that the repository's certificate is verified by; empty for the
            machine's own alone.

    Raises:
        MachineError: the folder has no charts of one supported release, or nobody says where those
            of released images are.
    """
    is_released = images.name == RELEASED
    if not source and is_released:
        raise MachineError(
            wanted="charts of the release",
            seen="none named",
            where="released images",
            remedy=NAME_CHARTS,
        )
    if not source:
        return helm.built_charts(images.istio_version)
    if sources.is_url(source):
        version = sources.chart_version(images.istio_version) if is_released else ""
        return sources.in_repository(source, version, images.istio_version, ca)
    return sources.in_folder(Path(source), images.istio_version)


def gather(
    source: str,
    images: ImageSet,
    progress: Progress,
    ca: str = "",
    *,
    earlier: str = "",
    machines_own: bool = False,
    parts: PartSource = BUILT,
) -> HelmInstall:
    """Build, find or ask for helm and the charts.

    Args:
        source: as for `describe`.
        ca: as for `describe`.
        earlier: built version from which meshes are upgraded; empty for none.
        machines_own: whether the helm in PATH will do, if it is of a supported version.
        parts: where helm comes from otherwise.

    Raises:
        ArtifactError: something could not be built.
        MachineError: the charts are not there, or not of one supported release.
    """
    charts = describe(source, images, ca)
    found = helm.helm_in_path() if machines_own else None
    program = found or helm.ensure_helm(progress, parts)
    if not source:
        charts = helm.ensure_charts(progress, images.istio_version, parts)
    elif sources.is_url(source):
        charts = sources.asked(program, charts)
    before = helm.ensure_charts(progress, earlier, parts) if earlier else None
    return HelmInstall(program, charts, before)


def problems(source: str | None, images_version: str) -> Sequence[Problem]:
    """What is wrong with the charts of a folder.

    Args:
        source: as for `describe`; None where nothing is installed by Helm.
        images_version: release of the images that they are installed with.
    """
    if not source or sources.is_url(source):
        return ()
    try:
        sources.in_folder(Path(source), images_version)
    except MachineError as error:
        return (Problem(f"{error.wanted} in {error.where}", error.remedy, seen=error.seen),)
    return ()
