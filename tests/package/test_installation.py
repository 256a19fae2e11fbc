"""The package by each of the ways in which people install a command, and what it says of itself."""

from __future__ import annotations

import os
import shutil
import sys
import tarfile
import zipfile
from email.parser import HeaderParser
from pathlib import Path
from typing import Final

import pytest

from mesh_fixtures import __version__
from tests.package.installed import PROJECT, Installed, build_wheel, run, succeed

PROGRAMS: Final = Path(sys.executable).parent
COMMAND: Final = "mesh-conformance"


def program(name: str) -> Path:
    """One of this environment, or of the machine."""
    found = shutil.which(name, path=f"{PROGRAMS}{os.pathsep}{os.environ['PATH']}")
    assert found, f"{name} is not installed; it belongs to the extra test"
    return Path(found)


def require_works(command: Path, folder: Path) -> None:
    """The command finds its own code, topologies, guide, providers and tests, and nothing of this
    checkout.
    """
    assert succeed(command, "--version", folder=folder) == f"{COMMAND} {__version__}\n"
    assert "## Deploy HelloWorld v1" in succeed(command, "plan", "multi-primary", folder=folder)
    assert "docs/troubleshooting.md" in succeed(command, "explain", "packet-loss", folder=folder)
    collected = succeed(command, "verify", "TRUST-1", "--collect-only", "-q", folder=folder)
    assert "test_requirement[multi-primary-TRUST-1]" in collected
    unusable = run(command, "check", "--kubeconfig", "cluster1=nowhere", folder=folder)
    assert unusable.returncode == 4
    assert "no such file" in unusable.stderr
    assert list(folder.iterdir()) == []


def test_by_pip(installed: Installed, empty: Path) -> None:
    require_works(installed.command, empty)


def test_by_uv(wheel: Path, empty: Path, tmp_path: Path) -> None:
    uv, tools, programs = program("uv"), tmp_path / "tools", tmp_path / "bin"
    places = {"UV_TOOL_DIR": str(tools), "UV_TOOL_BIN_DIR": str(programs)}
    python = ("--python", sys.executable)
    succeed(uv, "tool", "install", "--quiet", *python, wheel, folder=empty, more=places)
    require_works(programs / COMMAND, empty)
    succeed(uv, "tool", "uninstall", "--quiet", COMMAND, folder=empty, more=places)
    assert not (programs / COMMAND).exists()
    assert not (tools / COMMAND).exists()


def test_by_pipx(wheel: Path, empty: Path, tmp_path: Path) -> None:
    pipx, home, programs = program("pipx"), tmp_path / "home", tmp_path / "bin"
    places = {"PIPX_HOME": str(home), "PIPX_BIN_DIR": str(programs)}
    places["PIPX_MAN_DIR"] = str(tmp_path / "man")
    python = ("--python", sys.executable)
    succeed(pipx, "install", "--quiet", *python, wheel, folder=empty, more=places)
    require_works(programs / COMMAND, empty)
    succeed(pipx, "uninstall", COMMAND, folder=empty, more=places)
    assert not (programs / COMMAND).exists()


def contents(wheel: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(wheel) as file:
        return {each: file.read(each) for each in file.namelist() if not each.endswith("/RECORD")}


def test_the_sdist_makes_the_same_wheel(wheel: Path, tmp_path: Path) -> None:
    hatchling = (program("python"), "-m", "hatchling", "build", "--target", "sdist")
    succeed(*hatchling, "--directory", tmp_path, folder=PROJECT)
    (sdist,) = tmp_path.glob("*.tar.gz")
    with tarfile.open(sdist) as file:
        names = {each.partition("/")[2] for each in file.getnames()}
    assert {"LICENSE", "README.md", "bootstrap", "conftest.py", "mkdocs.yml", "tox.ini"} <= names
    assert contents(build_wheel(sdist, tmp_path / "wheels")) == contents(wheel)


@pytest.mark.parametrize(
    ("field", "values"),
    [
        ("Name", [COMMAND]),
        ("Version", [__version__]),
        ("License-Expression", ["Apache-2.0"]),
        ("License-File", ["LICENSE"]),
        ("Author", ["The mesh-conformance authors"]),
        ("Requires-Python", [">=3.11"]),
        ("Project-URL", None),
    ],
)
def test_metadata(wheel: Path, field: str, values: list[str] | None) -> None:
    found = contents(wheel)
    (name,) = (each for each in found if each.endswith(".dist-info/METADATA"))
    metadata = HeaderParser().parsestr(found[name].decode())
    assert metadata.get_all(field) == values


def test_content(wheel: Path) -> None:
    found = contents(wheel)
    assert "mesh_fixtures/py.typed" in found
    assert "mesh_fixtures/_guide/troubleshooting.md" in found
    (licence,) = (each for each in found if each.endswith("/licenses/LICENSE"))
    assert found[licence] == (PROJECT / "LICENSE").read_bytes()
    assert b"Apache License" in found[licence]
