"""Gives a person a lab with the mesh and the sample workloads, for trying things by hand."""

from __future__ import annotations

import os
import shlex
from argparse import ArgumentParser, Namespace

from mesh_fixtures import flow, providers
from mesh_fixtures.commands import (
    add_patience,
    add_provider,
    add_scenarios_folder,
    choice,
    find_scenario,
)
from mesh_fixtures.interruption import interruption
from mesh_fixtures.lab.provider import Lab
from mesh_fixtures.progress import Progress, Sink

SUMMARY = "bring up a scenario's clusters, mesh and sample workloads, and leave them running"


def add(parser: ArgumentParser) -> None:
    parser.add_argument("scenario", help="id of a scenario, or its file")
    add_scenarios_folder(parser)
    add_provider(parser)
    add_patience(parser)
    parser.epilog = (
        "Where such a lab runs already, it is taken over and its use is printed again. "
        "`down` removes it."
    )


def run(arguments: Namespace, sink: Sink) -> int:
    scenario = find_scenario(arguments.scenario, arguments)
    provider = providers.make(choice(arguments))
    providers.check_machine(provider)
    progress = Progress(scenario.id, sink)
    with interruption.holding():
        lab = provider.open(scenario, progress, reuse=True)
        # a lab that somebody kept is theirs, whatever happens here
        up = lab.installed
        try:
            flow.bring_up(lab, progress)
            up = True
        finally:
            with interruption.removing():
                lab.close(keep=up)
    print(instructions(lab))
    return 0


def instructions(lab: Lab) -> str:
    """How to use a lab."""
    from mesh_fixtures.workloads import hello

    first, last = next(iter(lab.clusters)), list(lab.clusters)[-1]
    programs = (lab.tools.kubectl, lab.tools.istioctl, lab.tools.helm)
    folders = dict.fromkeys(str(program.parent) for program in programs if program is not None)
    path = shlex.quote(os.pathsep.join(folders))
    namespace = lab.sample_namespace
    curl = f"curl -sS '{hello(namespace)}?[1-10]'"
    return "\n".join(
        (
            f"{lab.scenario.id} is up; its contexts are {', '.join(lab.clusters)}. For example:",
            "",
            f"  export KUBECONFIG={shlex.quote(str(lab.kubeconfig))} PATH={path}:$PATH",
            f"  kubectl --context={first} -n {namespace} exec deploy/sleep -- {curl}",
            f"  istioctl --context={last} proxy-status",
            "",
            f"Remove it: mesh-conformance down {lab.scenario.id}",
        )
    )
