"""The istioctl of a release by its version, a file or a URL."""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import shutil
import tarfile
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from mesh_fixtures.artifacts import istioctl
from mesh_fixtures.artifacts.releases import PUBLIC, Addresses
from mesh_fixtures.errors import ArtifactError, MachineError
from tests.parts.site import Site, serving

PROGRAM = b"#!/bin/sh\necho hello\n"


def archive(name: str) -> bytes:
    into = io.BytesIO()
    with tarfile.open(fileobj=into, mode="w:gz") as made:
        entry = tarfile.TarInfo(name)
        entry.size = len(PROGRAM)
        made.addfile(entry, io.BytesIO(PROGRAM))
    return into.getvalue()


CONTENT = {
    "/istioctl": PROGRAM,
    "/istioctl.tar.gz": archive("istioctl"),
    "/istio.tar.gz": archive("istio-1.30.1/bin/istioctl"),
    "/other.tar.gz": archive("README.md"),
    "/broken.tar.gz": archive("istioctl")[:30],
    "/text.gz": gzip.compress(PROGRAM),
}


@pytest.fixture
def server() -> Iterator[tuple[str, list[str]]]:
    """URL of this machine's own releases, and what was asked for."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            content = CONTENT.get(self.path)
            self.send_response(404 if content is None else 200)
            self.end_headers()
            self.wfile.write(content or b"")

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as http:
        threading.Thread(target=http.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{http.server_port}", asked
        http.shutdown()


@pytest.mark.parametrize("path", ["/istioctl", "/istioctl.tar.gz", "/istio.tar.gz"])
def test_it_is_fetched_once(server: tuple[str, list[str]], tmp_path: Path, path: str) -> None:
    url, asked = server
    program = istioctl.find(url + path, PUBLIC, tmp_path)
    assert program.read_bytes() == PROGRAM
    assert program.stat().st_mode & 0o111
    assert istioctl.find(url + path, PUBLIC, tmp_path) == program
    assert asked == [path]


@pytest.mark.parametrize("path", ["/none", "/other.tar.gz", "/broken.tar.gz", "/text.gz"])
def test_what_is_no_istioctl_leaves_nothing(
    server: tuple[str, list[str]], tmp_path: Path, path: str
) -> None:
    url, _ = server
    with pytest.raises(ArtifactError, match="wanted the istioctl of a release"):
        istioctl.find(url + path, PUBLIC, tmp_path / "kept")
    assert not (tmp_path / "kept").exists()


def test_a_release_by_its_version(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform.machine", lambda: "aarch64")
    path, packed = "istio/1.30.1/istioctl-1.30.1-linux-arm64.tar.gz", archive("istioctl")
    name = path.rpartition("/")[2]
    sums = f"{hashlib.sha256(packed).hexdigest()}  {name}\n".encode()
    with serving(Site({path: packed, f"{path}.sha256": sums})) as site:
        addresses = Addresses.of([site.url])
        program = istioctl.find("1.30.1", addresses, tmp_path)
        assert program.read_bytes() == PROGRAM
        assert program.stat().st_mode & 0o111
        assert istioctl.find("1.30.1", addresses, tmp_path) == program
        assert site.paths() == [f"/{path}.sha256", f"/{path}"]
        with pytest.raises(ArtifactError, match="404"):
            istioctl.find("1.30.2", addresses, tmp_path)


@pytest.mark.parametrize("version", ["1.23.6", "v1.33.0"])
def test_a_release_outside_of_the_range_is_not_fetched(tmp_path: Path, version: str) -> None:
    with pytest.raises(MachineError, match=r"wanted Istio 1\.24 to 1\.32"):
        istioctl.find(version, PUBLIC, tmp_path)


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], Path]:
    """Puts an istioctl into an otherwise bare PATH."""
    monkeypatch.setenv("PATH", str(tmp_path))

    def install() -> Path:
        (tmp_path / "istioctl").write_bytes(PROGRAM)
        (tmp_path / "istioctl").chmod(0o755)
        return tmp_path / "istioctl"

    return install


def test_a_file_and_the_one_in_path(install: Callable[[], Path]) -> None:
    with pytest.raises(MachineError, match="wanted the program istioctl"):
        istioctl.find("")
    program = install()
    assert istioctl.find("") == program
    assert istioctl.find(str(program)) == program
    with pytest.raises(MachineError, match="wanted the program /nowhere"):
        istioctl.find("/nowhere")


def test_the_one_that_is_built_here_is_of_no_release(
    install: Callable[[], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    folder = tmp_path / "cache/mesh-conformance/artifacts/programs/0"
    folder.mkdir(parents=True)
    shutil.copy(install(), folder)
    monkeypatch.setenv("PATH", str(folder))
    assert istioctl.in_path() is None
    with pytest.raises(MachineError, match="wanted the program istioctl"):
        istioctl.find("")
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{tmp_path}")
    assert istioctl.find("") == tmp_path / "istioctl"
