"""Certificate authorities: each signs below a root that all others hand out to be trusted, in a
trust domain that they accept; and how long what they sign lasts.

What proxies hold decides, and refutes what secrets suggest. Source: Istio, Plug in CA Certificates;
Trust Domain Migration; pilot-agent (SECRET_TTL, SECRET_GRACE_PERIOD_RATIO); Security (identity and
certificate management).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from mesh_fixtures.diagnosis.cause import Case, Cause, Evidence, Kind, Layer, asked, get, listed
from mesh_fixtures.diagnosis.facts import Authority, ClusterFacts, ProxyIdentity, Root
from mesh_fixtures.install import ids
from mesh_fixtures.install.certificates import CACERTS
from mesh_fixtures.kube.clock import BACKDATED_SECONDS
from mesh_fixtures.probe.istiod import MESH_PATH
from mesh_fixtures.verdict.findings import Subject

_BOTH = ("TRUST-1", "TRUST-2")
DIFFERENT_ROOTS = Kind("different-roots", Layer.TRUST, ("TRUST-1",))
CACERTS_MISSING = Kind("cacerts-missing", Layer.TRUST, ("TRUST-1",))
CACERTS_UNSOUND = Kind("cacerts-unsound", Layer.TRUST, ("TRUST-1",))
CACERTS_UNUSED = Kind("cacerts-unused", Layer.TRUST, _BOTH, follows=("cacerts-missing",))
NOT_RESTARTED = Kind(
    "proxies-not-restarted", Layer.TRUST, _BOTH, follows=("cacerts-unused", "cacerts-missing")
)
BUNDLES = Kind("trust-bundles-differ", Layer.TRUST, ("TRUST-1",))
IN_TWO_FORMS = Kind("cacerts-in-two-forms", Layer.TRUST, ("ROTATION-1", "ROTATION-2"))
BUNDLE_MISSING = Kind(
    "root-bundle-missing",
    Layer.TRUST,
    ("WORKLOAD-1",),
    follows=("istiod-not-running", "namespace-not-selected"),
)

TRUST_DOMAINS = Kind("trust-domains-differ", Layer.TRUST, ("TRUST-2",))
SHORT = Kind("certificates-short-lived", Layer.TRUST, ("RESILIENCE-3",), alone=True)

SHORT_SECONDS: Final = 900.0
"""Less than it takes to bring an istiod back by hand. Istio's default is a day."""

_BUNDLE = "istio-ca-root-cert"
_OF_BUNDLE = ("configmap", "configmaps", "root cert", "namespace controller")
"""Of the lines that istiod logs where it cannot hand out the root."""

_RESTART = (
    "restart istiod, and then every pod with a proxy: kubectl --context={0} -n {1} rollout "
    "restart deployment"
)


def different_roots(case: Case) -> Iterator[Cause]:
    """Primaries that are given authorities which others do not trust."""
    given = {
        spec.name: authority
        for spec, facts in case.primaries
        if (authority := _usable(facts)) is not None
        and authority.present
        and _signs_for_proxies(case, spec.name)
    }
    unverified = [
        (signer, verifier)
        for signer, signing in given.items()
        for verifier, verifying in given.items()
        if signing.below
        and verifying.roots
        and not _accept(verifying.roots, signing.below)
        and not _proxies_accept(case, verifier, signing.below)
    ]
    if not unverified:
        return
    mutual = all((verifier, signer) in unverified for signer, verifier in unverified)
    broken = _odd(given, unverified) if mutual else [verifier for _, verifier in unverified]
    concerned = [name for name in given if any(name in pair for pair in unverified)]
    if mutual:
        roots = "; ".join(f"{name} has {listed(given[name].roots)}" for name in concerned)
        what = f"the certificate authorities of {_and(concerned)} have no common root: {roots}"
        remedy = (
            f"sign {_and(broken)}'s intermediate with the root of the others, replace {CACERTS}, "
            "restart istiod, and then every pod with a proxy"
        )
    else:
        what = "; ".join(
            f"{verifier} does not trust {given[signer].below[-1]}, below which {signer} signs: it "
            f"trusts {listed(given[verifier].roots)} only"
            for signer, verifier in unverified
        )
        remedy = (
            f"add the missing root to root-cert.pem in {CACERTS} of {_and(broken)}, restart its "
            "istiod, and then every pod with a proxy; where a root is replaced, all clusters trust "
            "the new one before any signs with it"
        )
    yield Cause(
        DIFFERENT_ROOTS,
        tuple(dict.fromkeys(broken)),
        what,
        tuple(
            Evidence(
                f"{name} signs with {given[name].issuing}, below {given[name].below[-1]}, and "
                f"trusts {listed(given[name].roots)}",
                _secret(case, name),
            )
            for name in concerned
        ),
        remedy,
        step=ids.cacerts(broken[0]),
        about=Subject(tuple(concerned)),
    )


