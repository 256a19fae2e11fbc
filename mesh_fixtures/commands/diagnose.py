"""Checks a kept lab's mesh by all requirements that change nothing, and says why some fail.

What rests on a requirement that fails is checked as well, as far as it can be: most of it often
works nevertheless. It is given less time.
"""

from __future__ import annotations

import sys
from argparse import ArgumentParser, Namespace
from math import inf
from pathlib import Path

from mesh_fixtures import providers, records
from mesh_fixtures.commands import (
    add_patience,
    add_progress,
    add_provider,
    add_scenarios_folder,
    choice,
    find_scenario,
)
from mesh_fixtures.contract import Lab
from mesh_fixtures.errors import LabError
from mesh_fixtures.interruption import interruption
from mesh_fixtures.options import WAYS, Choice
from mesh_fixtures.progress import Progress, Sink
from mesh_fixtures.scenario import Scenario

SUMMARY = "check the mesh of a kept lab, and say why requirements fail"

_REQUESTS = 200

_SETTLING_SECONDS = 3.0
"""For what rests on a requirement that fails to become as it must be."""


def add(parser: ArgumentParser) -> None:
    parser.add_argument("scenario", help="id of the scenario, or its file")
    parser.add_argument(
        "--report",
        metavar="DIR",
        type=Path,
        default=Path("mesh-report"),
        help="folder for the diagnostics bundle, written when a requirement fails (default: "
        "mesh-report)",
    )
    add_scenarios_folder(parser)
    add_provider(parser)
    add_patience(parser)
    add_progress(parser)
    parser.epilog = "Exit status 0: every requirement that could be checked is met; 1: not so."


def run(arguments: Namespace, sink: Sink) -> int:
    scenario = find_scenario(arguments.scenario, arguments)
    asked = choice(arguments)
    _require_kept(scenario, asked)
    provider = providers.make(asked)
    progress = Progress(scenario.id, sink)
    with interruption.holding():
        lab = provider.open(scenario, progress, reuse=True)
        kept = lab.installed
        try:
            if not kept:  # it was replaced meanwhile by one without a mesh
                raise _none_kept(scenario)
            return examine(lab, arguments.report, progress)
        finally:
            with interruption.removing():
                lab.close(keep=kept)


def examine(lab: Lab, reports: Path, progress: Progress) -> int:
    """Check a lab's mesh by all that applies and changes nothing, and print why some of it fails.

    Args:
        reports: folder for the diagnostics bundle.

    Returns:
        The exit status.
    """
    from mesh_fixtures.diagnosis import explained
    from mesh_fixtures.diagnosis.bundle import file_of, write_bundle
    from mesh_fixtures.diagnosis.diagnostician import Diagnostician, documents
    from mesh_fixtures.probe.view import MeshView
    from mesh_fixtures.requirements import ObservedMesh, observable
    from mesh_fixtures.requirements.registry import address, foundations

    with MeshView(lab) as view:
        mesh = ObservedMesh(view, requests=_REQUESTS)
        diagnostician = Diagnostician(mesh)
        failed: list[str] = []
        for requirement in observable(lab.scenario):
            below = [each for each in failed if each in foundations(requirement.id, lab.scenario)]
            mesh.settling_seconds = _SETTLING_SECONDS if below else inf
            with progress.phase(requirement.id):
                outcome = requirement.check(mesh)
            if outcome.result != "met":
                failed.append(requirement.id)
                diagnostician.failed(requirement.id, outcome.findings)
                if below and not outcome.findings:
                    why = f"it rests on {below[0]}, which fails: {outcome.trouble}"
                    print(f"{requirement.id} could not be checked: {why}", file=sys.stderr)
                    continue
                print(f"{requirement.id} {outcome.result}:", file=sys.stderr)
                for line in outcome.findings or (outcome.trouble,):
                    print(f"  {line}", file=sys.stderr)
                print(f"  more: {address(requirement.id)}", file=sys.stderr)
        if not failed:
            print(f"{lab.scenario.id}: every requirement is met")
            return 0
        causes = list(explained(diagnostician.diagnosis))
        print(*causes or ["nothing was found that keeps requirements from being checked"], sep="\n")
        file = file_of(reports, lab.scenario.id)
        with progress.phase("diagnostics bundle"):
            write_bundle(file, view, documents(diagnostician))
        print(f"diagnostics bundle: {file}")
    return 1


def _require_kept(scenario: Scenario, asked: Choice) -> None:
    """See to it that there is a lab to take over, so that none is made.

    Raises:
        LabError: there is none, or only one that was installed in another way.
    """
    with records.exclusive():
        kept = [
            record
            for record in records.load_all()
            if record.kept and record.installed and record.scenario_digest == scenario.digest
        ]
    if not kept:
        raise _none_kept(scenario)
    methods = sorted({record.method for record in kept} - {""})
    if methods and asked.methods.name not in methods:
        other = WAYS.get(methods[0])
        raise LabError(
            wanted=f"a kept lab of {scenario.id} whose mesh was installed by {asked.methods}",
            seen=f"one whose mesh was installed by {other or methods[0]}",
            where="this machine",
            remedy=f"add {other.flags}" if other else "",
        )


def _none_kept(scenario: Scenario) -> LabError:
    return LabError(
        wanted=f"a kept lab of {scenario.id} with a mesh",
        seen="none",
        where="this machine",
        remedy=f"mesh-conformance up {scenario.id}, or pytest --mesh-keep failed",
    )
