"""TRAFFIC-1: HelloWorld answers from every cluster."""

from __future__ import annotations

from collections.abc import Iterator

from mesh_fixtures.errors import ProbeError
from mesh_fixtures.patience import patient
from mesh_fixtures.probe.traffic import TrafficSample
from mesh_fixtures.requirements.observed import ObservedMesh
from mesh_fixtures.requirements.requirement import Figure, Outcome, Requirement
from mesh_fixtures.scenario import Scenario
from mesh_fixtures.verdict.expectations import expected_shares
from mesh_fixtures.verdict.findings import Finding, Subject
from mesh_fixtures.verdict.slowness import SLOW_SECONDS, late, waiting


def judge(mesh: ObservedMesh) -> Outcome:
    figures: dict[str, Figure] = {}
    for cluster, sample in mesh.traffic.items():
        figures[f"{cluster}.requests"] = sample.sent
        figures[f"{cluster}.failures"] = len(sample.failures)
        figures[f"{cluster}.requests_per_second"] = round(sample.per_second, 1)
        for version, count in sample.versions.items():
            figures[f"{cluster}.answers.{version}"] = count
    findings: list[Finding] = []
    too_few: ProbeError | None = None
    for cluster, sample in mesh.traffic.items():
        found = [*_failed(mesh, sample), *_late(mesh, sample)]
        if sample.cut_short and not found:
            too_few = too_few or _cut_short(cluster, sample)
        else:
            findings += [*found, *_unanswered(mesh.scenario, sample)]
    if too_few is not None and not findings:
        return Outcome.inconclusive(too_few, figures)
    return Outcome.judged(findings, figures)


def _failed(mesh: ObservedMesh, sample: TrafficSample) -> Iterator[Finding]:
    if not sample.failures:
        return
    seen = f"{len(sample.failures)} errors in {sample.sent} requests"
    if sample.cut_short:
        seen += " before the time was over"
    shown = "; ".join(map(str, sample.failures[:3]))
    if any(each.timed_out for each in sample.failures):
        shown += "".join(f"; no answer of {each}" for each in _silent(mesh, sample))
    expected = f"{sample.requested} requests without an error"
    about = _unreached(mesh.scenario, sample)
    yield Finding(sample.cluster, expected, f"{seen}: {shown}", sample.source, about)


def _silent(mesh: ObservedMesh, sample: TrafficSample) -> Iterator[str]:
    """Destinations that the client's proxy uses and that never answered, with their addresses."""
    known = mesh.endpoints[sample.cluster]
    shares = expected_shares(known.wanted, known.seen)
    for each in known.wanted:
        if shares.get(each.name) and not each.instances & {*sample.instances}:
            yield f"{each.name} by {', '.join(sorted(each.targets))}"


def _late(mesh: ObservedMesh, sample: TrafficSample) -> Iterator[Finding]:
    """Requests that took the time of others, so that these could not be sent."""
    if not sample.cut_short:
        return
    wanted = mesh.endpoints[sample.cluster].wanted
    seen = waiting(wanted, sample.answers)
    slow = late(seen, patient(SLOW_SECONDS))
    if slow:
        versions = {version for each in slow for version in each.destination.versions}
        clusters = [each.name for each in mesh.scenario.clusters if each.helloworld in versions]
        yield Finding(
            sample.cluster,
            f"{sample.requested} requests to be answered in time",
            f"{sample.sent} answered before the time was over: {'; '.join(map(str, seen))}",
            sample.source,
            Subject(tuple(clusters)),
        )


def _cut_short(cluster: str, sample: TrafficSample) -> ProbeError:
    return ProbeError(
        wanted=f"{sample.requested} requests",
        seen=f"{sample.sent} in {sample.seconds:.0f} s, none failed, from no HelloWorld later than "
        "from others",
        where=cluster,
        remedy="use a less busy machine",
    )


def _unanswered(scenario: Scenario, sample: TrafficSample) -> Iterator[Finding]:
    about = _unreached(scenario, sample)
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