def _odd(given: dict[str, Authority], unverified: Sequence[tuple[str, str]]) -> list[str]:
    """Those that differ from most; all, where there is no majority."""
    trusted = {
        name: frozenset(other for other in given if (name, other) not in unverified)
        for name in given
    }
    groups = sorted({*trusted.values()}, key=len)
    if len(groups[-1]) > len(groups[-2]):
        return [name for name in given if name not in groups[-1]]
    return [*given]


def _proxies_accept(case: Case, cluster: str, below: Sequence[Root]) -> bool:
    """Whether all proxies that a primary is in charge of verify what is signed below these."""
    held = [
        each.roots
        for spec, facts in case.clusters
        if case.scenario.control_plane_of(spec.name) == cluster
        for each in facts.proxies or ()
        if each.roots and not each.served_elsewhere
    ]
    return bool(held) and all(_accept(roots, below) for roots in held)


def missing(case: Case) -> Iterator[Cause]:
    """No authority is given, and the one that signs in its place is not trusted elsewhere."""
    primaries = [(s, known) for s, known in case.primaries if _signs_for_proxies(case, s.name)]
    for spec, facts in primaries:
        if facts.authority is None or facts.authority.present:
            continue
        others = [(each.name, known) for each, known in primaries if each != spec]
        apart = [
            name
            for name, known in others
            if (
                _signing(case, known)
                and _trusted(case, facts)
                and _signing(case, facts)
                and _trusted(case, known)
            )
            and not (
                _accept(_trusted(case, known), _signing(case, facts))
                and _accept(_trusted(case, facts), _signing(case, known))
            )
        ]
        if not apart:
            continue
        signs = _trusted(case, facts)
        yield Cause(
            CACERTS_MISSING,
            (spec.name,),
            f"{spec.name} has no secret {CACERTS}; its istiod hands out {listed(signs)}, which "
            f"{_and(apart)} {'does' if len(apart) == 1 else 'do'} not trust",
            (
                Evidence(
                    f"no secret {CACERTS} in {case.system_namespace}", _secret(case, spec.name)
                ),
                *_seen_bundle(case, spec.name, signs),
                *(
                    each
                    for name, known in others
                    if name in apart
                    for each in _seen_bundle(case, name, _trusted(case, known))
                ),
            ),
            f"create {CACERTS} with an intermediate of the common root (step "
            f"{ids.cacerts(spec.name)} of the plan), or let the authority that it is to use sign "
            "below that root; then " + _RESTART.format(spec.name, case.system_namespace),
            step=ids.cacerts(spec.name),
        )


def unsound(case: Case) -> Iterator[Cause]:
    for spec, facts in case.primaries:
        authority = facts.authority
        for defect in authority.defects if authority else ():
            secret = authority.secret or CACERTS if authority else CACERTS
            yield Cause(
                CACERTS_UNSOUND,
                (spec.name,),
                f"{secret} of {spec.name} cannot be trusted: {defect}",
                (Evidence(defect, _secret(case, spec.name, secret)),),
                f"replace {secret} by a chain that is valid, then "
                + _RESTART.format(spec.name, case.system_namespace),
                step=ids.cacerts(spec.name),
            )


