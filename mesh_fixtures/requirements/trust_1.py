"""TRUST-1: the certificate authorities of the mesh."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from mesh_fixtures.install.certificates import CACERTS
from mesh_fixtures.kube import KubeClient
from mesh_fixtures.probe.certificates import Authority, authority
from mesh_fixtures.requirements.observed import ObservedMesh
from mesh_fixtures.requirements.requirement import Outcome, Requirement
from mesh_fixtures.verdict.findings import Finding, Subject


@dataclass(frozen=True)
class Probes:
    """How the mesh is observed."""

    authority: Callable[[KubeClient], Authority | None] = authority


def judge(mesh: ObservedMesh, probes: Probes = Probes()) -> Outcome:
    found = mesh.view.each(probes.authority, [cluster.name for cluster in mesh.scenario.primaries])
    return Outcome.judged([*_missing(found), *_untrusted(found), *_roots(found), *_shared(found)])


def _present(found: dict[str, Authority | None]) -> dict[str, Authority]:
    return {cluster: each for cluster, each in found.items() if each is not None}


def _missing(found: dict[str, Authority | None]) -> Iterator[Finding]:
    for cluster, each in found.items():
        if each is None:
            yield Finding(
                cluster, f"a secret {CACERTS} in istio-system", "none", about=_of(cluster)
            )


def _untrusted(found: dict[str, Authority | None]) -> Iterator[Finding]:
    for cluster, each in _present(found).items():
        for defect in each.defects:
            yield Finding(cluster, f"a sound chain in {CACERTS}", defect, each.source, _of(cluster))
        if each.is_root:
            seen = f"the root {each.issuing.subject} itself"
            yield Finding(cluster, "an intermediate to sign with", seen, each.source, _of(cluster))


def _roots(found: dict[str, Authority | None]) -> Iterator[Finding]:
    present = list(_present(found).items())
    for cluster, each in present[1:]:
        first, reference = present[0]
        wanted = {root.fingerprint for root in reference.roots}
        if wanted != {root.fingerprint for root in each.roots}:
            expected = f"the root of {first}, {_named(reference)}"
            yield Finding(cluster, expected, _named(each), each.source, _of(first, cluster))


def _shared(found: dict[str, Authority | None]) -> Iterator[Finding]:
    owners: dict[str, str] = {}
    for cluster, each in _present(found).items():
        owner = owners.setdefault(each.issuing.key, cluster)
        if owner != cluster:
            expected = "a separate key of its intermediate"
            seen = f"that of {owner}, {each.issuing.short}"
            yield Finding(cluster, expected, seen, each.source, _of(owner, cluster))


def _named(each: Authority) -> str:
    return ", ".join(f"{root.subject} {root.short}" for root in each.roots)


def _of(*clusters: str) -> Subject:
    return Subject(clusters)


REQUIREMENT = Requirement(
    id="TRUST-1",
    level="core",
    title=(
        "The primaries' certificate authorities share one root, and each signs with its own "
        "intermediate certificate."
    ),
    judge=judge,
    section="Before you begin: Configure Trust",
    url="https://istio.io/latest/docs/setup/install/multicluster/before-you-begin/#configure-trust",
    without_samples=True,
)
