"""SPREAD-1: no pod answers alone. A requirement of another project than mesh-conformance."""

from collections import Counter

from mesh_fixtures.requirements import ObservedMesh, Outcome, Requirement
from mesh_fixtures.verdict.findings import Finding

MOST = 0.9


def judge(mesh: ObservedMesh) -> Outcome:
    findings, figures = [], {}
    for cluster, sample in mesh.traffic.items():
        counts = Counter(answer.instance for answer in sample.answers)
        (busiest, most), *_ = counts.most_common(1) or [("none", 0)]
        share = most / max(len(sample.answers), 1)
        figures[f"{cluster}.busiest"] = share
        if share > MOST or not counts:
            expected = f"no pod to give more than {MOST:.0%} of the answers"
            seen = f"{busiest} with {share:.0%} of {len(sample.answers)}"
            findings.append(Finding(cluster, expected, seen, sample.source))
    return Outcome.judged(findings, figures)


REQUIREMENT = Requirement(
    id="SPREAD-1",
    level="extended",
    title="No pod of HelloWorld gives nearly all answers.",
    judge=judge,
    section="Our service levels: Load balancing",
    url="https://mesh.example/service-levels#load-balancing",
    needs="traffic",
    rests_on=("TRAFFIC-1",),
    features=("multi-cluster",),
)


def pytest_mesh_requirements() -> list[Requirement]:
    return [REQUIREMENT]
