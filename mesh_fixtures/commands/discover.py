"""Describes an existing mesh as a scenario."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from dataclasses import replace

from mesh_fixtures import providers
from mesh_fixtures.commands import add_external, add_patience, own, tell
from mesh_fixtures.options import Choice
from mesh_fixtures.progress import Sink
from mesh_fixtures.scenario import as_yaml

SUMMARY = "show the discovered scenario of an existing mesh"


def add(parser: ArgumentParser) -> None:
    add_external(parser)
    add_patience(parser)
    parser.epilog = (
        "Changes nothing. Give all clusters of the mesh. The output is a scenario file; "
        "contradictions between the clusters go to standard error. It describes what exists, not "
        "what should: read it before you verify a mesh against it."
    )


def run(arguments: Namespace, sink: Sink) -> int:
    del sink
    (default, *_) = providers.names(external=True)
    asked = Choice(own=own(arguments, external=True))
    provider = providers.make(
        asked if providers.is_external(asked) else replace(asked, provider=default)
    )
    providers.check_machine(provider)
    found = provider.discover()
    for note in found.notes:
        tell(f"note: {note}", arguments)
    print(as_yaml(found.scenario), end="")
    return 0
