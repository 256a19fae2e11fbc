"""The image of kind's nodes in a store for Podman, from Docker's."""

from __future__ import annotations

from typing import Final

from mesh_fixtures.artifacts.parts import Part, Work
from mesh_fixtures.errors import ArtifactError
from tests.kind_environment import node_image, packages

NAME: Final = "kind-podman-image"


def podman_image() -> Part:
    """The part with `node_image.IMAGE`, a store that Podman reads beside its own.

    Source: containers-storage.conf(5), additionalimagestores.
    """
    return Part(
        name=NAME,
        inputs={
            "image": " ".join((node_image.IMAGE, *node_image.changes("podman"))),
            "revision": "1",
        },
        build=_build,
        needs=("debian", packages.PODMAN, node_image.NAME),
        seconds=600.0,
    )


def _build(work: Work) -> None:
    stored = [*(work.needs[node_image.NAME] / "overlay2").glob("*/diff")]
    if len(stored) != 1:
        raise ArtifactError(
            wanted="a node image of one layer",
            seen=f"{len(stored)} layers",
            where=str(work.needs[node_image.NAME]),
            remedy="podman_image.py and node_image.py must change together",
        )
    world = node_image.import_archive(work, node_image.pack(work, stored[0]), "podman")
    for folder in world.podman_root.glob("overlay*"):
        folder.rename(work.into / folder.name)
