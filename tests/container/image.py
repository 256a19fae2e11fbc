"""The image of the Containerfile, built where there is no registry: on a base that mmdebstrap
makes, from packages that pip has fetched before, by the Podman of `tests.kind_environment`.
"""

from __future__ import annotations

import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Final

from mesh_fixtures.artifacts import debian, versions
from mesh_fixtures.artifacts.cache import Cache, cache_root
from mesh_fixtures.artifacts.parts import Part, Work
from mesh_fixtures.patience import patient
from mesh_fixtures.progress import Progress
from mesh_fixtures.progress.display import Display
from tests.kind_environment import terminal

PROJECT: Final = Path(__file__).parents[2]
NAME: Final = "localhost/mesh-conformance:tried"
BASE: Final = "localhost/container-base:tried"
SECONDS: Final = 900.0

_PACKAGES: Final = ("ca-certificates", "python3-venv")
# The network is that of the environment, which reaches nothing.
_BUILD: Final = """
podman import --quiet "$base_archive" "$base" >&2
podman build --quiet --isolation=chroot --network=host --pull=never \
    --build-arg "BASE=$base" --build-arg "PIP_OPTIONS=--no-index --find-links=/wheels" \
    --volume "$wheels:/wheels:ro" --tag "$name" --file "$project/Containerfile" "$project" >&2
podman save --quiet --format=oci-archive --output="$archive" "$name" >&2
"""


def base() -> Part:
    """The part with the folder `root`: a small Debian with Python."""
    return Part(
        name="container-base",
        inputs={
            "suite": versions.DEBIAN_SUITE,
            "packages": " ".join(_PACKAGES),
            "revision": "1",
        },
        build=_build_base,
        seconds=900.0,
    )


def _build_base(work: Work) -> None:
    debian.install(work, work.into / "root", _PACKAGES, variant="minbase")


def build(folder: Path) -> Path:
    """Build the image; returns the archive with it, in OCI's format.

    Args:
        folder: for what is needed meanwhile, and for the archive.
    """
    progress = Progress("container", Display(terminal.say))
    root = Cache(cache_root()).ensure([base()], progress)["container-base"].folder / "root"
    base_archive, archive, wheels = folder / "base.tar", folder / "image.tar", folder / "wheels"
    with tarfile.open(base_archive, "w") as file:
        file.add(root, arcname=".")
    fetch_packages(wheels, python=(root / "usr/bin/python3").readlink().name)
    values = {
        "base": BASE,
        "base_archive": base_archive,
        "wheels": wheels,
        "project": PROJECT,
        "name": NAME,
        "archive": archive,
    }
    in_podman("\n".join(f"{name}='{value}'" for name, value in values.items()) + _BUILD)
    return archive


def fetch_packages(into: Path, python: str) -> None:
    """Fetch what the project depends on and is built by.

    Args:
        python: the interpreter's name, such as `python3.11`.
    """
    only = ("--only-binary=:all:", f"--python-version={python.removeprefix('python')}")
    succeed(
        *(sys.executable, "-m", "pip", "download", "--quiet", "--dest", str(into), *only),
        *(str(PROJECT), "hatchling"),
    )


def in_podman(script: str) -> str:
    """Standard output of a script of sh that finds Podman."""
    environment = (sys.executable, "-m", "tests.kind_environment", "--engine", "podman")
    return succeed(*environment, "--", "sh", "-eu", "-c", script)


def succeed(*argv: str) -> str:
    """Standard output of a program that has to succeed, in the project's folder."""
    done = subprocess.run(
        argv, cwd=PROJECT, capture_output=True, text=True, timeout=patient(SECONDS), check=False
    )
    assert done.returncode == 0, f"exit status {done.returncode}: {done.stdout}\n{done.stderr}"
    return done.stdout
