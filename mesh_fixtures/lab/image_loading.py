"""Imports images into the nodes of a lab that runs, by the nodes' own containerd."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import IO, Final

from mesh_fixtures import providers, runner
from mesh_fixtures.errors import LabError
from mesh_fixtures.lab.image_archives import ImageArchive
from mesh_fixtures.patience import patient
from mesh_fixtures.records import Record

_SECONDS: Final = 300.0
_CTR: Final = ("ctr", "--namespace=k8s.io", "images")
_IMPORT: Final = (*_CTR, "import", "--snapshotter=overlayfs", "-")
_MANAGED: Final = "io.cri-containerd.image=managed"
"""The label by which the kubelet's garbage collection counts an image (containerd's CRI plugin)."""


def load(record: Record, archive: ImageArchive) -> None:
    """Import an archive into every node; images of the same names are replaced.

    Raises:
        LabError: a node refused it, or there is no node.
        OSError: the archive cannot be unpacked.
    """
    nodes = [*providers.by_name(record.provider).node_commands(record)]
    if not nodes:
        raise LabError(
            wanted=f"nodes of {record.id}",
            seen="none that is running",
            where=f"provider {record.provider}",
            remedy=f"mesh-conformance down {record.scenario}",
        )
    with archive.plain() as content:
        for name, enter in nodes:
            _run(name, [*enter, *_IMPORT], content)
            for imported, image in archive.images.items():
                if imported != image:
                    _run(name, [*enter, *_CTR, "tag", "--force", imported, image])
                _run(name, [*enter, *_CTR, "label", image, _MANAGED])


def _run(node: str, command: Sequence[str], content: IO[bytes] | None = None) -> None:
    """Run a command with `content`, from its start, as standard input."""
    if content is not None:
        os.lseek(content.fileno(), 0, os.SEEK_SET)
    runner.output_of(
        command,
        error=LabError,
        seconds=patient(_SECONDS),
        stdin="" if content is None else content,
        merged=True,
        wanted="images to be imported",
        where=node,
        remedy="write the archive again: it may be cut off, or of another processor architecture",
    )
