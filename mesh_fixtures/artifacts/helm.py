"""helm itself, and Istio's charts of the pinned version: for installations by Helm alone."""

from __future__ import annotations

import hashlib
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from mesh_fixtures import runner, supported
from mesh_fixtures.artifacts import gobuild, istio, versions
from mesh_fixtures.artifacts.cache import Cache, cache_root
from mesh_fixtures.artifacts.charts import chart_version
from mesh_fixtures.artifacts.part_source import ALL_BUILT, BUILT, PartSource, Selection
from mesh_fixtures.artifacts.parts import Built, Part, Work, keys_of
from mesh_fixtures.charts import CHARTS, Charts
from mesh_fixtures.patience import patient
from mesh_fixtures.progress import Progress

SOURCES: Final = {
    "base": "base",
    "istiod": "istio-control/istio-discovery",
    "gateway": "gateway",
}
"""Folders of the charts below Istio's `manifests/charts`."""

_ASK_SECONDS: Final = 15.0


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
