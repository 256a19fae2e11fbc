"""Looks at an existing mesh within seconds, and makes nothing in it: for a monitor, and for people
who want to know before they verify.
"""

from __future__ import annotations

import json
import sys
import time
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from mesh_fixtures import providers
from mesh_fixtures.commands import (
    add_external,
    add_patience,
    add_scenarios_folder,
    find_scenario,
    own,
)
from mesh_fixtures.contract import Lab, Provider
from mesh_fixtures.errors import MeshConformanceError
from mesh_fixtures.options import Choice
from mesh_fixtures.progress import Sink
from mesh_fixtures.scenario import Scenario

if TYPE_CHECKING:
    from mesh_fixtures.diagnosis.cause import Diagnosis, RootCause
    from mesh_fixtures.requirements import Outcome

SUMMARY = "look at an existing mesh within seconds, without making anything in it"

OUTPUTS: Final = ("text", "json")
KIND: Final = "MeshCheck"

NOT_MET: Final = 1
NOT_CHECKED: Final = 4
"""As `verify`: it cannot be run as given."""

SETTLING_SECONDS: Final = 1.5
"""For what is on its way between an istiod and its proxies."""


def add(parser: ArgumentParser) -> None:
    parser.add_argument(
        "scenario",
        nargs="?",
        default="",
        help="id or file of the scenario that describes the mesh (default: the discovered one)",
    )
    parser.add_argument(
        "--output", choices=OUTPUTS, default=OUTPUTS[0], help="form of the result (default: text)"
    )
    add_scenarios_folder(parser)
    add_external(parser)
    add_patience(parser)
    parser.epilog = (
        "Changes nothing, and sends no requests through the mesh: what that takes is for verify. "
        "Exit status: 0: what was checked is met, 1: not so, 4: cannot be checked as given."
    )


def run(arguments: Namespace, sink: Sink) -> int:
    del sink
    begun = time.monotonic()
    try:
        provider, scenario, notes = _mesh(arguments)
        with provider.read_only(scenario) as lab:
            seen = check(lab)
    except MeshConformanceError as error:
        print(error, file=sys.stderr)
        return NOT_CHECKED
    for note in notes:
        print(f"note: {note}", file=sys.stderr)
    seconds = time.monotonic() - begun
    if arguments.output == "json":
        print(json.dumps(as_json(seen, seconds), indent=2))
    else:
        print(*as_text(seen, seconds), sep="\n")
    return 0 if seen.result == "met" else NOT_MET


def _mesh(arguments: Namespace) -> tuple[Provider, Scenario, tuple[str, ...]]:
    """The clusters, what describes their mesh, and what is odd about it."""
    (default, *_) = providers.names(external=True)
    asked = Choice(own=own(arguments, external=True))
    provider = providers.make(
        asked if providers.is_external(asked) else replace(asked, provider=default)
    )
    if arguments.scenario:
        return provider, find_scenario(arguments.scenario, arguments), ()
    found = provider.discover(forwards=True)
    return provider, found.scenario, found.notes


@dataclass(frozen=True)
class Seen:
    """What a look at a mesh has shown.

    Attributes:
        outcomes: by id of the requirement, in the order of reports.
    """

    scenario: Scenario
    outcomes: Mapping[str, Outcome]
    diagnosis: Diagnosis

    @property
    def result(self) -> str:
        """`unmet` where one is, else `inconclusive` where one is, else `met`."""
        results = {each.result for each in self.outcomes.values()}
        return next((each for each in ("unmet", "inconclusive") if each in results), "met")


def check(lab: Lab) -> Seen:
    """Look at the mesh of a lab without sample workloads."""
    from mesh_fixtures.diagnosis import Diagnosis, diagnose, gather
    from mesh_fixtures.parallel import parallel_map
    from mesh_fixtures.probe.view import MeshView
    from mesh_fixtures.requirements import ObservedMesh, applicable

    with MeshView(lab, forwards=True) as view:
        mesh = ObservedMesh(view, requests=0, settling_seconds=SETTLING_SECONDS, has_samples=False)
        asked = {each.id: each for each in applicable(lab.scenario) if each.without_samples}
        outcomes = parallel_map(lambda each: asked[each].check(mesh), asked)
        failures = {name: seen.findings for name, seen in outcomes.items() if seen.result != "met"}
        diagnosis = Diagnosis()
        if failures:
            facts = replace(gather(view), sample_namespace="")
            diagnosis = diagnose(lab.scenario, facts, failures)
    return Seen(lab.scenario, outcomes, diagnosis)


def as_text(seen: Seen, seconds: float) -> Iterator[str]:
    """The result for people."""
    from mesh_fixtures.diagnosis import explained

    for name, outcome in seen.outcomes.items():
        yield f"{name} {outcome.result}"
        for line in (*outcome.findings, *([outcome.trouble] if outcome.trouble else [])):
            yield f"  {line}"
    yield from explained(seen.diagnosis)
    yield f"{seen.scenario.id}: {seen.result}, {seconds:.1f} s"


def as_json(seen: Seen, seconds: float) -> Mapping[str, Any]:
    """The result for programs."""
    from mesh_fixtures.report.document import API_VERSION

    return {
        "apiVersion": API_VERSION,
        "kind": KIND,
        "topology": seen.scenario.id,
        "clusters": [each.name for each in seen.scenario.clusters],
        "result": seen.result,
        "seconds": round(seconds, 3),
        "requirements": [
            {
                "id": name,
                "result": outcome.result,
                "findings": [
                    {
                        "cluster": each.cluster,
                        "expected": each.expected,
                        "seen": each.seen,
                        "asked": each.source.asked if each.source else "",
                    }
                    for each in outcome.findings
                ],
                "trouble": str(outcome.trouble or ""),
            }
            for name, outcome in seen.outcomes.items()
        ],
        "causes": [_cause(each) for each in seen.diagnosis.roots],
    }


def _cause(root: RootCause) -> Mapping[str, Any]:
    from mesh_fixtures.guide import cause_entry

    return {
        "id": root.id,
        "certainty": root.certainty,
        "clusters": list(root.cause.clusters),
        "statement": root.cause.statement,
        "evidence": [{"seen": each.seen, "asked": each.source} for each in root.cause.evidence],
        "remedy": root.cause.remedy,
        "consequences": list(root.consequences),
        "more": cause_entry(root.id),
    }
