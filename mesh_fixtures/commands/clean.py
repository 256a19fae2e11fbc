"""Removes what runs that were killed left behind."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from mesh_fixtures.commands import add_patience, add_progress
from mesh_fixtures.interruption import interruption
from mesh_fixtures.progress import Progress, Sink
from mesh_fixtures.session.exchange import remove_abandoned

SUMMARY = "remove what runs that were killed left on this machine; kept labs stay"


def add(parser: ArgumentParser) -> None:
    add_patience(parser)
    add_progress(parser)
    parser.epilog = "Looks after labs of the same user only. `down` removes kept labs."


def run(arguments: Namespace, sink: Sink) -> int:
    del arguments
    from mesh_fixtures.lab.upkeep import clean_abandoned

    with interruption.holding(), interruption.removing():
        exchanges = [f"exchange {name}" for name in remove_abandoned()]
        labs = clean_abandoned(Progress("clean", sink))
    removed = (*labs.removed, *exchanges)
    print(f"removed: {', '.join(removed) or 'nothing, all was clean'}")
    for lab, reason in labs.left_alone:
        print(f"left alone: {lab} ({reason})")
    return 0
