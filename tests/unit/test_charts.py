"""Charts by folder and by repository: found, of one supported release, or refused in words."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from mesh_examples import BUILT, RELEASED

from mesh_fixtures.artifacts import charts, helm, versions
from mesh_fixtures.artifacts.helm import HelmInstall, chart_problems, describe_charts, gather_helm
from mesh_fixtures.errors import MachineError
from mesh_fixtures.progress import Progress

PLACES = {"base": "base", "istiod": "istiod", "gateway": "gateway"}
IN_SOURCES = {**PLACES, "istiod": "istio-control/istio-discovery"}


def unpacked(folder: Path, release: str = "1.30.1", places: dict[str, str] = PLACES) -> Path:
    for name, place in places.items():
        chart = folder / place
        chart.mkdir(parents=True)
        (chart / "Chart.yaml").write_text(f"name: {name}\nappVersion: {release}\n")
        (chart / "values.yaml").write_text("{}\n")
    return folder


def packaged(folder: Path, release: str = "1.30.1") -> Path:
    folder.mkdir()
    for name in PLACES:
        content = f"name: {name}\nappVersion: {release}\n".encode()
        with tarfile.open(folder / f"{name}-{release}.tgz", "w:gz") as archive:
            for file in (f"{name}/Chart.yaml", f"{name}/charts/x/Chart.yaml"):
                entry = tarfile.TarInfo(file)
                entry.size = len(content)
                archive.addfile(entry, io.BytesIO(content))
    return folder


def references(folder: Path) -> dict[str, str]:
    found = charts.in_folder(folder, "1.31.0")
    return {name: str(Path(*found.reference(name)).relative_to(folder)) for name in PLACES}


def test_charts_as_helm_unpacks_them(tmp_path: Path) -> None:
    folder = unpacked(tmp_path / "charts")
    assert references(folder) == PLACES
    assert charts.in_folder(folder, "1.31.0").istio_version == "1.30.1"


def test_charts_of_a_release_archive(tmp_path: Path) -> None:
    unpacked(tmp_path / "manifests/charts", places=IN_SOURCES)
    assert references(tmp_path) == {n: f"manifests/charts/{p}" for n, p in IN_SOURCES.items()}


def test_packaged_charts(tmp_path: Path) -> None:
    folder = packaged(tmp_path / "charts")
    assert references(folder) == {name: f"{name}-1.30.1.tgz" for name in PLACES}
    assert charts.in_folder(folder, "1.31.0").istio_version == "1.30.1"


def test_charts_of_the_sources_are_of_the_release_of_the_images(tmp_path: Path) -> None:
    folder = unpacked(tmp_path, release=charts.UNRELEASED)
    assert charts.in_folder(folder, "1.32-dev").istio_version == "1.32-dev"


def test_the_digest_follows_the_content(tmp_path: Path) -> None:
    folder = unpacked(tmp_path / "one")
    before = charts.in_folder(folder, "1.31.0").digest
    assert charts.in_folder(unpacked(tmp_path / "two"), "1.31.0").digest == before
    (folder / "istiod/values.yaml").write_text("a: b\n")
    assert charts.in_folder(folder, "1.31.0").digest != before


def test_a_folder_without_charts(tmp_path: Path) -> None:
    with pytest.raises(MachineError, match="a folder with the charts base, istiod, gateway"):
        charts.in_folder(tmp_path, "1.31.0")


def test_a_chart_that_is_missing_or_there_twice(tmp_path: Path) -> None:
    folder = packaged(tmp_path / "charts")
    (folder / "gateway-1.30.1.tgz").unlink()
    with pytest.raises(MachineError, match="seen: gateway: none"):
        charts.in_folder(folder, "1.31.0")
    (folder / "gateway-1.30.1.tgz").touch()
    (folder / "gateway-1.30.0.tgz").touch()
    with pytest.raises(MachineError, match=r"gateway-1\.30\.0\.tgz, gateway-1\.30\.1\.tgz"):
        charts.in_folder(folder, "1.31.0")


@pytest.mark.parametrize("content", [b"", b"no archive", b"\x1f\x8b"])
def test_what_is_no_chart(tmp_path: Path, content: bytes) -> None:
    folder = packaged(tmp_path / "charts")
    (folder / "base-1.30.1.tgz").write_bytes(content)
    with pytest.raises(MachineError, match="wanted a Helm chart"):
        charts.in_folder(folder, "1.31.0")


def test_charts_of_two_releases(tmp_path: Path) -> None:
    folder = unpacked(tmp_path)
    (folder / "base/Chart.yaml").write_text("appVersion: 1.29.0")
    with pytest.raises(MachineError, match=r"base 1\.29\.0, istiod 1\.30\.1"):
        charts.in_folder(folder, "1.31.0")


@pytest.mark.parametrize("release", ["1.23.0", "1.33.0", "''"])
def test_a_release_outside_of_the_range_is_a_problem_of_the_machine(
    tmp_path: Path, release: str
) -> None:
    folder = unpacked(tmp_path, release)
    (problem,) = chart_problems(str(folder), "1.31.0")
    assert problem.missing == f"Istio 1.24 to 1.32 in Helm charts in {folder}"
    assert chart_problems(None, "1.31.0") == ()
    assert chart_problems("https://charts.example", "1.31.0") == ()


def test_repositories_of_both_kinds() -> None:
    files = charts.in_repository("https://charts.example", "1.30.1", "1.31.0")
    assert files.reference("base") == (
        *("base", "--repo", "https://charts.example", "--version", "1.30.1"),
    )
    images = charts.in_repository("oci://hub.example/charts", "", "1.31.0")
    assert images.reference("gateway") == ("oci://hub.example/charts/gateway",)
    assert (files.istio_version, images.istio_version) == ("1.30.1", "1.31.0")
    assert files.digest != images.digest


def test_charts_go_with_the_images_unless_told_otherwise(tmp_path: Path) -> None:
    for version in versions.ISTIO_MODULES:
        built = describe_charts("", replace(BUILT, istio_version=version))
        assert built.istio_version == version
        assert built.reference("istiod")[0].endswith(f"/istiod-{charts.chart_version(version)}.tgz")
    release = replace(RELEASED, istio_version="1.30.1")
    released = describe_charts("https://charts.example", release)
    assert released.reference("istiod")[1:] == (
        *("--repo", "https://charts.example", "--version", "1.30.1"),
    )
    with pytest.raises(MachineError, match=r"charts of the release(.|\n)*--mesh-charts"):
        describe_charts("", release)
    folder = unpacked(tmp_path)
    assert describe_charts(str(folder), BUILT).reference("base") == (f"{folder}/base",)


@pytest.fixture
def fake_helm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Path]:
    """Puts a helm with the given shell script into an otherwise bare PATH."""
    monkeypatch.setenv("PATH", str(tmp_path))

    def make(script: str) -> Path:
        program = tmp_path / "helm"
        program.write_text(f"#!/bin/sh\n{script}\n")
        program.chmod(0o755)
        return program

    return make


def test_a_repository_is_asked_for_its_release(fake_helm: Callable[[str], Path]) -> None:
    program = fake_helm('echo "appVersion: 1.30.1"')
    described = charts.in_repository("https://charts.example", "", "1.31.0")
    assert charts.asked(program, described).istio_version == "1.30.1"
    assert charts.asked(program, described).references == described.references
    assert charts.asked(program, described).digest != described.digest


def test_a_repository_with_a_release_outside_of_the_range(
    fake_helm: Callable[[str], Path],
) -> None:
    program = fake_helm('echo "appVersion: 1.20.0"')
    with pytest.raises(MachineError, match=r"base --repo https://x: wanted Istio 1\.24 to 1\.32"):
        charts.asked(program, charts.in_repository("https://x", "", "1.31.0"))


def test_a_repository_that_cannot_be_had(fake_helm: Callable[[str], Path]) -> None:
    program = fake_helm("echo 'no such host' >&2; exit 1")
    with pytest.raises(MachineError, match="no such host"):
        charts.asked(program, charts.in_repository("https://x", "", "1.31.0"))


@pytest.mark.parametrize(
    ("said", "fits"),
    [("v3.22.0+gabc", True), ("v4.3.1", True), ("v3.5.9", False), ("v2.17.0", False), ("?", False)],
)
def test_the_helm_of_the_machine_is_used_where_it_fits(
    fake_helm: Callable[[str], Path], said: str, fits: bool
) -> None:
    program = fake_helm(f"echo {said}")
    assert helm.helm_in_path() == (program if fits else None)


def test_the_digest_of_a_lab_follows_the_charts(tmp_path: Path) -> None:
    one = charts.in_repository("https://charts.example", "1.30.1", "")
    other = charts.in_repository("https://charts.example", "1.30.2", "")
    digests = {HelmInstall(tmp_path, each).digest_with("runs") for each in (one, other)}
    assert len(digests | {"runs"}) == 3


def test_a_folder_is_neither_built_nor_asked(
    tmp_path: Path, fake_helm: Callable[[str], Path]
) -> None:
    program = fake_helm("test $1 = version && echo v3.20.0")
    folder = unpacked(tmp_path / "charts")
    made = gather_helm(str(folder), BUILT, Progress("test"), machines_own=True)
    assert made == HelmInstall(program, charts.in_folder(folder, BUILT.istio_version))


@pytest.mark.parametrize(
    ("release", "version"),
    [
        ("1.31.1", "1.31.1"),
        ("1.31-alpha.b01690e6db7d", "1.31.0-alpha.b01690e6db7d"),
        ("1.32.0-rc.1", "1.32.0-rc.1"),
    ],
)
def test_versions_of_charts_are_semantic(release: str, version: str) -> None:
    assert charts.chart_version(release) == version


def test_charts_of_released_images_are_those_of_the_release() -> None:
    released = replace(BUILT, name="released", istio_version="1.31.1")
    found = describe_charts("oci://hub.example/charts", released, "/ca.pem")
    assert found.reference("istiod") == (
        *("oci://hub.example/charts/istiod", "--version", "1.31.1", "--ca-file", "/ca.pem"),
    )


def test_built_charts_are_of_the_pinned_release() -> None:
    assert helm.built_charts().istio_version == versions.ISTIO
    assert charts.chart_version(versions.ISTIO).count(".") == 3
