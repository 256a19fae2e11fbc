"""Imports images into the nodes of a lab that runs, by the nodes' own containerd."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from typing import IO, Final, cast

from mesh_fixtures import runner
from mesh_fixtures.errors import LabError
from mesh_fixtures.lab.image_archives import ImageArchive
from mesh_fixtures.lab.processes import is_alive
from mesh_fixtures.lab.state import Record
from mesh_fixtures.patience import patient

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
    nodes = [*_nodes(record)]
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


def _nodes(record: Record) -> Iterator[tuple[str, Sequence[str]]]:
    """Each node, and the prefix of a command that runs in it."""
    if record.provider == "kind":
        from mesh_fixtures.lab.kind.configuration import cluster_name
        from mesh_fixtures.lab.kind.engine import Engine, Name

        engine = Engine(cast("Name", record.engine))
        for container in engine.containers(cluster_name(record.id, "")):
            yield container.name, (engine.name, "exec", "--interactive", container.id)
    for entry in record.journal.entries():
        if entry.kind == "process" and is_alive(entry.pid, entry.started):
            kind, _, node = entry.name.partition(" ")
            if kind == "node":
                yield node, ("nsenter", f"--mount=/proc/{entry.pid}/ns/mnt", "--")


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
