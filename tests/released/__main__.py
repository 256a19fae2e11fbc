"""Runs a command where a registry on loopback has the images and charts of a release.

usage: python -m tests.released COMMAND [ARGUMENT...]

What is in it are the project's own images. The command's settings are in its environment, so that
`pytest tests/conformance` verifies labs whose Istio comes from there, by the names of a variant
alone. Pulled images go into a cache of their own, which is removed in the end.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from mesh_fixtures.artifacts import catalog, helm, images, pulling, store, versions
from mesh_fixtures.artifacts.cache import Cache, cache_root
from mesh_fixtures.errors import MeshConformanceError
from mesh_fixtures.progress import Progress
from mesh_fixtures.progress.display import Display
from tests.kind_environment.terminal import say
from tests.released import registry
from tests.released.own_cache import own_cache
from tests.released.registry import Registry

USAGE: Final = 2
FAILED: Final = 1

VARIANT: Final = "distroless"
TAG: Final = versions.ISTIO
"""What istioctl would take by itself."""

_PULLED: Final = {pulling.PART, store.OF_PULLED}


def main(command: Sequence[str]) -> int:
    """Run the command; returns its exit status."""
    if not command:
        say((__doc__ or "").strip())
        return USAGE
    display = Display(say)
    try:
        return _run(command, Progress("registry", display))
    except MeshConformanceError as error:
        say(str(error))
        return FAILED
    finally:
        display.close()


def _run(command: Sequence[str], progress: Progress) -> int:
    parts = {part.name: part for part in (*catalog.parts(), *catalog.on_request())}
    # the programs, images and charts of the registry, and what is built of labs without Istio
    wanted = {part.name for part in (*catalog.parts(), *catalog.parts(istio_version=None))}
    wanted |= {part.name for part in (*helm.parts(), pulling.program_part())}
    built = Cache(cache_root()).ensure([parts[n] for n in parts if n in wanted], progress)
    istioctl = built["programs"].folder / "istioctl"
    with (
        own_cache({part.name for part in cache_root().iterdir()} - _PULLED) as cache,
        tempfile.TemporaryDirectory(prefix="mesh-registry-") as folder,
        registry.running(registry.program(progress), Path(folder)) as found,
    ):
        with progress.phase("fill"):
            _fill(found, built["images"].folder / images.ARCHIVE, progress)
        environment = {
            **os.environ,
            "DOCKER_CONFIG": str(found.docker_config),
            "XDG_CACHE_HOME": str(cache),
            "MESH_ISTIOCTL": str(istioctl),
            "MESH_HUB": f"{found.host}/istio",
            # which a release's charts would know, and the project's do not
            "MESH_TAG": TAG,
            "MESH_VARIANT": VARIANT,
            "MESH_REGISTRY_CA": str(found.ca),
            "MESH_CHARTS": "",
        }
        if "helm" in os.environ.get("MESH_INSTALL", ""):
            environment["MESH_CHARTS"] = f"oci://{found.host}/charts"
        return subprocess.run(command, env=environment, check=False).returncode


def _fill(found: Registry, archive: Path, progress: Progress) -> None:
    named = {
        f"{versions.IMAGE_HUB}/{name}:{TAG}": [f"istio/{name}:{TAG}-{VARIANT}"]
        for name in ("pilot", "proxyv2")
    }
    found.push(archive, named)
    program = helm.ensure_helm(progress)
    for (chart,) in helm.ensure_charts(progress).references.values():
        subprocess.run(
            [program, "push", chart, f"oci://{found.host}/charts", "--ca-file", found.ca],
            env={**os.environ, "DOCKER_CONFIG": str(found.docker_config)},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            check=True,
        )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
