"""TRUST-1: whether the mesh's proxies accept each other's certificates."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from mesh_fixtures.kube import KubeClient, Source
from mesh_fixtures.probe.certificates import (
    Authority,
    Certificate,
    TrustMaterial,
    authority,
    describe,
)
from mesh_fixtures.probe.identities import Identity, TrustDomains, identities, trust_domains
from mesh_fixtures.probe.proxies import Proxy, ProxyAnswers
from mesh_fixtures.probe.workloads import may_be_served_elsewhere
from mesh_fixtures.requirements.observed import ObservedMesh
from mesh_fixtures.requirements.requirement import Figure, Outcome, Requirement
from mesh_fixtures.scenario import Scenario
from mesh_fixtures.verdict.findings import Finding, Subject

Held = Sequence[tuple[Proxy, Identity]]


@dataclass(frozen=True)
class Probes:
    """How the mesh is observed."""

    authority: Callable[[KubeClient], Authority | None] = authority
    identities: Callable[[KubeClient], ProxyAnswers[Identity | None]] = identities
    trust_domains: Callable[[KubeClient], TrustDomains | None] = trust_domains
    may_be_served_elsewhere: Callable[[KubeClient], bool] = may_be_served_elsewhere


@dataclass(frozen=True)
class _Alike:
    """Proxies of a cluster that are verified alike, and verify others alike.

    Attributes:
        names: of the proxies; "every proxy" where all of the cluster's are alike.
    """

    cluster: str
    names: str
    material: TrustMaterial
    source: Source


def judge(mesh: ObservedMesh, probes: Probes = Probes()) -> Outcome:
    answers = mesh.view.each(probes.identities)
    held = {
        cluster: [(proxy, seen) for proxy, seen in those.answered if seen is not None]
        for cluster, those in answers.items()
    }
    authorities = _authorities(mesh, probes)
    groups = [group for cluster, those in held.items() for group in _alike(cluster, those)]
    notes = [*_shared(mesh, held)]
    if not mesh.has_samples:
        bare = {
            name: each
            for name, each in authorities.items()
            if each and not any(held[cluster] for cluster in _own(mesh.scenario, name))
        }
        unknown = mesh.view.each(probes.may_be_served_elsewhere, bare)
        notes += [_unknown(name) for name in bare if unknown[name]]
        bare = {name: each for name, each in bare.items() if not unknown[name]}
        groups += _to_come(bare, mesh.view.each(probes.trust_domains, bare))
    findings = [*_unsound(authorities), *_refusals(groups)]
    figures: dict[str, Figure] = {f"{cluster}.proxies": len(each) for cluster, each in held.items()}
    unseen = [error for each in answers.values() if not each.answered for _, error in each.silent]
    if unseen and not findings:
        return Outcome.inconclusive(unseen[0], figures)
    return Outcome.judged(findings, figures, notes)


def judge_early(mesh: ObservedMesh, probes: Probes = Probes()) -> Outcome:
    """What certificate authorities show by themselves: with an unsound one, no sample may start."""
    return Outcome.judged(_unsound(_authorities(mesh, probes)))


def _authorities(mesh: ObservedMesh, probes: Probes) -> Mapping[str, Authority | None]:
    return mesh.view.each(probes.authority, [cluster.name for cluster in mesh.scenario.primaries])


def _own(scenario: Scenario, primary: str) -> tuple[str, ...]:
    """Clusters whose proxies show what a primary's authority signs: itself, or remotes of an istiod
    that has no proxies beside it.
    """
    if not scenario.cluster(primary).is_external:
        return (primary,)
    return tuple(each.name for each in scenario.remotes_of(primary))


def _unsound(authorities: Mapping[str, Authority | None]) -> Iterator[Finding]:
    for cluster, each in authorities.items():
        if each is not None:
            expected = f"a sound chain in {each.secret}"
            for defect in each.defects:
                yield Finding(cluster, expected, defect, each.source, _of(cluster))


def _alike(cluster: str, held: Held) -> Iterator[_Alike]:
    groups: dict[Hashable, list[tuple[Proxy, Identity]]] = {}
    for proxy, seen in held:
        groups.setdefault(_shown_and_trusted(seen.material), []).append((proxy, seen))
    for those in groups.values():
        names = "the proxies of " + ", ".join(str(proxy) for proxy, _ in those)
        one = those[0][1]
        yield _Alike(
            cluster, "every proxy" if len(groups) == 1 else names, one.material, one.source
        )


def _unknown(cluster: str) -> str:
    return (
        f"proxies of {cluster} may get certificates from an SDS server of their node, by a "
        "template of injection: what its istiod signs with says nothing of theirs"
    )


def _shown_and_trusted(material: TrustMaterial) -> Hashable:
    """What decides on how somebody is verified, and how it verifies others."""
    by_domain = material.roots_by_domain.items()
    return (
        tuple(each.fingerprint for each in material.path),
        material.trust_domain,
        frozenset(material.roots),
        frozenset((domain, frozenset(roots)) for domain, roots in by_domain),
    )


def _to_come(
    authorities: Mapping[str, Authority], domains: Mapping[str, TrustDomains | None]
) -> Iterator[_Alike]:
    """What proxies of clusters that have none would hold."""
    for cluster, each in authorities.items():
        known = domains[cluster]
        roots = (*each.material.roots, *(known.roots if known else ()))
        material = replace(each.material, roots=roots)
        yield _Alike(cluster, "every new proxy", material, each.source)


def _refusals(groups: Sequence[_Alike]) -> Iterator[Finding]:
    """Proxies that cannot verify others, each with the root that it lacks."""
    for verifying in groups:
        for shown in groups:
            path = shown.material.path
            if shown is verifying or not path:
                continue
            if not verifying.material.accepts(shown.material):
                expected = (
                    f"{verifying.names} to trust {_top(path)}, below which {shown.names} of "
                    f"{shown.cluster} holds its certificate"
                )
                yield Finding(
                    verifying.cluster,
                    expected,
                    _trusted(verifying.material, shown.material.trust_domain),
                    verifying.source,
                    _of(shown.cluster, verifying.cluster),
                )


def _trusted(verifying: TrustMaterial, trust_domain: str) -> str:
    """What peers of a trust domain are verified against."""
    listed = _listed(map(describe, verifying.roots_for(trust_domain)))
    return f"{listed or 'none'} for {trust_domain}" if verifying.roots_by_domain else listed


def _top(path: Sequence[Certificate]) -> str:
    """The root of a path; where it does not lead to one, the issuer that is missing."""
    last = path[-1]
    return str(last) if last.is_self_issued else last.issuer


def _shared(mesh: ObservedMesh, held: Mapping[str, Held]) -> Iterator[str]:
    """A note of control planes that sign with one key, which works."""
    owners: dict[str, set[str]] = {}
    for cluster, those in held.items():
        for _, seen in those:
            if seen.issuing is not None:
                primary = mesh.scenario.control_plane_of(cluster)
                owners.setdefault(seen.issuing.key, set()).add(primary)
    for names in owners.values():
        if len(names) > 1:
            yield f"{' and '.join(sorted(names))} sign with the same key: whoever gets it has both"


def _listed(certificates: Iterable[Certificate]) -> str:
    return ", ".join(map(str, certificates))


def _of(*clusters: str) -> Subject:
    return Subject(tuple(dict.fromkeys(clusters)))


REQUIREMENT = Requirement(
    id="TRUST-1",
    level="core",
    title=(
        "The proxies of all clusters accept each other's certificates: each holds one below a "
        "root that every other trusts. No certificate authority signs with an unsound chain."
    ),
    judge=judge,
    judge_early=judge_early,
    section="Before you begin: Configure Trust",
    url="https://istio.io/latest/docs/setup/install/multicluster/before-you-begin/#configure-trust",
    needs="sample",
    without_samples=True,
)