def unused(case: Case) -> Iterator[Cause]:
    """The secret is read when istiod starts; later on, only another intermediate is taken over."""
    for spec, facts in case.primaries:
        if _is_unused(case, facts) and _signs_for_proxies(case, spec.name):
            signs, wanted = _bundle(case, facts), facts.authority.roots if facts.authority else ()
            yield Cause(
                CACERTS_UNUSED,
                (spec.name,),
                f"istiod of {spec.name} does not use {CACERTS}: it hands out {listed(signs)} as "
                f"root, and {CACERTS} has {listed(wanted)}",
                (
                    Evidence(f"{CACERTS} has {listed(wanted)}", _secret(case, spec.name)),
                    *_seen_bundle(case, spec.name, signs),
                ),
                f"{CACERTS} was created or changed after istiod started: "
                + _RESTART.format(spec.name, case.system_namespace),
                step=ids.istiod(spec.name),
            )


def _is_unused(case: Case, facts: ClusterFacts) -> bool:
    """Whether what istiod hands out does not verify what it was given to sign with."""
    given = _usable(facts)
    below = given.below if given is not None and given.present else ()
    return bool(below and _bundle(case, facts)) and not _accept(_bundle(case, facts), below)


def in_two_forms(case: Case) -> Iterator[Cause]:
    """A secret with entries of both forms: istiod reads one of them, and people replace the other.

    That makes no difference until the authorities are replaced.
    """
    for spec, facts in case.primaries:
        given = facts.authority
        if given is not None and given.unread:
            unread = listed(given.unread)
            yield Cause(
                IN_TWO_FORMS,
                (spec.name,),
                f"{CACERTS} of {spec.name} has an authority in two forms, of which istiod reads "
                f"tls.crt, tls.key and ca.crt: what becomes of {unread} makes no difference",
                (Evidence(f"{CACERTS} has {unread}, and tls.crt", _secret(case, spec.name)),),
                f"remove the entries from {CACERTS} that are not maintained: if those are tls.crt, "
                "tls.key and ca.crt, " + _RESTART.format(spec.name, case.system_namespace),
                step=ids.cacerts(spec.name),
            )


def not_restarted(case: Case) -> Iterator[Cause]:
    """Proxies keep what they verify their peers against until they ask again; of an authority that
    is unsound, they would get nothing of use.
    """
    for spec, facts in case.clusters:
        in_charge = case.facts.clusters[case.scenario.control_plane_of(spec.name)]
        if in_charge.authority is not None and in_charge.authority.defects:
            continue
        wanted = _signing(case, in_charge)
        stale = [
            each
            for each in facts.proxies or ()
            if each.roots
            and not each.served_elsewhere
            and wanted
            and not _accept(each.roots, wanted)
        ]
        if stale:
            yield Cause(
                NOT_RESTARTED,
                (spec.name,),
                f"proxies in {spec.name} verify their peers against {listed(stale[0].roots)}, and "
                f"istiod signs below {wanted[-1]} by now",
                (
                    *(Evidence(f"{each.pod}: {listed(each.roots)}", each.source) for each in stale),
                    *_seen_bundle(case, spec.name, _bundle(case, facts)),
                ),
                f"restart them: kubectl --context={spec.name} rollout restart deployment, in "
                f"{case.system_namespace} and the workloads' namespaces",
            )


