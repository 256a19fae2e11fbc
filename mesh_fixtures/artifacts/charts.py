"""Charts that somebody names by a folder or a repository: what they are, and of which release."""

from __future__ import annotations

import contextlib
import hashlib
import tarfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import yaml

from mesh_fixtures import runner, supported
from mesh_fixtures.charts import CHARTS, Charts
from mesh_fixtures.errors import MachineError
from mesh_fixtures.patience import patient

UNRELEASED: Final = "1.0.0"
"""Version of the charts in Istio's sources: a release replaces it."""

_FOLDERS: Final[Mapping[str, tuple[str, ...]]] = {
    "base": ("base",),
    "istiod": ("istiod", "istio-control/istio-discovery"),
    "gateway": ("gateway",),
}
"""Where a chart may be below a folder of charts: as `helm pull --untar` writes it, or as in Istio's
sources and release archives."""

_WITHIN: Final = ("", "manifests/charts")
"""Where the folder of charts may be below the one that is named."""

_FORM: Final = (
    f"a folder with the charts {', '.join(CHARTS)}, each unpacked or packaged, or Istio's "
    "manifests/charts"
)
_DEADLINE: Final = 60.0


def is_url(source: str) -> bool:
    """Whether charts are in a repository: of files, or of OCI images."""
    return source.startswith(("http://", "https://", "oci://"))


def in_folder(folder: Path, images_version: str) -> Charts:
    """The charts of a folder.

    Args:
        images_version: release of the images; that of charts which are not of a release, too.

    Raises:
        MachineError: some are missing, or they are not of one supported release.
    """
    found = _find(folder)
    releases = {name: _release(chart, images_version) for name, chart in found.items()}
    if len(set(releases.values())) > 1:
        seen = ", ".join(f"{name} {release}" for name, release in releases.items())
        raise MachineError(wanted="charts of one release", seen=seen, where=str(folder))
    release = releases["istiod"]
    supported.ISTIO.require(release, where=f"Helm charts in {folder}")
    references = {name: (str(chart),) for name, chart in found.items()}
    return Charts(release, references, _digest(found))


def chart_version(release: str) -> str:
    """Version of a release's charts: the same, as semantic version (Helm, "Charts": version).

    Development builds call themselves 1.31-alpha.abc, which lacks the patch number.
    """
    numbers, dash, rest = release.partition("-")
    return ".".join([*numbers.split("."), "0"][:3]) + dash + rest


def in_repository(url: str, version: str, images_version: str, ca: str = "") -> Charts:
    """The charts of a repository, which is not asked.

    Args:
        version: of the charts, which is that of the release; empty for the newest.
        images_version: release of the images; taken for that of the charts until they are asked.
        ca: PEM file of authorities that its certificate is verified by; empty for the machine's.
    """
    chosen = (
        *(("--version", version) if version else ()),
        *(("--ca-file", ca) if ca else ()),
    )
    references = {}
    for name in CHARTS:
        place = (f"{url}/{name}",) if url.startswith("oci://") else (name, "--repo", url)
        references[name] = (*place, *chosen)
    digest = hashlib.sha256(f"{url} {version}".encode()).hexdigest()
    return Charts(version or images_version, references, digest[:20])


def asked(helm: Path, charts: Charts) -> Charts:
    """The charts of a repository, with the release that it says that they are of.

    Raises:
        MachineError: it does not have them, or the release is not supported.
    """
    release = ""
    for name in CHARTS:
        reference = charts.reference(name)
        release = _release_in(run_helm(helm, "show", "chart", *reference))
        supported.ISTIO.require(release, where=f"Helm chart {' '.join(reference)}")
    digest = hashlib.sha256(f"{charts.digest} {release}".encode()).hexdigest()
    return Charts(release, charts.references, digest[:20])


def run_helm(helm: Path, *arguments: str) -> str:
    """Standard output of helm.

    Raises:
        MachineError: it failed, or did not end in time.
    """
    return runner.output_of(
        [helm, *arguments],
        error=MachineError,
        seconds=patient(_DEADLINE),
        wanted=f"helm {' '.join(arguments)} to succeed",
        remedy="name other charts by --mesh-charts",
    )


def _find(folder: Path) -> dict[str, Path]:
    for within in _WITHIN:
        found = {name: _candidates(folder / within, name) for name in CHARTS}
        if not any(found.values()):
            continue
        wrong = {name: charts for name, charts in found.items() if len(charts) != 1}
        if not wrong:
            return {name: chart for name, (chart,) in found.items()}
        versions = [
            f"{name}: {', '.join(chart.name for chart in charts) or 'none'}"
            for name, charts in wrong.items()
        ]
        raise MachineError(
            wanted=f"one chart {' and one '.join(wrong)}",
            seen="; ".join(versions),
            where=str(folder / within),
            remedy=f"name {_FORM}",
        )
    raise MachineError(wanted=_FORM, seen="none", where=str(folder))


def _candidates(folder: Path, name: str) -> list[Path]:
    unpacked = [folder / place for place in _FOLDERS[name]]
    return [
        *(chart for chart in unpacked if (chart / "Chart.yaml").is_file()),
        *sorted(folder.glob(f"{name}-[0-9]*.tgz")),
    ]


def _release(chart: Path, images_version: str) -> str:
    try:
        release = _release_in(_description(chart))
    except (OSError, EOFError, KeyError, zlib.error, tarfile.TarError, UnicodeError) as error:
        raise MachineError(
            wanted="a Helm chart", seen=f"{type(error).__name__}: {error}", where=str(chart)
        ) from error
    return images_version if release == UNRELEASED else release


def _description(chart: Path) -> str:
    if chart.is_dir():
        return (chart / "Chart.yaml").read_text(encoding="utf-8")
    with tarfile.open(chart) as archive:
        names = (name for name in archive.getnames() if name.count("/") == 1)
        file = archive.extractfile(next((n for n in names if n.endswith("/Chart.yaml")), ""))
        return file.read().decode() if file is not None else ""


def _release_in(description: str) -> str:
    """The release that a Chart.yaml says."""
    parsed: Any = None
    with contextlib.suppress(yaml.YAMLError):
        parsed = yaml.safe_load(description)
    return str(parsed.get("appVersion", "")) if isinstance(parsed, dict) else ""


def _digest(charts: Mapping[str, Path]) -> str:
    digest = hashlib.sha256()
    for name, chart in sorted(charts.items()):
        files = sorted(file for file in chart.rglob("*") if file.is_file()) or [chart]
        for file in files:
            digest.update(f"{name} {file.relative_to(chart)}\n".encode())
            digest.update(hashlib.sha256(file.read_bytes()).digest())
    return digest.hexdigest()[:20]
