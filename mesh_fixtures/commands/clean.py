"""Removes what runs that were killed left behind."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from mesh_fixtures import providers
from mesh_fixtures.interruption import interruption
from mesh_fixtures.progress import Progress, Sink

SUMMARY = "remove what runs that were killed left on this machine; kept labs stay"


def add(parser: ArgumentParser) -> None:
    del parser


def run(arguments: Namespace, sink: Sink) -> int:
    del arguments
    providers.make()
    from mesh_fixtures.lab.netns import clean_abandoned

    with interruption.holding(), interruption.removing():
        cleaned = clean_abandoned(Progress("clean", sink))
    print(f"removed: {', '.join(cleaned.removed) or 'nothing, all was clean'}")
    for lab, reason in cleaned.left_alone:
        print(f"left alone: {lab} ({reason})")
    return 0
