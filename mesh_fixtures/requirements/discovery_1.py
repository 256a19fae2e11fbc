"""DISCOVERY-1: which API servers istiod reads."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from mesh_fixtures.kube import KubeClient
from mesh_fixtures.probe.istiod import KnownClusters, remote_clusters
from mesh_fixtures.requirements.observed import ObservedMesh
from mesh_fixtures.requirements.requirement import Outcome, Requirement
from mesh_fixtures.scenario import Scenario
from mesh_fixtures.verdict.convergence import Settled, settle
from mesh_fixtures.verdict.findings import Finding, Subject

SYNC_SECONDS: Final = 30.0


@dataclass(frozen=True)
class Probes:
    """How the mesh is observed."""

    remote_clusters: Callable[[KubeClient], tuple[KnownClusters, ...]] = remote_clusters


def judge(mesh: ObservedMesh, probes: Probes = Probes()) -> Outcome:
    def synced(kube: KubeClient) -> Settled[list[Finding]]:
        return settle(
            lambda: _judged(mesh.scenario, kube.name, probes.remote_clusters(kube)),
            lambda findings: not findings,
            deadline=mesh.patient(SYNC_SECONDS),
            interval=0.5,
        )

    found = mesh.view.each(synced, [cluster.name for cluster in mesh.scenario.primaries])
    return Outcome.judged(
        (finding for settled in found.values() for finding in settled.value),
        {
            f"{cluster}.seconds_to_synced": round(settled.seconds, 3)
            for cluster, settled in found.items()
        },
    )


def _judged(scenario: Scenario, primary: str, known: tuple[KnownClusters, ...]) -> list[Finding]:
    wanted = {primary} | {
        secret.of for secret in scenario.remote_secrets if secret.installed_in == primary
    }
    findings = []
    for each in known:
        judged = [cluster for cluster in each.clusters if cluster.id not in scenario.others]
        ids = [cluster.id for cluster in judged]
        synced = {cluster.id for cluster in judged if cluster.synced}
        unread = tuple(sorted((wanted - synced) | ({*ids} - wanted)))
        if sorted(ids) != sorted(wanted) or not all(one.synced for one in judged):
            expected = f"{each.istiod} to read {', '.join(sorted(wanted))}, each synced"
            findings.append(Finding(primary, expected, str(each), each.source, Subject(unread)))
    return findings or (
        []
        if known
        else [Finding(primary, "a ready istiod to ask", "none", about=Subject((primary,)))]
    )


REQUIREMENT = Requirement(
    id="DISCOVERY-1",
    level="core",
    title="Each istiod reads exactly the expected API servers, and reports all of them as synced.",
    judge=judge,
    section="Install Multi-Primary: Enable Endpoint Discovery",
    url="https://istio.io/latest/docs/setup/install/multicluster/multi-primary/#enable-endpoint-discovery",
    rests_on=("CONTROL-1",),
    without_samples=True,
)
