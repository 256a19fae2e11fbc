"""DISCOVERY-1: which API servers istiod reads."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from mesh_fixtures.kube import KubeClient
from mesh_fixtures.probe.istiod import KnownClusters, remote_clusters
from mesh_fixtures.probe.remote_secrets import RemoteSecret, found_secrets
from mesh_fixtures.probe.view import MeshView
from mesh_fixtures.requirements.observed import ObservedMesh
from mesh_fixtures.requirements.requirement import Outcome, Requirement
from mesh_fixtures.scenario import Scenario
from mesh_fixtures.verdict.convergence import Settled, settle
from mesh_fixtures.verdict.findings import Finding, Subject

SYNC_SECONDS: Final = 30.0
SOON_DAYS: Final = 7
"""In which somebody still has time to replace a token."""


@dataclass(frozen=True)
class Probes:
    """How the mesh is observed."""

    remote_clusters: Callable[[KubeClient], tuple[KnownClusters, ...]] = remote_clusters
    secrets: Callable[[KubeClient, MeshView], Sequence[RemoteSecret]] = found_secrets


def judge(mesh: ObservedMesh, probes: Probes = Probes()) -> Outcome:
    seen: dict[str, tuple[KnownClusters, ...]] = {}

    def synced(kube: KubeClient) -> Settled[list[Finding]]:
        def look() -> list[Finding]:
            known = seen[kube.name] = probes.remote_clusters(kube)
            return _judged(mesh.scenario, kube.name, known)

        return settle(
            look,
            lambda findings: not findings,
            deadline=mesh.patient(SYNC_SECONDS),
            interval=0.5,
        )

    primaries = [cluster.name for cluster in mesh.scenario.primaries]
    found = mesh.view.each(synced, primaries)
    secrets = mesh.view.each(lambda kube: probes.secrets(kube, mesh.view), primaries)
    findings = [finding for settled in found.values() for finding in settled.value]
    notes: list[str] = []
    for primary, those in secrets.items():
        known = seen[primary]
        idle = [each for each in those if _is_idle(each, known)]
        used = [each for each in those if each not in idle]
        findings += _without_access(mesh.scenario, primary, used)
        notes += [*_expiring(primary, those), *_dead(primary, idle, known)]
        notes += [*_renamed(mesh.scenario, primary, used, known), *_twice(primary, known)]
    return Outcome.judged(
        findings,
        {
            f"{cluster}.seconds_to_synced": round(settled.seconds, 3)
            for cluster, settled in found.items()
        },
        notes,
    )


def _is_idle(secret: RemoteSecret, known: Iterable[KnownClusters]) -> bool:
    return secret.is_idle([each.reading(secret.cluster) for each in known])


def _dead(
    primary: str, idle: Iterable[RemoteSecret], known: Iterable[KnownClusters]
) -> Iterator[str]:
    """Secrets that are of no use and are not used, until an istiod that starts finds them first."""
    for secret in idle:
        if secret.accepted is False or secret.denied:
            denied = ", ".join(secret.denied) or "everything"
            others = {each.reading(secret.cluster).rpartition("/")[2] for each in known}
            yield (
                f"{primary}: {secret.leads_to} denies {denied} to the account of {secret.name}. "
                f"istiod reads {secret.cluster} by {', '.join(sorted(others))}, but may take "
                f"{secret.name} once it is restarted: {secret.deletion(primary)}"
            )


def _renamed(
    scenario: Scenario,
    primary: str,
    secrets: Iterable[RemoteSecret],
    known: Iterable[KnownClusters],
) -> Iterator[str]:
    """Secrets by which an istiod reads a cluster under a name that is none of the mesh's too: it
    holds its endpoints twice. Only who accepts the token is sure to be the one.
    """
    read = {one.id for each in known for one in each.clusters if one.synced}
    for secret in secrets:
        if secret.cluster in scenario.others and secret.accepted and secret.leads_to in read:
            yield (
                f"{primary}: {secret.cluster}, which istiod reads by {secret.name}, is "
                f"{secret.leads_to}: it holds the endpoints there twice, by two names of the "
                f"cluster: {secret.deletion(primary)}"
            )


def _twice(primary: str, known: Iterable[KnownClusters]) -> Iterator[str]:
    """An external istiod that reads its configuration's cluster by two names: it works, and takes
    its memory twice.
    """
    for name, secret in sorted({(one.id, one.secret) for each in known for one in each.again}):
        yield (
            f"{primary}: istiod reads its own cluster a second time, as {name}, as the secret "
            f"{secret} has the label of remote secrets"
        )


def _expiring(primary: str, secrets: Sequence[RemoteSecret]) -> Iterator[str]:
    """Tokens that end soon; nothing renews what a remote secret holds."""
    for secret in secrets:
        left = None if secret.expires is None else secret.expires - time.time()
        if left is not None and 0 < left < SOON_DAYS * 24 * 3600:
            yield (
                f"{primary}: the token in {secret.name} for {secret.cluster} expires in "
                f"{left / 3600:.0f} hours, and nothing renews it"
            )


def _without_access(
    scenario: Scenario, primary: str, secrets: Sequence[RemoteSecret]
) -> Iterator[Finding]:
    """Secrets by which the cluster is read only until the present watches end, within minutes.

    Source: Kubernetes, client-go (a reflector's watches end after 5 to 10 minutes).
    """
    wanted = {each.of for each in scenario.remote_secrets if each.installed_in == primary}
    for secret in secrets:
        if secret.cluster not in wanted or secret.leads_to != secret.cluster:
            continue
        about = Subject((secret.cluster,))
        expected = f"{secret.cluster} to let the account of {secret.name} read what istiod needs"
        if secret.accepted is False:
            yield Finding(primary, expected, f"{secret.cluster} refuse its token", about=about)
        elif secret.denied:
            seen = f"it deny {', '.join(secret.denied)}"
            yield Finding(primary, expected, seen, about=about)


def _judged(scenario: Scenario, primary: str, known: tuple[KnownClusters, ...]) -> list[Finding]:
    wanted = {*scenario.read_by(primary)}
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
