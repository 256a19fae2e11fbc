"""Loads images into the nodes of a lab, which pull none."""

from __future__ import annotations

import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from mesh_fixtures.commands import add_patience, id_of
from mesh_fixtures.errors import LabError
from mesh_fixtures.interruption import interruption
from mesh_fixtures.progress import Progress, Sink

if TYPE_CHECKING:
    from mesh_fixtures.records import Record

SUMMARY = "load images from archives into every node of a lab"


def add(parser: ArgumentParser) -> None:
    parser.add_argument(
        "archives",
        metavar="ARCHIVE",
        nargs="+",
        type=Path,
        help="written by docker save, podman save, buildah or skopeo; plain or compressed by gzip",
    )
    parser.add_argument(
        "--lab",
        metavar="ID",
        help="id of the lab's scenario, or the lab's own (default: the only lab there is)",
    )
    add_patience(parser)
    parser.epilog = (
        "A lab's nodes pull no images. Pods use loaded ones by the names that are printed, with "
        "imagePullPolicy IfNotPresent or Never."
    )


def run(arguments: Namespace, sink: Sink) -> int:
    from mesh_fixtures import records
    from mesh_fixtures.lab import image_archives

    archives = [image_archives.read_archive(path) for path in arguments.archives]
    record = find_lab(records.load_all(), id_of(arguments.lab) if arguments.lab else None)
    progress = Progress(record.scenario, sink)
    with interruption.holding():
        for archive in archives:
            with progress.phase("load", detail=archive.path.name):
                image_archives.load(record, archive)
    for archive in archives:
        print(*archive.images.values(), sep="\n")
    print(f"loaded into every node of {record.id} ({record.scenario})", file=sys.stderr)
    return 0


def find_lab(records: Sequence[Record], wanted: str | None) -> Record:
    """The lab that is meant.

    Args:
        wanted: id of a lab or of its scenario; None for the only one there is.

    Raises:
        LabError: there is none, or more than one.
    """
    running = [each for each in records if each.booted]
    found = [each for each in running if wanted in (None, each.id, each.scenario)]
    if len(found) == 1:
        return found[0]
    raise LabError(
        wanted=f"a lab of {wanted}" if wanted else "one lab",
        seen=", ".join(f"{each.id} ({each.scenario})" for each in running) or "none",
        where="labs of this machine",
        remedy="name one of these by --lab"
        if running
        else "make one: mesh-conformance up ID, with --bare for clusters without a mesh",
    )
