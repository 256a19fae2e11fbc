"""helm itself, and Istio's charts of the pinned version: for installations by Helm alone."""

from __future__ import annotations

import hashlib
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from mesh_fixtures import runner, supported
from mesh_fixtures.artifacts import gobuild, images, versions
from mesh_fixtures.artifacts.cache import Cache, cache_root
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

CHART_VERSION: Final = f"{images.ISTIO_SEMANTIC}-alpha.{versions.ISTIO_REVISION}"
"""Of the packaged charts: the release, and the commit, as semantic version."""

_ISTIO: Final = "istio.io/istio"
_ASK_SECONDS: Final = 15.0


def parts() -> tuple[Part, ...]:
    """The parts `helm` and `charts`."""
    module = gobuild.SOURCES / "istio"
    files = [module / "go.mod", module / "go.sum"]
    pinned = {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in files}
    inputs = {"charts": str(SOURCES), "version": f"{CHART_VERSION} {versions.ISTIO}"}
    charts = Part("charts", pinned | inputs, _package, needs=("helm",), lane="go", seconds=300.0)
    return (gobuild.helm().part(), charts)


def ensure_helm(progress: Progress) -> Path:
    """The program helm of `versions.HELM`, built if it is not there yet.

    Raises:
        ArtifactError: it could not be built.
    """
    wanted = parts()[:1]
    return Cache(cache_root()).ensure(wanted, progress)["helm"].folder / "helm"


def ensure_charts(progress: Progress) -> Charts:
    """Istio's charts of `versions.ISTIO_MODULE`, packaged if they are not there yet.

    Raises:
        ArtifactError: they could not be packaged.
    """
    ensure_parts(progress)
    return built_charts()


def ensure_parts(progress: Progress, root: Path | None = None) -> Mapping[str, Built]:
    """Build what is missing of `parts`.

    Raises:
        ArtifactError: one could not be built.
    """
    return Cache(root or cache_root()).ensure(parts(), progress)


def built_charts(root: Path | None = None) -> Charts:
    """What `ensure_charts` returns, whether they are there or not."""
    key = keys_of(parts())["charts"]
    folder = (root or cache_root()) / "charts" / key
    references = {name: (str(folder / f"{name}-{CHART_VERSION}.tgz"),) for name in CHARTS}
    return Charts(versions.ISTIO, references, key)


def helm_in_path() -> Path | None:
    """The helm of this machine, if there is one that the charts can be installed with."""
    found = shutil.which("helm")
    return Path(found) if found and version_of(Path(found)) in supported.HELM else None


def version_of(helm: Path) -> str:
    """Version of a helm; empty when it does not say."""
    done = runner.run([helm, "version", "--short"], seconds=patient(_ASK_SECONDS))
    number = re.search(r"v?(\d+\.\d+\.\d+\S*)", done.output) if done.status == 0 else None
    return number[1] if number else ""


def _package(work: Work) -> None:
    module = work.run(
        ["go", "list", "-mod=readonly", "-m", "-f", "{{.Dir}}", _ISTIO],
        what=f"to find the folder of the Go module {_ISTIO}",
        remedy=gobuild.REMEDY,
        env=gobuild.ENVIRONMENT,
        cwd=gobuild.SOURCES / "istio",
    )
    for name, source in SOURCES.items():
        work.run(
            [
                *(work.needs["helm"] / "helm", "package", "--destination", work.into),
                *("--version", CHART_VERSION, "--app-version", versions.ISTIO),
                Path(module.strip()) / "manifests/charts" / source,
            ],
            what=f"to package Istio's chart {name}",
        )
