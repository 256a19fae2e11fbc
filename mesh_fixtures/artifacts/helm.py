"""What an installation by Helm is made of: the program, and Istio's charts, packaged here or from
wherever they are asked.
"""

from __future__ import annotations

import hashlib
import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from mesh_fixtures import runner, supported
from mesh_fixtures.artifacts import charts as sources
from mesh_fixtures.artifacts import gobuild, istio, versions
from mesh_fixtures.artifacts.cache import Cache, cache_root
from mesh_fixtures.artifacts.charts import chart_version
from mesh_fixtures.artifacts.part_source import ALL_BUILT, BUILT, PartSource, Selection
from mesh_fixtures.artifacts.parts import Built, Part, Work, keys_of
from mesh_fixtures.charts import CHARTS, Charts
from mesh_fixtures.contract import Problem
from mesh_fixtures.errors import MachineError
from mesh_fixtures.images import RELEASED, ImageSet
from mesh_fixtures.options import CHARTS as CHARTS_OPTION
from mesh_fixtures.patience import patient
from mesh_fixtures.progress import Progress

SOURCES: Final = {
    "base": "base",
    "istiod": "istio-control/istio-discovery",
    "gateway": "gateway",
}
"""Folders of the charts below Istio's `manifests/charts`."""

_ASK_SECONDS: Final = 15.0


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


def parts(version: str = versions.ISTIO, selection: Selection = ALL_BUILT) -> tuple[Part, ...]:
    """The parts with helm and with the charts of a version of Istio, after what they are made by.

    Args:
        selection: what is released: helm, maybe, but never the charts.
    """
    return (*program_parts(selection), charts_part(version, selection))


def program_parts(selection: Selection = ALL_BUILT) -> tuple[Part, ...]:
    """The part with helm, after the one that it is made by."""
    return (*selection.go(), selection.part_of(gobuild.helm()))


def charts_part(version: str = versions.ISTIO, selection: Selection = ALL_BUILT) -> Part:
    """The part with the charts of a version of Istio; any helm makes the same of them."""
    requirements = gobuild.SOURCES / "istio" / istio.requirements(version)
    files = [requirements, requirements.with_suffix(".sum")]
    pinned = {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in files}
    inputs = {"charts": str(SOURCES), "version": f"{chart_version(version)} {version}"}
    return Part(
        istio.part_name("charts", version),
        pinned | inputs,
        lambda work: _package(work, version),
        uses=(*(part.name for part in selection.go()), "helm"),
        lane="go",
        seconds=300.0,
    )


def ensure_helm(progress: Progress, source: PartSource = BUILT) -> Path:
    """The program helm of `versions.HELM`, fetched or built if it is not there yet.

    Raises:
        ArtifactError: it could not be had.
    """
    wanted = program_parts(source.select([gobuild.helm()]))
    return Cache(cache_root()).ensure(wanted, progress)["helm"].folder / "helm"


def ensure_charts(
    progress: Progress, version: str = versions.ISTIO, source: PartSource = BUILT
) -> Charts:
    """The charts of a version of Istio, packaged if they are not there yet.

    Raises:
        ArtifactError: they could not be packaged.
    """
    ensure_parts(progress, version, source)
    return built_charts(version)


def ensure_parts(
    progress: Progress, version: str = versions.ISTIO, source: PartSource = BUILT
) -> Mapping[str, Built]:
    """Build what is missing of `parts`.

    Raises:
        ArtifactError: one could not be built.
    """
    wanted = parts(version, source.select([gobuild.helm()]))
    return Cache(cache_root()).ensure(wanted, progress)


def built_charts(version: str = versions.ISTIO) -> Charts:
    """What `ensure_charts` returns, whether they are there or not."""
    part = istio.part_name("charts", version)
    key = keys_of([charts_part(version)])[part]
    folder, suffix = cache_root() / part / key, f"{chart_version(version)}.tgz"
    references = {name: (str(folder / f"{name}-{suffix}"),) for name in CHARTS}
    return Charts(version, references, key)


