"""TRAFFIC-2: answers are distributed as the client's endpoints predict."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from mesh_fixtures.errors import ProbeError
from mesh_fixtures.requirements.observed import ObservedMesh
from mesh_fixtures.requirements.requirement import Figure, Outcome, Requirement
from mesh_fixtures.verdict.client_endpoints import ClientEndpoints
from mesh_fixtures.verdict.expectations import count_by_destination, expected_shares
from mesh_fixtures.verdict.findings import Finding
from mesh_fixtures.verdict.statistics import SharesVerdict, judge_shares

REQUESTS_FLAG: Final = "--mesh-requests"


def judge(mesh: ObservedMesh) -> Outcome:
    verdicts: dict[str, SharesVerdict] = {}
    findings: list[Finding] = []
    for cluster, sample in mesh.traffic.items():
        known = mesh.endpoints[cluster]
        shares = expected_shares(known.wanted, known.seen)
        if not shares or not sample.answers:
            seen = f"{known.seen}, and {len(sample.answers)} answers"
            expected = "endpoints in use and answers to compare"
            findings.append(Finding(cluster, expected, seen, sample.source))
            continue
        counts = count_by_destination(known.wanted, sample.instances)
        verdicts[cluster] = judge_shares(counts, shares)
    findings += _outside(verdicts, mesh.endpoints)
    too_few = _too_few(verdicts)
    if too_few is not None and not findings:
        return Outcome.inconclusive(too_few, _figures(verdicts))
    return Outcome.judged(findings, _figures(verdicts))


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
