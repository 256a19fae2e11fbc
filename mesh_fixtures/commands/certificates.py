"""Makes the certificates that a runbook asks for."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path

from mesh_fixtures.commands import add_scenarios_folder, find_scenario
from mesh_fixtures.progress import Sink

SUMMARY = "make a root and an intermediate certificate for each cluster of a scenario"


def add(parser: ArgumentParser) -> None:
    parser.add_argument("scenario", help="id of a scenario, or its file")
    parser.add_argument(
        "--into",
        metavar="DIR",
        type=Path,
        default=Path(),
        help="where the folder certs/ is made (default: here)",
    )
    add_scenarios_folder(parser)
    parser.epilog = "Run the commands of the runbook, which `plan` prints, in the same folder."


def run(arguments: Namespace, sink: Sink) -> int:
    del sink
    from mesh_fixtures.install.certificates import write_certificates

    print(write_certificates(find_scenario(arguments.scenario, arguments), arguments.into))
    return 0
