"""Discovery: which API servers istiod reads, and which endpoints clients get from it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Final

import pytest

from mesh_fixtures.kube import KubeClient
from mesh_fixtures.probe.istiod import KnownClusters, remote_clusters
from mesh_fixtures.probe.view import MeshView
from mesh_fixtures.verdict.client_endpoints import ClientEndpoints
from mesh_fixtures.verdict.convergence import Settled, settle
from mesh_fixtures.verdict.findings import Finding, require_none

SYNC_SECONDS: Final = 30.0


@pytest.mark.requirement("DISCOVERY-1")
def test_each_istiod_reads_exactly_the_api_servers_that_it_must(
    view: MeshView, record_property: Callable[[str, object], None]
) -> None:
    def synced(kube: KubeClient) -> Settled[list[Finding]]:
        return settle(
            lambda: _judged(view, kube.name, remote_clusters(kube)),
            lambda findings: not findings,
            deadline=SYNC_SECONDS,
            interval=0.5,
        )

    found = view.each(synced, [cluster.name for cluster in view.scenario.primaries])
    for cluster, settled in found.items():
        record_property(f"{cluster}.seconds_to_synced", round(settled.seconds, 3))
    require_none(finding for settled in found.values() for finding in settled.value)


def _judged(view: MeshView, primary: str, known: tuple[KnownClusters, ...]) -> list[Finding]:
    wanted = {primary} | {
        secret.of for secret in view.scenario.remote_secrets if secret.installed_in == primary
    }
    findings = []
    for each in known:
        ids = [cluster.id for cluster in each.clusters]
        if sorted(ids) != sorted(wanted) or not all(one.synced for one in each.clusters):
            expected = f"{each.istiod} to read {', '.join(sorted(wanted))}, each synced"
            findings.append(Finding(primary, expected, str(each), each.source))
    return findings or ([] if known else [Finding(primary, "a ready istiod to ask", "none")])


@pytest.mark.requirement("DISCOVERY-2")
def test_each_client_has_healthy_endpoints_for_every_version(
    view: MeshView,
    endpoints: Mapping[str, ClientEndpoints],
    record_property: Callable[[str, object], None],
) -> None:
    for cluster, each in endpoints.items():
        record_property(f"{cluster}.endpoints", len(each.seen.endpoints))
        record_property(f"{cluster}.seconds_to_endpoints", round(each.seconds, 3))
        record_property(f"{cluster}.gateway_knows_its_network", each.behind_gateway)
        record_property(f"{cluster}.seconds_to_gateway", round(each.gateway_seconds, 3))
    require_none(finding for each in endpoints.values() for finding in _lacking(view, each))


def _lacking(view: MeshView, each: ClientEndpoints) -> Iterator[Finding]:
    versions = {version for destination in each.wanted for version in destination.versions}
    for cluster in view.scenario.clusters:
        if cluster.helloworld not in versions:
            expected = f"a ready pod of HelloWorld {cluster.helloworld} as an endpoint"
            yield Finding(cluster.name, expected, "none")
    if not each.verdict.complete:
        targets = sorted(target for one in each.wanted for target in one.targets)
        expected = f"exactly the healthy endpoints {', '.join(targets)} in Sleep's proxy"
        seen = f"{each.seen} after {each.seconds:.0f} s ({each.verdict})"
        yield Finding(each.client, expected, seen, each.seen.source)
