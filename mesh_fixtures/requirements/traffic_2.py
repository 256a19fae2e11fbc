"""TRAFFIC-2: answers are distributed as the client's endpoints predict."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from mesh_fixtures.errors import ProbeError
from mesh_fixtures.probe.traffic import TrafficSample, helloworld_url
from mesh_fixtures.requirements.observed import ObservedMesh
from mesh_fixtures.requirements.requirement import Figure, Outcome, Requirement
from mesh_fixtures.requirements.second_service import (
    PROBES,
    SERVICE,
    ServiceProbes,
    without_preference,
)
from mesh_fixtures.verdict.client_endpoints import ClientEndpoints
from mesh_fixtures.verdict.expectations import count_by_destination, expected_shares
from mesh_fixtures.verdict.findings import Finding
from mesh_fixtures.verdict.statistics import SharesVerdict, judge_shares

REQUESTS_FLAG: Final = "--mesh-requests"


def judge(mesh: ObservedMesh, probes: ServiceProbes = PROBES) -> Outcome:
    verdicts: dict[str, SharesVerdict] = {}
    findings: list[Finding] = []
    endpoints, traffic = {**mesh.endpoints}, {**mesh.traffic}
    choosing = {
        cluster: each.balancing
        for cluster, each in mesh.endpoints.items()
        if not each.balancing.is_plain
    }
    if choosing:
        known_then, sent_then = _without_preference(mesh, probes, [*choosing])
        endpoints |= known_then
        traffic |= sent_then
    for cluster, sample in traffic.items():
        known = endpoints[cluster]
        shares = expected_shares(known.wanted, known.seen)
        if not shares or not sample.answers:
            seen = f"{known.seen}, and {len(sample.answers)} answers"
            expected = "endpoints in use and answers to compare"
            findings.append(Finding(cluster, expected, seen, sample.source))
            continue
        counts = count_by_destination(known.wanted, sample.instances)
        verdicts[cluster] = judge_shares(counts, shares)
    findings += _outside(verdicts, endpoints)
    too_few = _too_few(verdicts)
    if too_few is not None and not findings:
        return Outcome.inconclusive(too_few, _figures(verdicts))
    notes = [f"{name}: {each}; judged without the preference" for name, each in choosing.items()]
    return Outcome.judged(findings, _figures(verdicts), () if findings else notes)


def _without_preference(
    mesh: ObservedMesh, probes: ServiceProbes, clusters: Sequence[str]
) -> tuple[Mapping[str, ClientEndpoints], Mapping[str, TrafficSample]]:
    """Endpoints and answers of the clients in these clusters, where none prefers a server."""
    with without_preference(mesh.view, probes) as known:
        sent = mesh.view.each(
            lambda kube: probes.requests(
                kube, mesh.requests, target=helloworld_url(kube.sample_namespace, SERVICE)
            ),
            clusters,
        )
    return {cluster: known[cluster] for cluster in clusters}, sent


def _figures(verdicts: Mapping[str, SharesVerdict]) -> dict[str, Figure]:
    figures: dict[str, Figure] = {}
    for cluster, verdict in verdicts.items():
        figures[f"{cluster}.false_alarm"] = verdict.false_alarm
        for share in verdict.shares:
            figures[f"{cluster}.share.{share.name}"] = round(share.observed, 4)
            figures[f"{cluster}.expected_share.{share.name}"] = str(share.share)
            figures[f"{cluster}.band.{share.name}"] = str(share.band)
    return figures


def _too_few(verdicts: Mapping[str, SharesVerdict]) -> ProbeError | None:
    """Set where so few answers came that no share could have been found wrong."""
    for cluster, verdict in verdicts.items():
        if verdict.is_vacuous:
            return ProbeError(
                wanted="enough answers to judge their shares",
                seen=f"{verdict.trials} answers, of which any number would do: {verdict}",
                where=cluster,
                remedy=f"raise {REQUESTS_FLAG}; if requests failed, see TRAFFIC-1 first",
            )
    return None


def _outside(
    verdicts: Mapping[str, SharesVerdict], endpoints: Mapping[str, ClientEndpoints]
) -> Iterator[Finding]:
    for cluster, verdict in verdicts.items():
        if not verdict.holds:
            expected = f"shares of {verdict.trials} answers as its proxy's endpoint weights say"
            yield Finding(cluster, expected, str(verdict), endpoints[cluster].seen.source)


REQUIREMENT = Requirement(
    id="TRAFFIC-2",
    level="core",
    title=(
        "From every cluster, the distribution of answers is within a binomial band around the "
        "one that the endpoint weights of the client's proxy predict."
    ),
    judge=judge,
    section="Verify the installation: Verifying Cross-Cluster Traffic",
    url="https://istio.io/latest/docs/setup/install/multicluster/verify/#verifying-cross-cluster-traffic",
    needs="traffic",
    rests_on=("TRAFFIC-1",),
)