def trust_bundles(case: Case) -> Iterator[Cause]:
    """Proxies that are given certificates by SDS servers of their nodes, and peers that do not
    trust those, or are not trusted by them; of each, its certificate's path to a root is known.
    """
    held = [
        (spec.name, proxy)
        for spec, facts in case.clusters
        for proxy in facts.proxies or ()
        if _accept(proxy.roots, proxy.below)
    ]
    refused: dict[tuple[str, str], tuple[ProxyIdentity, ProxyIdentity]] = {}
    for verifier, verifying in held:
        for signer, shown in held:
            is_elsewhere = verifying.served_elsewhere or shown.served_elsewhere
            if is_elsewhere and not _accept(verifying.roots, shown.below):
                refused.setdefault((verifier, signer), (verifying, shown))
    if not refused:
        return
    concerned = tuple(dict.fromkeys(name for pair in refused for name in pair))
    yield Cause(
        BUNDLES,
        concerned,
        "; ".join(
            f"proxies of {verifier} do not trust {shown.below[-1]}, below which proxies of "
            f"{signer} have their certificates: they trust {listed(verifying.roots)}"
            for (verifier, signer), (verifying, shown) in refused.items()
        ),
        tuple(
            Evidence(
                f"{proxy.pod} of {cluster} trusts {listed(proxy.roots)}, and has its certificate "
                f"below {proxy.below[-1]}",
                proxy.source,
            )
            for pair, proxies in refused.items()
            for cluster, proxy in zip(pair, proxies, strict=True)
        ),
        f"give the authorities of {_and(concerned)} one upstream root, or federate them: what "
        "signs for the proxies of one hands out the roots of the others as trusted too (with "
        "SPIRE, federatesWith and spire-server bundle set)",
    )


def trust_domains(case: Case) -> Iterator[Cause]:
    """Primaries whose proxies refuse the identities that another one gives."""
    known = {
        spec.name: (istiod, istiod.trust_domains)
        for spec, facts in case.primaries
        for istiod in facts.istiods or ()
        if istiod.trust_domains is not None
    }
    for verifier, (istiod, accepted) in known.items():
        refused = {
            signer: domains.own
            for signer, (_, domains) in known.items()
            if not accepted.accept(domains.own)
        }
        if not refused:
            continue
        own = ", ".join((accepted.own, *(accepted.others or ())))
        named = "; ".join(f"{signer} names workloads in {own}" for signer, own in refused.items())
        domains = sorted({*refused.values()})
        yield Cause(
            TRUST_DOMAINS,
            (verifier,),
            f"proxies of {verifier} accept peers of the trust domain {own} only: {named}",
            (
                Evidence(
                    f"istiod of {verifier}: trustDomain and aliases {own}",
                    asked(case, verifier, istiod, MESH_PATH),
                ),
                *(
                    Evidence(f"istiod of {signer}: trustDomain {own}")
                    for signer, own in refused.items()
                ),
            ),
            f"give all clusters one meshConfig.trustDomain, or add {listed(domains)} to "
            f"meshConfig.trustDomainAliases of {verifier}",
            step=ids.istiod(verifier),
            about=Subject((verifier, *refused)),
        )


def bundle_missing(case: Case) -> Iterator[Cause]:
    """Pods that wait for the root that istiod hands out to each namespace: not where it does so in
    a ConfigMap of another name, or in none (Istio: global.trustBundleName; cluster trust bundles).
    """
    for spec, facts in case.clusters:
        known = facts.root_bundles
        waiting = [
            each
            for each in facts.pods_in(case.samples, {})
            if each.wants_bundle and not each.serving
        ]
        if known is None or case.samples in known or facts.namespace(case.samples) is None:
            continue
        if waiting and (spec.is_primary or case.system_namespace in known):
            primary = case.scenario.control_plane_of(spec.name)
            show = get(spec.name, f"configmap {_BUNDLE}", case.samples)
            yield Cause(
                BUNDLE_MISSING,
                tuple(dict.fromkeys((spec.name, primary))),
                f"the namespace {case.samples} of {spec.name} has no ConfigMap {_BUNDLE}, by which "
                f"proxies verify istiod: istiod of {primary} has not put it there",
                (
                    Evidence(f"no ConfigMap {_BUNDLE} in {case.samples}", show),
                    *_logged(case, primary),
                    *(
                        Evidence(str(each), get(spec.name, "events", case.samples))
                        for each in facts.warned(case.samples, "FailedMount")[:1]
                        if _BUNDLE in each.message
                    ),
                    *(Evidence(f"pod {each}", show) for each in waiting[:2]),
                ),
                f"see in the log of istiod of {primary} why it does not write ConfigMaps: its "
                f"cluster role must permit it to get, list, watch, create and update them in all "
                f"namespaces of {spec.name}",
                about=Subject((spec.name,)),
            )


