"""Removes labs that were kept."""

from __future__ import annotations

import sys
from argparse import ArgumentParser, Namespace

from mesh_fixtures.commands import add_patience, add_progress, id_of
from mesh_fixtures.interruption import interruption
from mesh_fixtures.progress import Progress, Sink

SUMMARY = "remove labs that were kept, by `up` or by pytest --mesh-keep"


def add(parser: ArgumentParser) -> None:
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("scenario", nargs="?", help="id of the scenario, or its file")
    which.add_argument("--all", action="store_true", help="remove all kept labs")
    add_patience(parser)
    add_progress(parser)


def run(arguments: Namespace, sink: Sink) -> int:
    from mesh_fixtures.lab.upkeep import take_down_kept

    topology = None if arguments.all else id_of(arguments.scenario)
    with interruption.holding(), interruption.removing():
        labs = take_down_kept(topology, Progress(topology or "all labs", sink))
    for lab, reason in labs.left_alone:
        print(f"left alone: {lab} ({reason})", file=sys.stderr)
    if topology and not labs.removed:
        print(f"no lab of {topology} is kept", file=sys.stderr)
        return 1
    print(f"removed: {', '.join(labs.removed) or 'nothing, none was kept'}")
    return 0
