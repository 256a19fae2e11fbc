"""An environment in which releases and their images are on loopback, and Go is nowhere."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import yaml

from mesh_fixtures.artifacts import catalog, images, manifests, versions
from mesh_fixtures.artifacts.cache import Cache, cache_root
from mesh_fixtures.progress import Progress
from tests.parts import published
from tests.parts.site import Site, serving
from tests.released import registry
from tests.released.own_cache import own_cache
from tests.released.registry import Registry

MEGABIT: Final = 1e6 / 8
"""Bytes."""

SHARED: Final = "debian"
"""The part that takes longest, and that no project releases."""


@dataclass(frozen=True)
class Setting:
    """What a command needs to run there.

    Attributes:
        cache: its own, which has `SHARED` at most.
    """

    environment: dict[str, str]
    site: Site
    cache: Path


@contextmanager
def setting(
    progress: Progress, *, rate: float | None = None, from_nothing: bool = False
) -> Iterator[Setting]:
    """Serve everything until the context is left.

    Args:
        rate: bytes a second of all releases together; None for as fast as it goes.
        from_nothing: whether a command begins without anything; else with `SHARED` and what Go has
            compiled before.
    """
    files = published.ensure(progress)
    built = Cache(cache_root()).ensure(catalog.parts(), progress)
    program = registry.program(progress)
    with (
        tempfile.TemporaryDirectory(prefix="mesh-registry-") as folder,
        registry.running(program, Path(folder)) as images_server,
        serving(Site(files, rate=rate)) as site,
        own_cache(() if from_nothing else (SHARED,)) as cache,
    ):
        with progress.phase("fill"):
            mirrored = _fill(images_server, built["images"].folder / images.ARCHIVE)
        environment = {
            **os.environ,
            "PATH": published.path_without_go(),
            "XDG_CACHE_HOME": str(cache),
            "DOCKER_CONFIG": str(images_server.docker_config),
            "MESH_PARTS": "released",
            "MESH_PARTS_FROM": site.url,
            "MESH_HUB": f"{images_server.host}/istio",
            "MESH_TAG": versions.ISTIO_RELEASE,
            "MESH_REGISTRY_CA": str(images_server.ca),
            "MESH_REGISTRY_MIRROR": f"{mirrored}=https://{images_server.host}",
        }
        if not from_nothing:
            environment["GOCACHE"] = str(cache_root().parents[1] / "go-build")
        yield Setting(environment, site, cache)


def _fill(server: Registry, archive: Path) -> str:
    """Put Istio's images and MetalLB's there; returns the registry that MetalLB's are of."""
    named = {
        f"{versions.IMAGE_HUB}/{name}:{versions.ISTIO}": [f"istio/{name}:{versions.ISTIO_RELEASE}"]
        for name in ("pilot", "proxyv2")
    }
    released = _metallb_images()
    for container, own in manifests.metallb_images().items():
        host, _, path = released[container].partition("/")
        named[own] = [path]
    server.push(archive, named)
    return host


def _metallb_images() -> dict[str, str]:
    built = Cache(cache_root()).ensure(catalog.parts(), Progress("metallb"))
    source = built["metallb"].folder / manifests.METALLB_SOURCE
    documents = [each for each in yaml.safe_load_all(source.read_text()) if each]
    return manifests.images_by_container(documents)
