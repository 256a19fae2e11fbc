"""Removes labs that were kept."""

from __future__ import annotations

import sys
from argparse import ArgumentParser, Namespace

from mesh_fixtures import providers
from mesh_fixtures.interruption import interruption
from mesh_fixtures.progress import Progress, Sink

SUMMARY = "remove labs that were kept, by `up` or by pytest --mesh-keep"


def add(parser: ArgumentParser) -> None:
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("scenario", nargs="?", help="id of the scenario whose labs are removed")
    which.add_argument("--all", action="store_true", help="remove all kept labs")


def run(arguments: Namespace, sink: Sink) -> int:
    providers.make()
    from mesh_fixtures.lab.netns import take_down_kept

    subject = arguments.scenario or "all labs"
    with interruption.holding(), interruption.removing():
        removed = take_down_kept(arguments.scenario, Progress(subject, sink))
    if not removed and arguments.scenario:
        print(f"no lab of {arguments.scenario} is kept", file=sys.stderr)
        return 1
    print(f"removed: {', '.join(removed) or 'nothing, none was kept'}")
    return 0
