"""TRUST-2: the certificates of the proxies."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from mesh_fixtures.install.certificates import CACERTS
from mesh_fixtures.kube import KubeClient
from mesh_fixtures.probe.certificates import Authority, Certificate, authority
from mesh_fixtures.probe.identities import Identity, identity, spiffe_id
from mesh_fixtures.probe.proxies import Proxy, ask_each
from mesh_fixtures.requirements.observed import ObservedMesh
from mesh_fixtures.requirements.requirement import Outcome, Requirement
from mesh_fixtures.verdict.findings import Finding, Subject

Held = Sequence[tuple[Proxy, Identity]]


def identities(kube: KubeClient) -> Sequence[tuple[Proxy, Identity | None]]:
    answers = ask_each(kube, identity)
    if answers.silent and not answers.answered:
        raise answers.silent[0][1]
    return answers.answered


@dataclass(frozen=True)
class Probes:
    """How the mesh is observed."""

    authority: Callable[[KubeClient], Authority | None] = authority
    identities: Callable[[KubeClient], Sequence[tuple[Proxy, Identity | None]]] = identities


def judge(mesh: ObservedMesh, probes: Probes = Probes()) -> Outcome:
    view, scenario = mesh.view, mesh.scenario
    authorities = view.each(probes.authority, [cluster.name for cluster in scenario.primaries])
    found = view.each(probes.identities)
    findings = [*_without_authority(authorities)]
    for cluster, those in found.items():
        if not those and mesh.has_samples:
            findings.append(Finding(cluster, "a ready proxy", "none", about=Subject((cluster,))))
        findings += [finding for each in those for finding in _unsound(*each)]
        signing = authorities[scenario.control_plane_of(cluster)]
        if signing is not None:
            held = [(proxy, seen) for proxy, seen in those if seen is not None]
            findings += [*_signed_by_others(held, signing), *_trusting_others(held, signing)]
    return Outcome.judged(
        findings, {f"{cluster}.proxies": len(those) for cluster, those in found.items()}
    )


def _without_authority(authorities: Mapping[str, Authority | None]) -> Iterator[Finding]:
    for primary, signing in authorities.items():
        if signing is None:
            expected = f"a secret {CACERTS} in istio-system to sign the proxies' certificates"
            yield Finding(primary, expected, "none", about=Subject((primary,)))


def _unsound(proxy: Proxy, seen: Identity | None) -> Iterator[Finding]:
    if seen is None:
        expected = f"a certificate and a root in the proxy of {proxy}"
        yield Finding(proxy.cluster, expected, "none", proxy.source, _of(proxy))
        return
    wanted = spiffe_id(proxy.pod)
    if seen.spiffe_ids != (wanted,):
        found = ", ".join(seen.spiffe_ids) or "no SPIFFE id"
        expected = f"the proxy of {proxy} to be {wanted}"
        yield Finding(proxy.cluster, expected, found, seen.source, _of(proxy))
    for defect in seen.defects:
        expected = f"a sound chain of certificates in the proxy of {proxy}"
        yield Finding(proxy.cluster, expected, defect, seen.source, _of(proxy))


def _signed_by_others(held: Held, signing: Authority) -> Iterator[Finding]:
    def issuer(seen: Identity) -> str:
        if seen.issuing is None or seen.issuing.key == signing.issuing.key:
            return ""
        return _named(seen.issuing)

    wanted = _named(signing.issuing)
    return _differing(held, issuer, lambda names: f"{names} to hold certificates by {wanted}")


def _trusting_others(held: Held, signing: Authority) -> Iterator[Finding]:
    wanted = {root.fingerprint for root in signing.roots}

    def roots(seen: Identity) -> str:
        known = {root.fingerprint for root in seen.roots}
        return "" if wanted <= known else _listed(seen.roots)

    return _differing(held, roots, lambda names: f"{names} to trust {_listed(signing.roots)}")


def _differing(
    held: Held, differs: Callable[[Identity], str], expected: Callable[[str], str]
) -> Iterator[Finding]:
    """One finding for all the proxies that differ in the same way.

    Args:
        differs: what is seen in place of what must be; empty where nothing differs.
        expected: what must be, of the proxies with these names.
    """
    alike: dict[str, list[tuple[Proxy, Identity]]] = {}
    for proxy, seen in held:
        alike.setdefault(differs(seen), []).append((proxy, seen))
    for difference, those in alike.items():
        if difference:
            proxy, seen = those[0]
            names = "the proxies of " + ", ".join(str(each) for each, _ in those)
            yield Finding(proxy.cluster, expected(names), difference, seen.source, _of(proxy))


def _listed(certificates: Iterable[Certificate]) -> str:
    return ", ".join(map(_named, certificates))


def _named(certificate: Certificate) -> str:
    return f"{certificate.subject} {certificate.short}"


def _of(proxy: Proxy) -> Subject:
    return Subject((proxy.cluster,))


REQUIREMENT = Requirement(
    id="TRUST-2",
    level="core",
    title=(
        "Every proxy holds a valid certificate with its SPIFFE id, signed by its control "
        "plane's certificate authority, and trusts that authority's root."
    ),
    judge=judge,
    section="Security: Identity and certificate management",
    url="https://istio.io/latest/docs/concepts/security/#pki",
    needs="sample",
    rests_on=(
        "TRUST-1",
        "WORKLOAD-1",
    ),
    without_samples=True,
)
