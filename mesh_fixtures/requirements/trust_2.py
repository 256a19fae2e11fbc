"""TRUST-2: the certificates of the proxies."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from operator import attrgetter

from mesh_fixtures.kube import Clock, KubeClient
from mesh_fixtures.kube.clock import BACKDATED_SECONDS, THIS, spoken
from mesh_fixtures.probe.certificates import Authority, Certificate, authority
from mesh_fixtures.probe.identities import (
    Identity,
    TrustDomains,
    identities,
    spiffe_id,
    trust_domain_of,
    trust_domains,
)
from mesh_fixtures.probe.proxies import Proxy, ProxyAnswers
from mesh_fixtures.probe.workloads import is_signed_elsewhere
from mesh_fixtures.requirements.observed import ObservedMesh
from mesh_fixtures.requirements.requirement import Outcome, Requirement
from mesh_fixtures.verdict.findings import Finding, Subject

Held = Sequence[tuple[Proxy, Identity]]


@dataclass(frozen=True)
class Probes:
    """How the mesh is observed."""

    authority: Callable[[KubeClient], Authority | None] = authority
    identities: Callable[[KubeClient], ProxyAnswers[Identity | None]] = identities
    trust_domains: Callable[[KubeClient], TrustDomains | None] = trust_domains
    clock: Callable[[KubeClient], Clock | None] = attrgetter("clock")


def judge(mesh: ObservedMesh, probes: Probes = Probes()) -> Outcome:
    view, scenario = mesh.view, mesh.scenario
    primaries = [cluster.name for cluster in scenario.primaries]
    authorities = view.each(probes.authority, primaries)
    domains = view.each(probes.trust_domains, primaries)
    found = view.each(probes.identities)
    findings: list[Finding] = []
    for cluster, those in found.items():
        if mesh.has_samples and not those.answered and not those.silent:
            findings.append(Finding(cluster, "a ready proxy", "none", about=Subject((cluster,))))
        findings += [finding for each in those.answered for finding in _unsound(*each)]
        held = [(proxy, seen) for proxy, seen in those.answered if seen is not None]
        primary = scenario.control_plane_of(cluster)
        findings += _misnamed(held, domains[primary])
        findings += _strange(held, primary, domains)
        signing = authorities[primary]
        if signing is not None:
            own = [each for each in held if not is_signed_elsewhere(each[0].pod)]
            findings += [*_signed_by_others(own, signing), *_trusting_others(own, signing)]
    figures = {f"{cluster}.proxies": len(those.answered) for cluster, those in found.items()}
    silent = [error for those in found.values() for _, error in those.silent]
    if silent and not findings:
        return Outcome.inconclusive(silent[0], figures)
    return Outcome.judged(findings, figures, _wrong_time(view.each(probes.clock)))


def _wrong_time(clocks: Mapping[str, Clock | None]) -> Iterator[str]:
    """A note if this machine's clock is at odds with that of every cluster."""
    known = [clock for clock in clocks.values() if clock is not None]
    if known and all(clock.differs_from(THIS, BACKDATED_SECONDS) for clock in known):
        spans = ", ".join(
            f"{name} by {spoken(clock.ahead)}" for name, clock in clocks.items() if clock
        )
        yield (
            "this machine's clock differs from those of all clusters: they are ahead of it or "
            f"behind it, {spans}; certificates are judged by the clusters' own"
        )


def _unsound(proxy: Proxy, seen: Identity | None) -> Iterator[Finding]:
    if seen is None:
        expected = f"a certificate and a root in the proxy of {proxy}"
        yield Finding(proxy.cluster, expected, "none", proxy.source, _of(proxy))
        return
    for defect in seen.defects:
        expected = f"a sound chain of certificates in the proxy of {proxy}"
        yield Finding(proxy.cluster, expected, defect, seen.source, _of(proxy))


def _misnamed(held: Held, domains: TrustDomains | None) -> Iterator[Finding]:
    """Proxies that do not hold the SPIFFE id of their pod's service account."""
    for proxy, seen in held:
        names = domains.names if domains else map(trust_domain_of, seen.spiffe_ids)
        wanted = tuple(spiffe_id(proxy.pod, name) for name in names) or (spiffe_id(proxy.pod),)
        if len(seen.spiffe_ids) != 1 or seen.spiffe_ids[0] not in wanted:
            expected = f"the proxy of {proxy} to be {' or '.join(wanted)}"
            found = ", ".join(seen.spiffe_ids) or "no SPIFFE id"
            yield Finding(proxy.cluster, expected, found, seen.source, _of(proxy))


def _strange(
    held: Held, primary: str, known: Mapping[str, TrustDomains | None]
) -> Iterator[Finding]:
    """Proxies whose trust domain those of another control plane do not accept."""
    for other, domains in known.items():
        if domains is not None and other != primary:
            yield from _unknown_to(other, domains, held)


def _unknown_to(other: str, domains: TrustDomains, held: Held) -> Iterator[Finding]:
    def unknown(seen: Identity) -> str:
        names = dict.fromkeys(map(trust_domain_of, seen.spiffe_ids))
        return ", ".join(name for name in names if name and not domains.accept(name))

    accepted = ", ".join((*domains.names, *domains.of_others))
    wanted = f"to be of a trust domain that {other} accepts, {accepted}"
    return _differing(held, unknown, lambda names: f"{names} {wanted}", about=(other,))


def _signed_by_others(held: Held, signing: Authority) -> Iterator[Finding]:
    def issuer(seen: Identity) -> str:
        if seen.issuing is None or signing.material.accepts(seen.material):
            return ""
        return f"ones by {seen.issuing}"

    wanted = f"below the roots of {signing.secret}, {_listed(signing.roots)}"
    return _differing(held, issuer, lambda names: f"{names} to hold certificates {wanted}")


def _trusting_others(held: Held, signing: Authority) -> Iterator[Finding]:
    def roots(seen: Identity) -> str:
        return "" if seen.material.accepts(signing.material) else _listed(seen.roots)

    wanted = f"what istiod signs with, {signing.issuing}"
    return _differing(held, roots, lambda names: f"{names} to trust {wanted}")


def _differing(
    held: Held,
    differs: Callable[[Identity], str],
    expected: Callable[[str], str],
    *,
    about: tuple[str, ...] = (),
) -> Iterator[Finding]:
    """One finding for all the proxies that differ in the same way.

    Args:
        differs: what is seen in place of what must be; empty where nothing differs.
        expected: what must be, of the proxies with these names.
        about: clusters that it concerns besides the proxies' own.
    """
    alike: dict[str, list[tuple[Proxy, Identity]]] = {}
    for proxy, seen in held:
        alike.setdefault(differs(seen), []).append((proxy, seen))
    for difference, those in alike.items():
        if difference:
            proxy, seen = those[0]
            names = "the proxies of " + ", ".join(str(each) for each, _ in those)
            yield Finding(
                proxy.cluster, expected(names), difference, seen.source, _of(proxy, *about)
            )


def _listed(certificates: Iterable[Certificate]) -> str:
    return ", ".join(map(str, certificates))


def _of(proxy: Proxy, *others: str) -> Subject:
    return Subject((proxy.cluster, *others))


REQUIREMENT = Requirement(
    id="TRUST-2",
    level="core",
    title=(
        "Every proxy holds a valid certificate with its SPIFFE id, in a trust domain that all "
        "control planes accept; and it and its own control plane accept what the other signs."
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
