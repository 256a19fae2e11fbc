"""TRAFFIC-1: HelloWorld answers from every cluster."""

from __future__ import annotations

from collections.abc import Iterator

from mesh_fixtures.probe.traffic import TrafficSample
from mesh_fixtures.requirements.observed import ObservedMesh
from mesh_fixtures.requirements.requirement import Figure, Outcome, Requirement
from mesh_fixtures.scenario import Scenario
from mesh_fixtures.verdict.findings import Finding, Subject


def judge(mesh: ObservedMesh) -> Outcome:
    figures: dict[str, Figure] = {}
    for cluster, sample in mesh.traffic.items():
        figures[f"{cluster}.requests"] = sample.sent
        figures[f"{cluster}.failures"] = len(sample.failures)
        figures[f"{cluster}.requests_per_second"] = round(sample.per_second, 1)
        for version, count in sample.versions.items():
            figures[f"{cluster}.answers.{version}"] = count
    return Outcome.judged(
        (finding for sample in mesh.traffic.values() for finding in _judged(mesh.scenario, sample)),
        figures,
    )


def _judged(scenario: Scenario, sample: TrafficSample) -> Iterator[Finding]:
    about = _unreached(scenario, sample)
    if sample.failures or sample.cut_short:
        expected = f"{sample.requested} requests without an error"
        seen = f"{len(sample.failures)} errors in {sample.sent} requests"
        if sample.cut_short:
            seen += " before the time was over"
        shown = "; ".join(map(str, sample.failures[:3]))
        yield Finding(sample.cluster, expected, f"{seen}: {shown}", sample.source, about)
    wanted = {cluster.helloworld for cluster in scenario.clusters}
    if set(sample.versions) != wanted:
        expected = f"answers from {', '.join(sorted(wanted))} and no other version"
        yield Finding(sample.cluster, expected, _counted(sample), sample.source, about)


def _unreached(scenario: Scenario, sample: TrafficSample) -> Subject:
    """The clusters none of whose pods answered; any, where all did."""
    return Subject(
        tuple(each.name for each in scenario.clusters if each.helloworld not in sample.versions)
    )


def _counted(sample: TrafficSample) -> str:
    counts = [f"{count} from {version}" for version, count in sample.versions.items()]
    return ", ".join(counts) or "none"


REQUIREMENT = Requirement(
    id="TRAFFIC-1",
    level="core",
    title="Requests from every cluster succeed, and every version of HelloWorld answers.",
    judge=judge,
    section="Verify the installation: Verifying Cross-Cluster Traffic",
    url="https://istio.io/latest/docs/setup/install/multicluster/verify/#verifying-cross-cluster-traffic",
    needs="traffic",
    rests_on=(
        "DISCOVERY-2",
        "NETWORK-1",
        "TRUST-1",
        "TRUST-2",
    ),
)
