"""LATENCY-1: a typical request is answered soon, from every cluster."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median

from mesh_fixtures.patience import patient
from mesh_fixtures.requirements import Figure, ObservedMesh, Outcome, Requirement
from mesh_fixtures.verdict.findings import Finding

SECONDS = 0.5


def judge(mesh: ObservedMesh) -> Outcome:
    findings: list[Finding] = []
    figures: dict[str, Figure] = {}
    for cluster, sample in mesh.traffic.items():
        if not sample.answers:
            findings.append(Finding(cluster, "answers of HelloWorld", "none", sample.source))
            continue
        seconds = median(answer.seconds for answer in sample.answers)
        figures[f"{cluster}.median_seconds"] = round(seconds, 3)
        if seconds > patient(SECONDS):
            expected = f"a median of at most {patient(SECONDS)} s"
            findings.append(Finding(cluster, expected, f"{seconds:.3f} s", sample.source))
    return Outcome.judged(findings, figures)


LATENCY_1 = Requirement(
    id="LATENCY-1",
    level="extended",
    title="From every cluster, half of the requests are answered within half a second.",
    judge=judge,
    needs="traffic",
    rests_on=("TRAFFIC-1",),
)


def pytest_mesh_requirements() -> Sequence[Requirement]:
    return [LATENCY_1]
