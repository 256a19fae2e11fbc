"""LOCALITY-2: requests are distributed over regions as a rule says.

HelloWorld has a service for this, as for LOCALITY-1. Where a gateway chooses between regions for
clients on another network, it distributes what a client has distributed before: nothing is promised
of the shares that come of it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from fractions import Fraction
from typing import Any, Final

from mesh_fixtures.errors import ProbeError
from mesh_fixtures.patience import patient
from mesh_fixtures.probe.traffic import TrafficSample, helloworld_url, requests
from mesh_fixtures.requirements.observed import ObservedMesh
from mesh_fixtures.requirements.regions import (
    UNKNOWN,
    URL,
    listed,
    regions_of_clients,
    regions_of_pods,
)
from mesh_fixtures.requirements.requirement import Figure, Outcome, Requirement
from mesh_fixtures.requirements.second_service import second_service
from mesh_fixtures.requirements.traffic_2 import REQUESTS_FLAG
from mesh_fixtures.verdict.client_endpoints import client_endpoints
from mesh_fixtures.verdict.findings import Finding, Subject
from mesh_fixtures.verdict.statistics import judge_shares
from mesh_fixtures.workloads import FRESH_CONNECTIONS

SERVICE: Final = "helloworld-distributed"

NEAR: Final = 70
"""Percent of the requests that stay in their client's region."""

SETTLING_SECONDS: Final = 15.0
"""For the service to be known to clients and gateways."""


def judge(mesh: ObservedMesh) -> Outcome:
    homes = regions_of_clients(mesh.scenario)
    with second_service(mesh.view, SERVICE, policy(homes)):
        client_endpoints(mesh.view, patient(SETTLING_SECONDS), SERVICE)
        regions = regions_of_pods(mesh)
        samples = mesh.view.each(
            lambda kube: requests(
                kube, mesh.requests, target=helloworld_url(kube.sample_namespace, SERVICE)
            )
        )
    return distributed(homes, regions, samples)


def weights(home: str, regions: Mapping[str, str]) -> dict[str, int]:
    """Percent of the requests of a region's clients that each region gets.

    Args:
        regions: of all clusters.
    """
    others = sorted({*regions.values()} - {home})
    each, rest = divmod(100 - NEAR, len(others))
    return {home: NEAR} | {other: each + (at < rest) for at, other in enumerate(others)}


def policy(regions: Mapping[str, str]) -> Mapping[str, Any]:
    """The traffic policy by which regions have weights (source: Istio, Locality Load Balancing,
    Locality weighted distribution).

    Args:
        regions: of all clusters.
    """
    distribute = [
        {
            "from": f"{home}/*",
            "to": {f"{region}/*": weight for region, weight in weights(home, regions).items()},
        }
        for home in dict.fromkeys(regions.values())
    ]
    setting = {"enabled": True, "distribute": distribute}
    return {**FRESH_CONNECTIONS, "loadBalancer": {"localityLbSetting": setting}}


def distributed(
    homes: Mapping[str, str],
    regions: Mapping[str, str],
    samples: Mapping[str, TrafficSample],
) -> Outcome:
    """Judge where requests were answered.

    Args:
        homes: the region of each client.
        regions: the region of each pod of HelloWorld.
    """
    findings: list[Finding] = []
    measured: dict[str, Figure] = {}
    trouble: ProbeError | None = None
    for client, sample in samples.items():
        wanted = weights(homes[client], homes)
        shares = {region: Fraction(weight, 100) for region, weight in wanted.items()}
        counts: Counter[str] = Counter()
        for pod, count in sample.instances.items():
            counts[regions.get(pod, UNKNOWN)] += count
        verdict = judge_shares(counts, shares)
        for share in verdict.shares:
            measured[f"{client}.share.{share.name}"] = round(share.observed, 4)
            measured[f"{client}.band.{share.name}"] = str(share.band)
        expected = ", ".join(f"{weight} % from {region}" for region, weight in wanted.items())
        about = Subject((client,))
        if sample.failures:
            seen = f"{len(sample.failures)} errors in {sample.sent} requests: {sample.failures[0]}"
            findings.append(Finding(client, f"no error, and {expected}", seen, sample.source))
        elif not verdict.holds:
            seen = f"{listed(counts)} ({verdict})"
            findings.append(Finding(client, f"answers, {expected}", seen, sample.source, about))
        elif verdict.is_vacuous:
            trouble = trouble or ProbeError(
                wanted="enough answers to judge their shares",
                seen=f"{verdict.trials} answers, of which any number would do: {verdict}",
                where=client,
                remedy=f"raise {REQUESTS_FLAG}",
            )
    if trouble is not None and not findings:
        return Outcome.inconclusive(trouble, measured)
    return Outcome.judged(findings, measured)


REQUIREMENT = Requirement(
    id="LOCALITY-2",
    level="extended",
    title=(
        "With weights for regions, the answers that clients of a region get from each are within "
        f"a binomial band around its weight: {NEAR} % from their own."
    ),
    judge=judge,
    section="Locality Load Balancing: Locality weighted distribution",
    url=f"{URL}/distribute/",
    needs="sample",
    rests_on=("TRAFFIC-1",),
    features=("locality", "region-per-network"),
)
