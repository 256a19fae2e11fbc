"""Gives a person a lab with the mesh and the sample workloads, for trying things by hand."""

from __future__ import annotations

import os
import shlex
import sys
from argparse import ArgumentParser, Namespace
from pathlib import Path

from mesh_fixtures import flow, options, providers
from mesh_fixtures.commands import (
    add_patience,
    add_progress,
    add_provider,
    add_scenarios_folder,
    choice,
    find_scenario,
    look_up,
)
from mesh_fixtures.contract import SYSTEM_NAMESPACE, Lab
from mesh_fixtures.interruption import interruption
from mesh_fixtures.progress import Progress, Sink, both
from mesh_fixtures.progress.tallies import StepTimes

SUMMARY = "bring up a scenario's clusters, mesh and sample workloads, and leave them running"

HOST, LAB = "host", "lab"
"""Whose addresses of the API servers a kubeconfig has."""


def add(parser: ArgumentParser) -> None:
    parser.add_argument("scenario", help="id of a scenario, or its file")
    add_scenarios_folder(parser)
    add_provider(parser)
    parser.add_argument(
        "--bare",
        action="store_true",
        help="clusters with DNS and load balancer only: no mesh, no sample workloads",
    )
    parser.add_argument(
        "--addresses",
        choices=(HOST, LAB),
        default=HOST,
        help="where the printed kubeconfig reaches API servers: on this machine's loopback, or at "
        "their own addresses inside the lab's networks (default: %(default)s)",
    )
    options.declare(parser, options.OVERLAP)
    options.declare(parser, options.APPLY)
    add_patience(parser)
    add_progress(parser)
    parser.epilog = (
        "Where such a lab runs already, it is taken over and its use is printed again. "
        "`down` removes it."
    )


def run(arguments: Namespace, sink: Sink) -> int:
    scenario = find_scenario(arguments.scenario, arguments)
    overlap = look_up(arguments, options.OVERLAP).single in options.ON
    chosen = choice(arguments)
    recorded = providers.is_recorded(chosen, look_up(arguments, options.APPLY))
    provider = providers.make(chosen)
    if not arguments.bare:
        flow.require_installable(
            scenario, chosen.methods, recorded=recorded, upgraded=bool(chosen.upgrade_from)
        )
    providers.check_machine(provider)
    times = StepTimes()
    progress = Progress(scenario.id, both(times, sink))
    with interruption.holding():
        lab = provider.open(scenario, progress.within("clusters"), reuse=True, bare=arguments.bare)
        # a lab that somebody kept is theirs, whatever happens here
        up = lab.kept
        try:
            if arguments.bare:
                lab.wait_ready()
            else:
                flow.bring_up(lab, progress, overlap=overlap, recorded=recorded)
            up = True
        finally:
            with interruption.removing():
                lab.close(keep=up)
    if not arguments.quiet:
        print(*times.summary("other"), sep="\n", file=sys.stderr)
    kubeconfig = lab.kubeconfig if arguments.addresses == HOST else write_lab_kubeconfig(lab)
    prefix = () if arguments.addresses == HOST else lab.network_command
    print(instructions(lab, kubeconfig, shlex.join(prefix), bare=arguments.bare))
    return 0


def write_lab_kubeconfig(lab: Lab) -> Path:
    """The lab's kubeconfig with the API servers' own addresses, in a file beside it."""
    from mesh_fixtures.certificates import write_private
    from mesh_fixtures.lab.pki import with_servers

    servers = {name: cluster.api_server or "" for name, cluster in lab.clusters.items()}
    file = lab.folder / "kubeconfig.lab"
    write_private(file, with_servers(lab.kubeconfig.read_text(), servers).encode())
    return file


def instructions(lab: Lab, kubeconfig: Path, prefix: str, *, bare: bool) -> str:
    """How to use a lab.

    Args:
        prefix: what commands are preceded by to reach the kubeconfig's addresses; empty for none.
    """
    from mesh_fixtures.workloads import hello

    first, last = next(iter(lab.clusters)), list(lab.clusters)[-1]
    programs = (lab.tools.kubectl, lab.tools.istioctl, lab.tools.helm)
    folders = dict.fromkeys(str(program.parent) for program in programs if program is not None)
    path = shlex.quote(os.pathsep.join(folders))
    namespace = lab.sample_namespace
    curl = f"curl -sS '{hello(namespace)}?[1-10]'"
    commands = (
        (f"kubectl --context={last} get pods --all-namespaces",)
        if bare
        else (
            f"kubectl --context={first} -n {namespace} exec deploy/sleep -- {curl}",
            f"istioctl --context={last}{_istio_namespace(lab)} proxy-status",
        )
    )
    return "\n".join(
        (
            f"{lab.scenario.id} is up; its contexts are {', '.join(lab.clusters)}. For example:",
            "",
            f"  export KUBECONFIG={shlex.quote(str(kubeconfig))} PATH={path}:$PATH",
            *(f"  {prefix} {command}" if prefix else f"  {command}" for command in commands),
            "",
            f"Remove it: mesh-conformance down {lab.scenario.id}",
        )
    )


def _istio_namespace(lab: Lab) -> str:
    """The option that tells istioctl where istiod is; empty where it knows."""
    namespace = lab.names.system_namespace
    return "" if namespace == SYSTEM_NAMESPACE else f" --istioNamespace={namespace}"
