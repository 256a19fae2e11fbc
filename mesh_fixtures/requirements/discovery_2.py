"""DISCOVERY-2: which endpoints clients get from istiod."""

from __future__ import annotations

from collections.abc import Iterator

from mesh_fixtures.addresses import target_host
from mesh_fixtures.requirements.observed import ObservedMesh
from mesh_fixtures.requirements.requirement import Figure, Outcome, Requirement
from mesh_fixtures.requirements.second_service import PROBES, ServiceProbes, without_preference
from mesh_fixtures.scenario import Scenario
from mesh_fixtures.verdict.client_endpoints import ClientEndpoints
from mesh_fixtures.verdict.findings import Finding, Subject


def judge(mesh: ObservedMesh, probes: ServiceProbes = PROBES) -> Outcome:
    figures: dict[str, Figure] = {}
    leaving_out = {cluster: each for cluster, each in mesh.endpoints.items() if each.leaves_out}
    judged = {**mesh.endpoints}
    if leaving_out:
        with without_preference(mesh.view, probes) as known:
            judged |= {cluster: known[cluster] for cluster in leaving_out}
    for cluster, each in mesh.endpoints.items():
        figures[f"{cluster}.endpoints"] = len(each.seen.endpoints)
        figures[f"{cluster}.seconds_to_endpoints"] = round(each.seconds, 3)
        figures[f"{cluster}.gateway_knows_its_network"] = each.behind_gateway
        figures[f"{cluster}.seconds_to_gateway"] = round(each.gateway_seconds, 3)
    notes = [
        f"{cluster}: {each.balancing}, which leave out {', '.join(each.verdict.missing)}; without "
        "them, Sleep's proxy has all"
        for cluster, each in leaving_out.items()
    ]
    findings = [finding for each in judged.values() for finding in _missing(mesh.scenario, each)]
    return Outcome.judged(findings, figures, () if findings else notes)


def _missing(scenario: Scenario, each: ClientEndpoints) -> Iterator[Finding]:
    versions = {version for destination in each.wanted for version in destination.versions}
    for cluster in scenario.data_planes:
        if cluster.helloworld not in versions:
            expected = f"a ready pod of HelloWorld {cluster.helloworld} as an endpoint"
            yield Finding(cluster.name, expected, "none", about=Subject((cluster.name,)))
    if not each.verdict.complete:
        targets = sorted(target for one in each.wanted for target in one.targets)
        healthy = f"exactly the healthy endpoints {', '.join(targets)}" if targets else "endpoints"
        expected = f"{healthy} in Sleep's proxy"
        seen = f"{each.seen} after {each.seconds:.0f} s ({each.verdict})"
        yield Finding(each.client, expected, seen, each.seen.source, subject(scenario, each))


def subject(scenario: Scenario, each: ClientEndpoints) -> Subject:
    """The clusters whose HelloWorld is missing; any, where the proxy knows others besides."""
    usable = {one.target for one in each.seen.endpoints if one.healthy}
    missing = [one for one in each.wanted if not one.targets or one.targets - usable]
    versions = {version for one in missing for version in one.versions}
    if each.verdict.unexpected:
        return Subject()
    return Subject(
        tuple(one.name for one in scenario.data_planes if one.helloworld in versions),
        addresses=tuple(sorted({target_host(target) for one in missing for target in one.targets})),
    )


REQUIREMENT = Requirement(
    id="DISCOVERY-2",
    level="core",
    title=(
        "Each client's proxy has a healthy endpoint for every version of HelloWorld: pods on "
        "its own network, the gateways of other networks, and nothing else."
    ),
    judge=judge,
    section="Deployment models: Endpoint discovery with multiple control planes",
    url="https://istio.io/latest/docs/ops/deployment/deployment-models/#endpoint-discovery-with-multiple-control-planes",
    needs="endpoints",
    rests_on=(
        "DISCOVERY-1",
        "CONTROL-2",
        "CONTROL-3",
        "WORKLOAD-1",
        "GATEWAY-1",
    ),
)
