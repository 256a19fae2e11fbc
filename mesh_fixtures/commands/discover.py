"""Describes the mesh that somebody else installed, as a scenario."""

from __future__ import annotations

import sys
from argparse import ArgumentParser, Namespace

from mesh_fixtures import providers
from mesh_fixtures.commands import add_kubeconfigs, add_patience, references
from mesh_fixtures.progress import Sink
from mesh_fixtures.scenario import as_yaml

SUMMARY = "print the scenario of a mesh that is installed in clusters of somebody else's"


def add(parser: ArgumentParser) -> None:
    add_kubeconfigs(parser)
    add_patience(parser)
    parser.epilog = (
        "Changes nothing. Give all clusters of the mesh. What is printed is a scenario file; what "
        "contradicts each other in the clusters is told beside it. It says what is there, not what "
        "should be there: read it before a mesh is held to it."
    )


def run(arguments: Namespace, sink: Sink) -> int:
    del sink
    from mesh_fixtures.lab.kubeconfig.discovery import discover

    kubeconfigs = references(arguments)
    provider = providers.make(providers.Choice(providers.KUBECONFIG, kubeconfigs=kubeconfigs))
    providers.check_machine(provider)
    found = discover(kubeconfigs)
    for note in found.notes:
        print(f"note: {note}", file=sys.stderr)
    print(as_yaml(found.scenario), end="")
    return 0