def _logged(case: Case, primary: str) -> Iterator[Evidence]:
    known = case.facts.clusters.get(primary)
    for istiod in (known.istiods if known else None) or ():
        lines = [
            line for line in istiod.log or () if any(each in line.lower() for each in _OF_BUNDLE)
        ]
        if lines:
            source = f"kubectl --context={primary} -n {case.system_namespace} logs {istiod.pod}"
            yield Evidence(f"istiod of {primary}: {lines[-1]}", source)


def short_lived(case: Case) -> Iterator[Cause]:
    """Certificates of proxies that expire so soon that the mesh cannot do without istiod."""
    for spec, facts in case.clusters:
        short = {
            proxy.pod: (proxy.lifetime - BACKDATED_SECONDS, proxy.source)
            for proxy in facts.proxies or ()
            if proxy.lifetime is not None
            and not proxy.served_elsewhere
            and proxy.lifetime - BACKDATED_SECONDS < SHORT_SECONDS
        }
        if short:
            least = min(seconds for seconds, _ in short.values())
            yield Cause(
                SHORT,
                (spec.name,),
                f"certificates of proxies in {spec.name} last for {least:.0f} s: when istiod is "
                f"down for longer, {listed(short)} can reach nothing and is reached by nobody",
                tuple(
                    Evidence(f"{pod}: certificates that last for {seconds:.0f} s", source)
                    for pod, (seconds, source) in short.items()
                ),
                "let them last for hours: remove SECRET_TTL from the proxies' metadata "
                "(annotation proxy.istio.io/config, or meshConfig.defaultConfig.proxyMetadata)",
                certainty="likely",
            )


RULES = (
    different_roots,
    missing,
    unsound,
    unused,
    in_two_forms,
    not_restarted,
    trust_bundles,
    trust_domains,
    bundle_missing,
    short_lived,
)


def _signs_for_proxies(case: Case, primary: str) -> bool:
    """Whether a primary's istiod signs certificates of proxies, as far as it is known: not where
    all of its proxies get theirs from SDS servers of their nodes, as with SPIRE.
    """
    proxied = [
        pod
        for spec, facts in case.clusters
        if case.scenario.control_plane_of(spec.name) == primary
        for pod in (*facts.pods_in(case.samples, {}), *facts.gateway_pods)
        if pod.proxy is not None
    ]
    return not proxied or not all(pod.served_elsewhere for pod in proxied)


def _usable(facts: ClusterFacts) -> Authority | None:
    """What istiod is given, unless it cannot sign with it."""
    known = facts.authority
    return known if known is not None and not known.defects else None


def _accept(roots: Iterable[Root], below: Sequence[Root]) -> bool:
    """Whether roots verify what is signed below these certificates."""
    return any(root.verifies_as(each) for root in roots for each in below)


def _bundle(case: Case, facts: ClusterFacts) -> tuple[Root, ...]:
    """What istiod hands out to be trusted."""
    return (facts.root_bundles or {}).get(case.system_namespace, ())


def _trusted(case: Case, facts: ClusterFacts) -> tuple[Root, ...]:
    """What new proxies trust, as far as it is known."""
    return _bundle(case, facts) or (facts.authority.roots if facts.authority else ())


def _signing(case: Case, facts: ClusterFacts) -> tuple[Root, ...]:
    """What certificates of new proxies are verified by, as far as it is known."""
    known = _usable(facts)
    return (
        _bundle(case, facts)
        if known is None or not known.below or _is_unused(case, facts)
        else known.below
    )


def _seen_bundle(case: Case, cluster: str, roots: tuple[Root, ...]) -> tuple[Evidence, ...]:
    seen = f"istiod of {cluster} hands out {listed(roots)}"
    return (Evidence(seen, get(cluster, f"configmap/{_BUNDLE} -o yaml", case.system_namespace)),)


def _secret(case: Case, cluster: str, name: str = CACERTS) -> str:
    return get(cluster, f"secret {name} -o yaml", case.system_namespace)


def _and(names: Iterable[str]) -> str:
    *first, last = dict.fromkeys(names)
    return f"{', '.join(first)} and {last}" if first else last
