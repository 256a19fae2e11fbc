"""Runs a command where a registry on loopback has the images and charts of a release.

usage: python -m tests.released [--upgrade-from VERSION] COMMAND [ARGUMENT...]

What is in it are the project's own images. The command's settings are in its environment, so that
`pytest tests/conformance` verifies labs whose Istio comes from there, by the names of a variant
alone; and where a second version that is built is named, meshes that are upgraded from that one.
Pulled images go into a cache of their own, which is removed in the end.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from argparse import REMAINDER, ArgumentParser
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from mesh_fixtures.artifacts import catalog, helm, images, istio, pulling, store, versions
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

_PULLED: Final = {pulling.PART, store.OF_PULLED}


def main(arguments: Sequence[str]) -> int:
    """Run the command; returns its exit status."""
    parser = ArgumentParser(add_help=False)
    parser.add_argument("--upgrade-from", default="")
    parser.add_argument("command", nargs=REMAINDER)
    given = parser.parse_args(arguments)
    if not given.command:
        say((__doc__ or "").strip())
        return USAGE
    display = Display(say)
    try:
        earlier = istio.version_of(given.upgrade_from) if given.upgrade_from else ""
        return _run(given.command, earlier, Progress("registry", display))
    except MeshConformanceError as error:
        say(str(error))
        return FAILED
    finally:
        display.close()


def _run(command: Sequence[str], earlier: str, progress: Progress) -> int:
    of_versions = [versions.ISTIO, *([earlier] if earlier else [])]
    parts = {part.name: part for part in (*catalog.parts(), *catalog.on_request())}
    # the programs, images and charts of the registry, and what is built of labs without Istio
    wanted = {part.name for part in (*catalog.parts(), *catalog.parts(istio_version=None))}
    wanted |= {part.name for each in of_versions for part in helm.parts(each)}
    wanted |= {istio.part_name(part, each) for part in ("istio", "images") for each in of_versions}
    wanted.add(pulling.PROGRAM)
    built = Cache(cache_root()).ensure([parts[n] for n in parts if n in wanted], progress)
    istioctls = [built[istio.part_name("istio", each)].folder / "istioctl" for each in of_versions]
    by_helm = "helm" in os.environ.get("MESH_INSTALL", "")
    with (
        own_cache({part.name for part in cache_root().iterdir()} - _PULLED) as cache,
        tempfile.TemporaryDirectory(prefix="mesh-registry-") as folder,
        registry.running(registry.program(progress), Path(folder)) as found,
    ):
        with progress.phase("fill"):
            for each in of_versions:
                archive = built[istio.part_name("images", each)].folder / images.ARCHIVE
                _fill(found, archive, each, progress)
        environment = {
            **os.environ,
            "DOCKER_CONFIG": str(found.docker_config),
            "XDG_CACHE_HOME": str(cache),
            "MESH_ISTIOCTL": str(istioctls[0]),
            "MESH_HUB": f"{found.host}/istio",
            # which a release's charts would know, and the project's do not
            "MESH_TAG": versions.ISTIO,
            "MESH_VARIANT": VARIANT,
            "MESH_REGISTRY_CA": str(found.ca),
            "MESH_CHARTS": f"oci://{found.host}/charts" if by_helm else "",
        }
        if earlier:
            environment["MESH_UPGRADE_FROM"] = str(istioctls[1])
            environment["MESH_UPGRADE_FROM_TAG"] = earlier if by_helm else ""
        return subprocess.run(command, env=environment, check=False).returncode


def _fill(found: Registry, archive: Path, version: str, progress: Progress) -> None:
    """Put a version's images and charts there, under the names that its istioctl has for them."""
    named = {
        f"{versions.IMAGE_HUB}/{name}:{version}": [f"istio/{name}:{version}-{VARIANT}"]
        for name in ("pilot", "proxyv2")
    }
    found.push(archive, named)
    program = helm.ensure_helm(progress)
    for (chart,) in helm.ensure_charts(progress, version).references.values():
        subprocess.run(
            [program, "push", chart, f"oci://{found.host}/charts", "--ca-file", found.ca],
            env={**os.environ, "DOCKER_CONFIG": str(found.docker_config)},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            check=True,
        )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
