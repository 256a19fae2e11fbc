"""Archives of images, and the lab that they are loaded into; nodes themselves: tests/lab."""

from __future__ import annotations

import gzip
import io
import json
import lzma
import tarfile
from pathlib import Path

import pytest

from mesh_fixtures import cli
from mesh_fixtures.commands.load_image import find_lab
from mesh_fixtures.errors import ArtifactError, LabError
from mesh_fixtures.images import full_name
from mesh_fixtures.lab.image_archives import read_archive
from mesh_fixtures.records import Record

DOCKER = [{"Config": "x.json", "RepoTags": ["a:1", "example.com/b:2"], "Layers": []}]
LAYOUT = {"imageLayoutVersion": "1.0.0"}
OCI = {
    "manifests": [
        {
            "annotations": {
                "org.opencontainers.image.ref.name": "1",
                "io.containerd.image.name": "localhost/c:1",
            }
        },
        {"annotations": {"org.opencontainers.image.ref.name": "d:1"}},
        {"annotations": {"org.opencontainers.image.ref.name": "tag-alone"}},
        {"digest": "sha256:0"},
    ]
}
OF_DOCKER = {name: name for name in ("docker.io/library/a:1", "example.com/b:2")}
OF_OCI = {"localhost/c:1": "localhost/c:1", "d:1": "docker.io/library/d:1"}


def archive(path: Path, files: dict[str, object]) -> Path:
    with tarfile.open(path, "w") as file:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            encoded = json.dumps(content).encode()
            member.size = len(encoded)
            file.addfile(member, io.BytesIO(encoded))
    return path


@pytest.mark.parametrize(
    ("files", "images"),
    [
        ({"manifest.json": DOCKER}, OF_DOCKER),
        ({"./oci-layout": LAYOUT, "./index.json": OCI}, OF_OCI),
        ({"oci-layout": LAYOUT, "index.json": OCI, "manifest.json": DOCKER}, OF_OCI),
        ({"index.json": OCI, "manifest.json": DOCKER}, OF_DOCKER),
    ],
)
def test_names_in_an_archive(
    tmp_path: Path, files: dict[str, object], images: dict[str, str]
) -> None:
    plain = archive(tmp_path / "x.tar", files)
    assert read_archive(plain).images == images
    packed = tmp_path / "x.tar.gz"
    packed.write_bytes(gzip.compress(plain.read_bytes()))
    assert read_archive(packed).images == images
    for path in (plain, packed):
        with read_archive(path).plain() as file:
            file.seek(0)
            assert file.read() == plain.read_bytes()


@pytest.mark.parametrize(
    ("name", "full"),
    [
        ("busybox", "docker.io/library/busybox:latest"),
        ("busybox:1.36", "docker.io/library/busybox:1.36"),
        ("curlimages/curl:8", "docker.io/curlimages/curl:8"),
        ("docker.io/busybox", "docker.io/library/busybox:latest"),
        ("localhost/mine:1", "localhost/mine:1"),
        ("registry:5000/mine", "registry:5000/mine:latest"),
        ("example.com/mine@sha256:0", "example.com/mine@sha256:0"),
    ],
)
def test_full_name_is_the_one_that_a_runtime_looks_up(name: str, full: str) -> None:
    assert full_name(name) == full


@pytest.mark.parametrize(
    "content",
    [b"", b"no archive", gzip.compress(b"neither", mtime=0), b"\x1f\x8bcut off"],
)
def test_what_is_no_archive_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "x.tar"
    path.write_bytes(content)
    with pytest.raises(ArtifactError):
        read_archive(path)


def test_compression_that_nodes_are_not_given_is_refused(tmp_path: Path) -> None:
    path = archive(tmp_path / "x.tar", {"manifest.json": DOCKER})
    path.write_bytes(lzma.compress(path.read_bytes()))
    with pytest.raises(ArtifactError):
        read_archive(path)


@pytest.mark.parametrize(
    "files",
    [
        {"other.json": {}},
        {"oci-layout": LAYOUT},
        {"index.json": OCI},
        {"manifest.json": [{"RepoTags": None}]},
        {"oci-layout": LAYOUT, "index.json": {"manifests": OCI["manifests"][2:]}},
        {"manifest.json": {"RepoTags": []}},
        {"manifest.json": [1]},
        {"oci-layout": LAYOUT, "index.json": []},
        {"oci-layout": LAYOUT, "index.json": {"manifests": [{"annotations": "x"}]}},
    ],
)
def test_archive_of_something_else_is_refused(tmp_path: Path, files: dict[str, object]) -> None:
    with pytest.raises(ArtifactError):
        read_archive(archive(tmp_path / "x.tar", files))


def test_missing_archive_is_an_error_before_any_lab_is_looked_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["load-image", str(tmp_path / "missing.tar")]) == 1
    assert "missing.tar" in capsys.readouterr().err


def lab(name: str, scenario: str, *, booted: bool = True) -> Record:
    return Record(name, "netns", "", 0, scenario, "", "", 0, 0, kept=True, booted=booted)


def test_lab_is_found_by_its_id_its_scenario_or_as_the_only_one() -> None:
    one, two = lab("mesh-1", "multi-primary"), lab("mesh-2", "primary-remote")
    dead = lab("mesh-3", "multi-primary", booted=False)
    assert find_lab([one, dead], None) is one
    assert find_lab([one, two, dead], "multi-primary") is one
    assert find_lab([one, two], "mesh-2") is two


@pytest.mark.parametrize("wanted", [None, "multi-primary", "three"])
def test_lab_that_is_not_clear_is_asked_for(wanted: str | None) -> None:
    records = [lab("mesh-1", "multi-primary"), lab("mesh-2", "multi-primary")]
    with pytest.raises(LabError, match=r"mesh-1 .* mesh-2"):
        find_lab(records, wanted)


def test_without_labs_the_command_that_makes_one_is_named() -> None:
    with pytest.raises(LabError, match="mesh-conformance up"):
        find_lab([], None)
