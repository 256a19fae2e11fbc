"""Lists what is missing on this machine, or in existing clusters, and the command that fixes it."""

from __future__ import annotations

import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Sequence

from mesh_fixtures import providers
from mesh_fixtures.commands import add_patience, add_provider, choice, with_own_flags
from mesh_fixtures.contract import Problem
from mesh_fixtures.errors import MachineError
from mesh_fixtures.options import Choice
from mesh_fixtures.progress import Sink

SUMMARY = "list what is missing on this machine, and the command that fixes it"

_OLDEST_PYTHON = (3, 11)


def add(parser: ArgumentParser) -> None:
    add_provider(parser, external=True)
    add_patience(parser)
    parser.epilog = (
        "Changes nothing. With --kubeconfig, asks each cluster whether it permits what verifying "
        "its mesh takes. Exit status 1: something is missing."
    )


def run(arguments: Namespace, sink: Sink) -> int:
    del sink
    asked = choice(arguments, external=True)
    try:
        print(f"provider: {providers.choose(asked)}")
    except MachineError as error:
        print(f"missing: {error.wanted}; there is {error.seen}")
        print(f"    fix: {with_own_flags(error.remedy, vars(arguments))}")
        return 1
    found = problems(asked)
    for problem in found:
        print(f"missing: {problem.missing}")
        if problem.impact:
            print(f" impact: {problem.impact} cannot be verified, all else can")
        fix = with_own_flags(problem.remedy, vars(arguments))
        print(f"    fix: {fix or '(nothing known)'}")
    if not found:
        print("nothing is missing")
    return 1 if any(not problem.impact for problem in found) else 0


def problems(asked: Choice) -> Sequence[Problem]:
    """Everything that is missing for a provider here, most basic first.

    Raises:
        MachineError: no provider fits this machine, or it cannot do what is asked for.
    """
    found: list[Problem] = []
    if sys.version_info < _OLDEST_PYTHON:
        version = ".".join(map(str, _OLDEST_PYTHON))
        found.append(Problem(f"Python {version}", f"apt-get install -y python{version}"))
    provider = providers.make(asked)
    found.extend(provider.problems())
    if not found:
        found.extend(provider.problems_of_building())
    return tuple(dict.fromkeys(found))