def helm_in_path() -> Path | None:
    """The helm of this machine, if there is one that the charts can be installed with."""
    found = shutil.which("helm")
    return Path(found) if found and version_of(Path(found)) in supported.HELM else None


def version_of(helm: Path) -> str:
    """Version of a helm; empty when it does not say."""
    done = runner.run([helm, "version", "--short"], seconds=patient(_ASK_SECONDS))
    number = re.search(r"v?(\d+\.\d+\.\d+\S*)", done.output) if done.status == 0 else None
    return number[1] if number else ""


def name_charts(option: str = CHARTS_OPTION.flag) -> str:
    """What to do where nobody says where charts are.

    Args:
        option: by which they are chosen.
    """
    return (
        "name the repository that Istio's guide gives (Install with Helm: Prerequisites), or a "
        f"folder, by {option}"
    )


def describe_charts(
    source: str, images: ImageSet, ca: str = "", option: str = CHARTS_OPTION.flag
) -> Charts:
    """The charts, without building them or asking a repository.

    Args:
        source: a folder, or a repository's URL; empty for those that built images belong to.
        ca: PEM file of authorities that the repository's certificate is verified by; empty for the
            machine's own alone.
        option: by which they are chosen.

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
            remedy=name_charts(option),
        )
    if not source:
        return built_charts(images.istio_version)
    if sources.is_url(source):
        version = chart_version(images.istio_version) if is_released else ""
        return sources.in_repository(source, version, images.istio_version, ca)
    return sources.in_folder(Path(source), images.istio_version)


def gather_helm(
    source: str,
    images: ImageSet,
    progress: Progress,
    ca: str = "",
    *,
    earlier: str = "",
    machines_own: bool = False,
    parts: PartSource = BUILT,
    option: str = CHARTS_OPTION.flag,
) -> HelmInstall:
    """Build, find or ask for helm and the charts.

    Args:
        source: as for `describe_charts`.
        ca: as for `describe_charts`.
        earlier: built version from which meshes are upgraded; empty for none.
        machines_own: whether the helm in PATH will do, if it is of a supported version.
        parts: where helm comes from otherwise.
        option: as for `describe_charts`.

    Raises:
        ArtifactError: something could not be built.
        MachineError: the charts are not there, or not of one supported release.
    """
    charts = describe_charts(source, images, ca, option)
    found = helm_in_path() if machines_own else None
    program = found or ensure_helm(progress, parts)
    if not source:
        charts = ensure_charts(progress, images.istio_version, parts)
    elif sources.is_url(source):
        charts = sources.asked(program, charts)
    before = ensure_charts(progress, earlier, parts) if earlier else None
    return HelmInstall(program, charts, before)


def chart_problems(source: str | None, images_version: str) -> Sequence[Problem]:
    """What is wrong with the charts of a folder.

    Args:
        source: as for `describe_charts`; None where nothing is installed by Helm.
        images_version: release of the images that they are installed with.
    """
    if not source or sources.is_url(source):
        return ()
    try:
        sources.in_folder(Path(source), images_version)
    except MachineError as error:
        return (Problem(f"{error.wanted} in {error.where}", error.remedy, seen=error.seen),)
    return ()


def _package(work: Work, version: str) -> None:
    module = work.run(
        ["go", "list", *gobuild.module_flags(istio.requirements(version)),
         "-m", "-f", "{{.Dir}}", istio.MODULE],
        what=f"to find the folder of the Go module {istio.MODULE}",
        remedy=gobuild.REMEDY,
        env=gobuild.environment_of(work),
        cwd=gobuild.SOURCES / "istio",
    )  # fmt: skip
    for name, source in SOURCES.items():
        work.run(
            [
                *(work.needs["helm"] / "helm", "package", "--destination", work.into),
                *("--version", chart_version(version), "--app-version", version),
                Path(module.strip()) / "manifests/charts" / source,
            ],
            what=f"to package Istio's chart {name}",
        )
