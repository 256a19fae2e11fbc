"""All parts of the environment, and where they are kept."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from mesh_fixtures.artifacts import catalog, gobuild
from mesh_fixtures.artifacts.cache import cache_root
from mesh_fixtures.artifacts.parts import Part
from tests.kind_environment import node_image, node_programs, packages, podman_image
from tests.kind_environment.world import Engine


def parts(engine: Engine = "docker") -> tuple[Part, ...]:
    """The project's parts and the environment's own, each after those that it needs."""
    of_podman = (packages.podman(), podman_image.podman_image())
    return (
        *catalog.parts(),
        gobuild.kind().part(),
        packages.packages(),
        node_programs.kubeadm_and_crictl().part(),
        node_programs.coredns().part(),
        node_image.node_image(),
        *(of_podman if engine == "podman" else ()),
    )


def programs(folders: Mapping[str, Path], engine: Engine) -> dict[str, Path]:
    """Programs that the command inside finds first, by name; `podman` adds its own.

    Args:
        folders: of the parts, by name.
    """
    docker = folders[packages.NAME] / "engine/usr/bin/docker"
    return {
        **({"docker": docker} if engine == "docker" else {}),
        "kind": folders["kind"] / "kind",
        "kubectl": folders["programs"] / "kubectl",
    }


def home() -> Path:
    """Folder of environments that run, beside that of the parts."""
    return cache_root().parent / "kind-environment"
