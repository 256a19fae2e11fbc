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
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from mesh_fixtures import options, providers
from mesh_fixtures.commands import (
    add_external,
    add_patience,
    add_scenarios_folder,
    find_scenario,
    look_up,
    own,
    tell,
)
from mesh_fixtures.contract import Lab, Provider
from mesh_fixtures.errors import MachineError, MeshConformanceError
from mesh_fixtures.options import Choice
from mesh_fixtures.progress import Sink
from mesh_fixtures.scenario import Scenario

if TYPE_CHECKING:
    from mesh_fixtures.diagnosis.cause import Diagnosis, RootCause
    from mesh_fixtures.report.metrics import MetricSample
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
    options.declare(parser, options.METRICS)
    options.declare(parser, options.OTLP)
    parser.epilog = (
        "Changes nothing, and sends no requests through the mesh: what that takes is for verify. "
        "Exit status: 0: what was checked is met, 1: not so, 4: cannot be checked as given."
    )


def run(arguments: Namespace, sink: Sink) -> int:
    del sink
    began, begun = datetime.now(UTC), time.monotonic()
    try:
        metrics, endpoint = _metrics_wanted(arguments)
        provider, scenario, notes = _mesh(arguments)
        with provider.read_only(scenario) as lab:
            seen = check(lab)
    except MeshConformanceError as error:
        tell(error, arguments)
        return NOT_CHECKED
    for note in notes:
        tell(f"note: {note}", arguments)
    seconds = time.monotonic() - begun
    if arguments.output == "json":
        print(json.dumps(as_json(seen, seconds), indent=2))
    else:
        print(*as_text(seen, seconds), sep="\n")
    if metrics is not None or endpoint:
        from mesh_fixtures.report import otlp

        if warning := otlp.deliver(as_metrics(seen, provider.name, began), metrics, endpoint):
            print(f"warning: {warning}", file=sys.stderr)
    return 0 if seen.result == "met" else NOT_MET


def _metrics_wanted(arguments: Namespace) -> tuple[Path | None, str]:
    """The file for metrics, and where a collector takes them; None and empty where not wanted.

    Raises:
        MachineError: they cannot be written or sent there.
    """
    metrics, otlp = (look_up(arguments, each) for each in (options.METRICS, options.OTLP))
    file, url = metrics.path, otlp.single
    if file is None and not url:
        return None, ""
    from mesh_fixtures.report.document import require_writable
    from mesh_fixtures.report.otlp import endpoint_of

    try:
        if file is not None:
            require_writable(file)
    except OSError as error:
        seen, where = error.strerror or str(error), f"{metrics.source} {file}"
        raise MachineError(wanted="a file that can be written", seen=seen, where=where) from error
    try:
        return file, (endpoint_of(url) if url else "")
    except ValueError as error:
        raise MachineError(
            wanted="a collector's URL", seen=str(error), where=otlp.source
        ) from error


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
class CheckedMesh:
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


def check(lab: Lab) -> CheckedMesh:
    """Look at the mesh of a lab without sample workloads.

    Raises:
        DebugClosed: an istiod does not say what it knows.
    """
    from mesh_fixtures.diagnosis import Diagnosis, diagnose, gather
    from mesh_fixtures.parallel import parallel_map
    from mesh_fixtures.probe.istiod import require_debug
    from mesh_fixtures.probe.view import MeshView
    from mesh_fixtures.requirements import ObservedMesh, applicable

    with MeshView(lab, forwards=True) as view:
        view.each(require_debug, view.kube)
        mesh = ObservedMesh(view, requests=0, settling_seconds=SETTLING_SECONDS, has_samples=False)
        asked = {each.id: each for each in applicable(lab.scenario) if each.without_samples}
        outcomes = parallel_map(lambda each: asked[each].check(mesh), asked)
        failures = {name: seen.findings for name, seen in outcomes.items() if seen.result != "met"}
        diagnosis = Diagnosis()
        if failures:
            facts = replace(gather(view), sample_namespace="")
            diagnosis = diagnose(lab.scenario, facts, failures)
    return CheckedMesh(lab.scenario, outcomes, diagnosis)


def as_text(seen: CheckedMesh, seconds: float) -> Iterator[str]:
    """The result for people."""
    from mesh_fixtures.diagnosis import explained

    for name, outcome in seen.outcomes.items():
        yield f"{name} {outcome.result}"
        for line in (*outcome.findings, *([outcome.trouble] if outcome.trouble else [])):
            yield f"  {line}"
        for note in outcome.notes:
            yield f"  note: {note}"
    yield from explained(seen.diagnosis)
    yield f"{seen.scenario.id}: {seen.result}, {seconds:.1f} s"


def as_json(seen: CheckedMesh, seconds: float) -> Mapping[str, Any]:
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
                "notes": list(outcome.notes),
            }
            for name, outcome in seen.outcomes.items()
        ],
        "causes": [_cause(each) for each in seen.diagnosis.roots],
    }


def as_metrics(seen: CheckedMesh, provider: str, began: datetime) -> tuple[MetricSample, ...]:
    """The result for monitors, as of now.

    Args:
        provider: name of the clusters' provider.
        began: when the look at the mesh did.
    """
    from mesh_fixtures.report import cause_report, metrics
    from mesh_fixtures.report.model import Found, RequirementReport
    from mesh_fixtures.requirements import by_id

    mesh = metrics.MeshLabels("check", seen.scenario.id, provider, options.SKIP)
    looked_at = [
        RequirementReport(
            id=name,
            level=by_id(name).level,
            title=by_id(name).title,
            result=outcome.result,
            findings=tuple(
                Found(cluster=each.cluster, expected=each.expected, seen=each.seen)
                for each in outcome.findings
            ),
        )
        for name, outcome in seen.outcomes.items()
    ]
    clusters = [each.name for each in seen.scenario.clusters]
    causes = [cause_report(each) for each in seen.diagnosis.roots]
    return (
        *metrics.of_requirements(mesh, clusters, looked_at, causes),
        *metrics.of_run(mesh, began, datetime.now(UTC)),
    )


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
