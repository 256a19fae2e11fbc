from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from mesh_fixtures.artifacts import images, pulling
from mesh_fixtures.artifacts.cache import Cache, cache_root
from mesh_fixtures.artifacts.catalog import on_request
from mesh_fixtures.progress import Progress
from tests.released import faulty, registry
from tests.released.faulty import Front
from tests.released.registry import Registry

TAG = "1.31.1"


@dataclass(frozen=True)
class Parts:
    """What is built before the tests, in the user's cache.

    Attributes:
        archive: of the project's images without Istio's: small ones.
        image_pull: the program.
        registry: likewise.
    """

    archive: Path
    image_pull: Path
    registry: Path


@pytest.fixture(scope="session")
def parts() -> Parts:
    """What these tests take from the user's cache, which they do not change otherwise."""
    progress = Progress("released")
    wanted = {part.name: part for part in on_request()}
    needed = [images.WITHOUT_ISTIO, *wanted[images.WITHOUT_ISTIO].needs]
    built = Cache(cache_root()).ensure(
        [part for name, part in wanted.items() if name in needed], progress
    )
    archive = built[images.WITHOUT_ISTIO].folder / images.ARCHIVE
    return Parts(archive, pulling.ensure_program(progress), registry.program(progress))


@pytest.fixture(scope="session")
def serving(parts: Parts, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    """A registry with small images under the names of a release's."""
    with registry.running(parts.registry, tmp_path_factory.mktemp("registry")) as found:
        found.push(parts.archive, PUSHED)
        yield found


PUSHED = {
    images.PAUSE: (f"istio/pilot:{TAG}", f"istio/pilot:{TAG}-distroless"),
    images.COREDNS: (f"istio/proxyv2:{TAG}", f"istio/proxyv2:{TAG}-distroless"),
}
"""Which image stands for which."""


@pytest.fixture
def front(serving: Registry) -> Iterator[Front]:
    """A server before it whose answers can be tainted."""
    with faulty.before(serving) as found:
        yield found


@pytest.fixture
def own_cache(
    parts: Parts, serving: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Path:
    """An empty cache for this test, and the registry's password; returns the folder of pulls."""
    monkeypatch.setenv("DOCKER_CONFIG", str(serving.docker_config))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(pulling, "ensure_program", lambda progress: parts.image_pull)
    return cache_root() / pulling.PART


@pytest.fixture
def istioctl(tmp_path: Path, serving: Registry) -> Path:
    """A program that names images as the istioctl of a release does."""
    program = tmp_path / "istioctl"
    program.write_text(
        "#!/bin/sh\n"
        f"""[ "$1" = version ] && echo '{{"clientVersion": {{"version": "{TAG}"}}}}' && exit\n"""
        f"hub={serving.host}/istio tag={TAG} variant=\n"
        'for each; do case $each in hub=*|tag=*) eval "$each";; '
        "values.global.variant=*) variant=-${each#*=};; esac; done\n"
        "cat <<END\n"
        "kind: Deployment\n"
        "spec: {template: {spec: {containers: [{image: '$hub/pilot:$tag$variant'}]}}}\n"
        "END\n"
    )
    program.chmod(0o755)
    return program
