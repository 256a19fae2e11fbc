"""Prints the runbook of a scenario; needs no cluster."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from mesh_fixtures import flow, providers
from mesh_fixtures.commands import add_scenarios_folder, find_scenario
from mesh_fixtures.progress import Sink

SUMMARY = "print the installation of a scenario as a runbook to follow by hand"


def add(parser: ArgumentParser) -> None:
    parser.add_argument("scenario", help="id of a scenario, or its file")
    add_scenarios_folder(parser)
    parser.epilog = "Needs neither root nor a cluster. `certificates` makes what it asks for."


def run(arguments: Namespace, sink: Sink) -> int:
    del sink
    print(flow.runbook(find_scenario(arguments.scenario, arguments), providers.images_of()), end="")
    return 0
