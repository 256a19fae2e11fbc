"""The image of kind's nodes in a store for Podman, from Docker's."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from mesh_fixtures.artifacts.parts import Part, Work
from mesh_fixtures.errors import ArtifactError
from tests.kind_environment import isolation, node_image, packages
from tests.kind_environment.world import World

NAME: Final = "kind-podman-image"


def podman_image() -> Part:
    """The part with `node_image.IMAGE`, a store that Podman reads beside its own.

    Source: containers-storage.conf(5), additionalimagestores.
    """
    return Part(
        name=NAME,
        inputs={"image": " ".join((node_image.IMAGE, *_changes())), "revision": "1"},
        build=_build,
        needs=("debian", packages.PODMAN, node_image.NAME),
        seconds=600.0,
    )


def lowers(folders: Mapping[str, Path]) -> list[str]:
    """Layers of the root in which Podman runs.

    Args:
        folders: of the parts, by name.
    """
    debian = folders["debian"]
    return [
        str(each)
        for each in (folders[packages.PODMAN] / "engine", debian / "node", debian / "base")
    ]


def _changes() -> list[str]:
    return [*node_image.CHANGES, "ENV container=podman"]


def _build(work: Work) -> None:
    stored = [*(work.needs[node_image.NAME] / "overlay2").glob("*/diff")]
    if len(stored) != 1:
        raise ArtifactError(
            wanted="a node image of one layer",
            seen=f"{len(stored)} layers",
            where=str(work.needs[node_image.NAME]),
            remedy="podman_image.py and node_image.py must change together",
        )
    archive = work.scratch / "node.tar"
    work.run(
        ["tar", "--directory", stored[0], "--create", "--file", archive, "."], what="to pack a node"
    )
    folder = work.scratch / "engine"
    folder.mkdir()
    changes = [f"--change={each}" for each in _changes()]
    world = World(
        folder=str(folder),
        lowers=lowers(work.needs),
        cgroup=f"{isolation.CGROUP}-build",  # never made: no container is started
        command=["podman", "import", *changes, str(archive), node_image.IMAGE],
        directory="/",
        engine="podman",
        environment={"PATH": f"{folder / 'bin'}:{os.defpath}"},
    )
    work.run(
        isolation.command_of(world),
        what="to import the image of a node with Podman",
        remedy="`mesh-conformance doctor` says what this machine lacks",
    )
    for stored_folder in world.podman_root.glob("overlay*"):
        stored_folder.rename(work.into / stored_folder.name)
