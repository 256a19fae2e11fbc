"""The package as somebody installs it who has no checkout."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from mesh_fixtures.patience import patient

PROJECT: Final = Path(__file__).parents[2]
THIRD_PROVIDER: Final = Path(__file__).with_name("third_provider")
SECONDS: Final = 240.0


def environment(more: Mapping[str, str] | None = None) -> dict[str, str]:
    """That of a person who has set nothing up: no options, and nothing that is started with this
    test's Python finds this test's modules.
    """
    ours = ("MESH_", "PYTEST_", "PYTHON", "COV_")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    return {**kept, "MESH_PATIENCE": "1", **(more or {})}


def run(
    *argv: str | Path, folder: Path, more: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a program to its end, whatever its exit status."""
    return subprocess.run(
        [str(each) for each in argv],
        cwd=folder,
        env=environment(more),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=patient(SECONDS),
        check=False,
    )


def succeed(*argv: str | Path, folder: Path, more: Mapping[str, str] | None = None) -> str:
    """Standard output of a program that has to succeed."""
    done = run(*argv, folder=folder, more=more)
    assert done.returncode == 0, f"exit status {done.returncode}: {done.stdout}\n{done.stderr}"
    return done.stdout


@dataclass(frozen=True)
class Installed:
    """A virtual environment that holds the package and what it depends on."""

    programs: Path

    @property
    def python(self) -> Path:
        return self.programs / "python"

    @property
    def command(self) -> Path:
        return self.programs / "mesh-conformance"

    def pip(self, *arguments: str | Path, folder: Path) -> str:
        return succeed(self.python, "-m", "pip", *arguments, folder=folder)


def build_wheel(source: Path, into: Path) -> Path:
    """The wheel of a source tree or an sdist."""
    pip = (sys.executable, "-m", "pip")
    succeed(*pip, "wheel", "-q", "--no-deps", "-w", into, source, folder=into.parent)
    (wheel,) = into.glob("*.whl")
    return wheel


def install(wheel: Path, folder: Path) -> Installed:
    """Install the wheel by pip where nothing else is."""
    succeed(sys.executable, "-m", "venv", folder / "environment", folder=folder)
    installed = Installed(folder / "environment" / "bin")
    installed.pip("install", "-q", wheel, folder=folder)
    return installed
