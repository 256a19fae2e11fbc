"""Says what this machine, or somebody else's cluster, lacks, and the command that mends it."""

from __future__ import annotations

import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Sequence

from mesh_fixtures import providers
from mesh_fixtures.artifacts.parts import Part
from mesh_fixtures.commands import add_kubeconfigs, add_patience, add_provider, choice
from mesh_fixtures.errors import MachineError
from mesh_fixtures.lab.provider import Problem
from mesh_fixtures.progress import Sink

SUMMARY = "list what this machine lacks, and the command that mends it"

_OLDEST_PYTHON = (3, 11)


def add(parser: ArgumentParser) -> None:
    add_provider(parser, foreign=True)
    add_kubeconfigs(parser)
    add_patience(parser)
    parser.epilog = (
        "Changes nothing. With --kubeconfig, asks each cluster whether it permits what verifying "
        "its mesh takes. Exit status 1: something is missing."
    )


def run(arguments: Namespace, sink: Sink) -> int:
    del sink
    asked = choice(arguments, foreign=True)
    try:
        print(f"provider: {providers.choose(asked)}")
    except MachineError as error:
        print(f"missing: {error.wanted}; there is {error.seen}")
        print(f"   mend: {error.remedy}")
        return 1
    found = problems(asked)
    for problem in found:
        print(f"missing: {problem.missing}")
        if problem.without:
            print(f"without: {problem.without} cannot be verified, all else can")
        print(f"   mend: {problem.remedy or '(nothing known)'}")
    if not found:
        print("nothing is missing")
    return 1 if any(not problem.without for problem in found) else 0


def problems(asked: providers.Choice) -> Sequence[Problem]:
    """Everything that a provider lacks here, most basic first.

    Raises:
        MachineError: no provider fits this machine, or it cannot do what is asked for.
    """
    found: list[Problem] = []
    if sys.version_info < _OLDEST_PYTHON:
        version = ".".join(map(str, _OLDEST_PYTHON))
        found.append(Problem(f"Python {version}", f"apt-get install -y python{version}"))
    unfit = providers.embedded_lacks() if providers.choose(asked).name == "netns" else ()
    found.extend(unfit)
    if not unfit:
        from mesh_fixtures.artifacts import build

        found.extend(providers.make(asked).problems())
        if providers.builds(asked):
            found.extend(build.problems(parts=_parts(asked)))
    return tuple(dict.fromkeys(found))


def _parts(asked: providers.Choice) -> list[Part]:
    """What is built of what labs are made of."""
    from mesh_fixtures.artifacts import catalog, helm, versions

    is_embedded = providers.choose(asked).name == "netns"
    kubernetes = providers.embedded_kubernetes(asked.kubernetes) if is_embedded else ""
    parts = [*catalog.parts(kubernetes or versions.KUBERNETES)]
    if asked.method == providers.HELM:
        parts += helm.parts()
    return parts
