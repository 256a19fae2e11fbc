"""Prints the runbook of a scenario; needs no cluster."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from mesh_fixtures import flow
from mesh_fixtures.commands import add_provider, add_scenarios_folder, choice, find_scenario
from mesh_fixtures.progress import Sink

SUMMARY = "print the installation of a scenario as a runbook to follow by hand"


def add(parser: ArgumentParser) -> None:
    parser.add_argument("scenario", help="id of a scenario, or its file")
    add_scenarios_folder(parser)
    add_provider(parser)
    parser.epilog = "Needs neither root nor a cluster. `certificates` makes what it asks for."


def run(arguments: Namespace, sink: Sink) -> int:
    del sink
    scenario = find_scenario(arguments.scenario, arguments)
    print(flow.runbooks_of(choice(arguments))(scenario), end="")
    return 0
