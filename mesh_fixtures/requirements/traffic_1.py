"""TRAFFIC-1: HelloWorld answers from every cluster."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from mesh_fixtures.errors import ProbeError
from mesh_fixtures.kube import KubeClient
from mesh_fixtures.patience import patient, whole
from mesh_fixtures.probe.traffic import TrafficSample, helloworld_url
from mesh_fixtures.probe.view import MeshView
from mesh_fixtures.requirements import both_families
from mesh_fixtures.requirements.observed import ObservedMesh
from mesh_fixtures.requirements.requirement import Figure, Outcome, Requirement
from mesh_fixtures.requirements.second_service import (
    PROBES,
    SERVICE,
    ServiceProbes,
    without_preference,
)
from mesh_fixtures.scenario import Scenario
from mesh_fixtures.verdict.client_endpoints import ClientEndpoints
from mesh_fixtures.verdict.expectations import (
    SLOW_SECONDS,
    count_by_destination,
    expected_shares,
    late,
    waiting,
)
from mesh_fixtures.verdict.findings import Finding, Subject
from mesh_fixtures.verdict.latency import latencies
from mesh_fixtures.verdict.statistics import judge_shares

RESERVE_REQUESTS: Final = 40
"""From each cluster, to what its clients hold in reserve."""

REQUEST_SECONDS: Final = 3.0
BUDGET_SECONDS: Final = 20
"""After which no further ones of these are begun."""


def judge(mesh: ObservedMesh, probes: ServiceProbes = PROBES) -> Outcome:
    figures: dict[str, Figure] = {}
    for cluster, sample in mesh.traffic.items():
        figures[f"{cluster}.requests"] = sample.sent
        figures[f"{cluster}.failures"] = len(sample.failures)
        figures[f"{cluster}.requests_per_second"] = round(sample.per_second, 1)
        for version, count in sample.versions.items():
            figures[f"{cluster}.answers.{version}"] = count
        for each in latencies(mesh.endpoints[cluster].wanted, sample.answers):
            of = f"{each.path}.{each.version}"
            figures[f"{cluster}.latency_answers.{of}"] = each.answers
            for percent, milliseconds in each.milliseconds.items():
                figures[f"{cluster}.latency_p{percent}_ms.{of}"] = milliseconds
    reserves = {
        cluster: reserve
        for cluster, sample in mesh.traffic.items()
        if (reserve := _reserve(mesh, sample))
    }
    samples = _without_preference(mesh.view, probes, reserves) if reserves else {}
    findings: list[Finding] = []
    notes: list[str] = []
    too_few: ProbeError | None = None
    for cluster, sample in mesh.traffic.items():
        reserve = reserves.get(cluster, frozenset())
        found = [*_errors(mesh, sample), *_late(mesh, sample), *_never(mesh, sample)]
        if sample.cut_short and not found:
            too_few = too_few or _cut_short(sample)
        else:
            findings += [*found, *_unanswered(mesh.scenario, sample, reserve)]
        if reserve:
            findings += _judged_reserve(samples[cluster], reserve)
            figures[f"{cluster}.held_in_reserve"] = ", ".join(sorted(reserve))
            preference = _preference(mesh.endpoints[cluster], reserve)
            notes.append(
                f"{cluster}: {preference}; without the preference, {_counted(samples[cluster])}"
            )
    families = both_families.by_family(mesh, probes.requests)
    figures |= both_families.figures(families)
    keeping = [name for name, each in mesh.endpoints.items() if each.balancing.by_hash]
    findings += both_families.judged(families, mesh.traffic, keeping)
    if too_few is not None and not findings:
        return Outcome.inconclusive(too_few, figures)
    return Outcome.judged(findings, figures, () if findings else notes)


def _reserve(mesh: ObservedMesh, sample: TrafficSample) -> frozenset[str]:
    """Versions that have not answered a client because its proxy prefers others."""
    missing = frozenset(
        each.helloworld
        for each in mesh.scenario.data_planes
        if each.helloworld not in sample.versions
    )
    known = mesh.endpoints[sample.cluster]
    return missing & known.reserve if known.balancing.is_plain else missing


def _preference(known: ClientEndpoints, reserve: frozenset[str]) -> str:
    versions = ", ".join(sorted(reserve))
    if reserve <= known.reserve:
        return f"clients prefer other endpoints, and use {versions} only where those fail"
    return f"{known.balancing}, by which {versions} gets no request"


def _without_preference(
    view: MeshView, probes: ServiceProbes, clusters: Iterable[str]
) -> Mapping[str, TrafficSample]:
    """Requests of clients in these clusters to what they hold in reserve, among the rest."""
    with without_preference(view, probes):

        def send(kube: KubeClient) -> TrafficSample:
            return probes.requests(
                kube,
                RESERVE_REQUESTS,
                target=helloworld_url(kube.sample_namespace, SERVICE),
                request_seconds=patient(REQUEST_SECONDS),
                budget_seconds=whole(BUDGET_SECONDS),
            )

        return view.each(send, clusters)


def _errors(mesh: ObservedMesh, sample: TrafficSample) -> Iterator[Finding]:
    if not sample.failures:
        return
    silent = ""
    if any(each.timed_out for each in sample.failures):
        silent = "".join(f"; no answer of {each}" for each in _silent(mesh, sample))
    expected = f"{sample.requested} requests without an error"
    yield _failed(sample, expected, _unreached(mesh.scenario, sample), silent)


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
    seen = waiting(mesh.endpoints[sample.cluster].wanted, sample.answers)
    slow = late(seen, patient(SLOW_SECONDS))
    if slow:
        versions = {version for each in slow for version in each.destination.versions}
        clusters = [each.name for each in mesh.scenario.data_planes if each.helloworld in versions]
        yield Finding(
            sample.cluster,
            f"{sample.requested} requests to be answered in time",
            f"{sample.sent} answered before the time was over: {'; '.join(map(str, seen))}",
            sample.source,
            Subject(tuple(clusters)),
        )


def _never(mesh: ObservedMesh, sample: TrafficSample) -> Iterator[Finding]:
    """Destinations that never answered, out of more answers than chance explains, before the time
    was over: proxies go over to others when their own time for a connection is over, which may be
    less than what clients allow on a machine that is busy.
    """
    if not sample.cut_short or sample.failures:
        return
    known = mesh.endpoints[sample.cluster]
    shares = expected_shares(known.wanted, known.seen)
    counts = count_by_destination(known.wanted, sample.instances)
    verdicts = judge_shares(counts, shares).shares if shares else ()
    if any(not each.count and not each.holds for each in verdicts):
        yield Finding(
            sample.cluster,
            "answers of every destination",
            f"{sample.sent} answers before the time was over"
            + "".join(f"; no answer of {each}" for each in _silent(mesh, sample)),
            sample.source,
            _unreached(mesh.scenario, sample),
        )


def _cut_short(sample: TrafficSample) -> ProbeError:
    return ProbeError(
        wanted=f"{sample.requested} requests",
        seen=f"{sample.sent} in {sample.seconds:.0f} s, none failed, from no HelloWorld later than "
        "from others",
        where=sample.cluster,
        remedy="use a less busy machine",
    )


def _unanswered(
    scenario: Scenario, sample: TrafficSample, reserve: frozenset[str]
) -> Iterator[Finding]:
    wanted = {cluster.helloworld for cluster in scenario.data_planes} - reserve
    if set(sample.versions) != wanted:
        expected = f"answers from {', '.join(sorted(wanted))} and no other version"
        about = _unreached(scenario, sample)
        yield Finding(sample.cluster, expected, _counted(sample), sample.source, about)


def _judged_reserve(sample: TrafficSample, reserve: frozenset[str]) -> Iterator[Finding]:
    versions = ", ".join(sorted(reserve))
    if sample.failures:
        expected = f"{sample.requested} requests without an error, {versions} being in reserve"
        yield _failed(sample, expected, Subject())
    elif not reserve <= set(sample.versions):
        expected = f"answers from {versions}, which clients hold in reserve"
        yield Finding(sample.cluster, expected, _counted(sample), sample.source)


def _failed(sample: TrafficSample, expected: str, about: Subject, silent: str = "") -> Finding:
    seen = f"{len(sample.failures)} errors in {sample.sent} requests"
    if sample.cut_short:
        seen += ", after which no more were sent"
    shown = "; ".join(map(str, sample.failures[:3]))
    return Finding(sample.cluster, expected, f"{seen}: {shown}{silent}", sample.source, about)


def _unreached(scenario: Scenario, sample: TrafficSample) -> Subject:
    """The clusters none of whose pods answered; any, where all did."""
    return Subject(
        tuple(each.name for each in scenario.data_planes if each.helloworld not in sample.versions)
    )


def _counted(sample: TrafficSample) -> str:
    counts = [f"{count} from {version}" for version, count in sample.versions.items()]
    return ", ".join(counts) or "none"


REQUIREMENT = Requirement(
    id="TRAFFIC-1",
    level="core",
    title=(
        "Requests from every cluster succeed, and every version of HelloWorld answers; in dual "
        "stack, by either family of addresses."
    ),
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
