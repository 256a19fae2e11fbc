"""All parts of the environment, and where they are kept."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from mesh_fixtures.artifacts import catalog, gobuild
from mesh_fixtures.artifacts.parts import Part
from tests.kind_environment import node_image, node_programs, packages


def parts() -> tuple[Part, ...]:
    """The project's parts and the environment's own, each after those that it needs."""
    return (
        *catalog.parts(),
        gobuild.kind().part(),
        packages.packages(),
        node_programs.kubeadm_and_crictl().part(),
        node_programs.coredns().part(),
        node_image.node_image(),
    )


def programs(folders: Mapping[str, Path]) -> dict[str, Path]:
    """Programs that the command inside finds first, by name.

    Args:
        folders: of the parts, by name.
    """
    return {
        "docker": folders[packages.NAME] / "engine/usr/bin/docker",
        "kind": folders["kind"] / "kind",
        "kubectl": folders["programs"] / "kubectl",
    }


def home() -> Path:
    """Folder of environments that run, beside that of the parts."""
    return catalog.cache_root().parent / "kind-environment"
