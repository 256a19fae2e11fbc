"""Certificate authorities: one root for all primaries, in use before anything else is.

Source: Istio, Plug in CA Certificates.
"""

from __future__ import annotations

from collections.abc import Iterator

from mesh_fixtures.diagnosis.cause import Case, Cause, Evidence, Kind, Layer, get, listed
from mesh_fixtures.diagnosis.facts import Authority, ClusterFacts, Root
from mesh_fixtures.install import ids
from mesh_fixtures.install.certificates import CACERTS
from mesh_fixtures.install.names import SYSTEM_NAMESPACE

DIFFERENT_ROOTS = Kind("different-roots", Layer.TRUST, ("TRUST-1",))
CACERTS_MISSING = Kind("cacerts-missing", Layer.TRUST, ("TRUST-1",))
CACERTS_UNSOUND = Kind("cacerts-unsound", Layer.TRUST, ("TRUST-1",))
CACERTS_UNUSED = Kind("cacerts-unused", Layer.TRUST, ("TRUST-2",), follows=("cacerts-missing",))
NOT_RESTARTED = Kind(
    "proxies-not-restarted",
    Layer.TRUST,
    ("TRUST-2",),
    follows=("cacerts-unused", "cacerts-missing"),
)
INTERMEDIATE_SHARED = Kind("intermediate-shared", Layer.TRUST, ("TRUST-1",), alone=True)

_BUNDLE = "configmap/istio-ca-root-cert"
_RESTART = (
    "restart istiod, and then every pod with a proxy: kubectl --context={0} -n istio-system "
    "rollout restart deployment"
)


def different_roots(case: Case) -> Iterator[Cause]:
    """Groups of primaries that do not trust each other; the smaller ones are to be mended."""
    groups: dict[frozenset[str], list[tuple[str, Authority]]] = {}
    for spec, facts in case.primaries:
        if facts.authority is not None and facts.authority.roots:
            known = frozenset(root.fingerprint for root in facts.authority.roots)
            groups.setdefault(known, []).append((spec.name, facts.authority))
    if len(groups) < 2:
        return
    largest = max(len(group) for group in groups.values())
    most = [group for group in groups.values() if len(group) == largest]
    odd = [
        name
        for group in groups.values()
        if len(most) > 1 or group is not most[0]
        for name, _ in group
    ]
    seen = [(name, each) for group in groups.values() for name, each in group]
    roots = "; ".join(f"{name} has {listed(each.roots)}" for name, each in seen)
    yield Cause(
        DIFFERENT_ROOTS,
        tuple(odd),
        f"the certificate authorities of {_and([name for name, _ in seen])} have no common root: "
        f"{roots}",
        tuple(
            Evidence(f"{name} signs with {each.issuing}, below {listed(each.roots)}", _secret(name))
            for name, each in seen
        ),
        f"sign {_possessive(odd)} intermediate with the root of the others, replace {CACERTS}, "
        "restart istiod, and then every pod with a proxy",
        step=ids.cacerts(odd[0]),
    )


def missing(case: Case) -> Iterator[Cause]:
    for spec, facts in case.primaries:
        if facts.authority is None or facts.authority.present:
            continue
        signs = _bundle(facts)
        with_itself = f"; istiod signs with a root of its own, {listed(signs)}" if signs else ""
        yield Cause(
            CACERTS_MISSING,
            (spec.name,),
            f"{spec.name} has no secret {CACERTS}{with_itself}",
            (
                Evidence(f"no secret {CACERTS} in {SYSTEM_NAMESPACE}", _secret(spec.name)),
                *(_seen_bundle(spec.name, signs) if signs else ()),
            ),
            f"create {CACERTS} with an intermediate of the common root (step "
            f"{ids.cacerts(spec.name)} of the plan); then " + _RESTART.format(spec.name),
            step=ids.cacerts(spec.name),
        )


def unsound(case: Case) -> Iterator[Cause]:
    for spec, facts in case.primaries:
        for defect in facts.authority.defects if facts.authority else ():
            yield Cause(
                CACERTS_UNSOUND,
                (spec.name,),
                f"{CACERTS} of {spec.name} cannot be trusted: {defect}",
                (Evidence(defect, _secret(spec.name)),),
                f"replace {CACERTS} by a chain that is valid, then " + _RESTART.format(spec.name),
                step=ids.cacerts(spec.name),
            )


def unused(case: Case) -> Iterator[Cause]:
    """The secret is read when istiod starts."""
    for spec, facts in case.primaries:
        wanted = facts.authority.roots if facts.authority else ()
        signs = _bundle(facts)
        if wanted and signs and not {*_prints(wanted)} & {*_prints(signs)}:
            yield Cause(
                CACERTS_UNUSED,
                (spec.name,),
                f"istiod of {spec.name} does not use {CACERTS}: it hands out {listed(signs)} as "
                f"root, and {CACERTS} has {listed(wanted)}",
                (
                    Evidence(f"{CACERTS} has {listed(wanted)}", _secret(spec.name)),
                    *_seen_bundle(spec.name, signs),
                ),
                f"{CACERTS} was created or changed after istiod started: "
                + _RESTART.format(spec.name),
                step=ids.istiod(spec.name),
            )


def intermediate_shared(case: Case) -> Iterator[Cause]:
    owners: dict[str, str] = {}
    for spec, facts in case.primaries:
        key = facts.authority.issuing_key if facts.authority else ""
        owner = owners.setdefault(key, spec.name) if key else spec.name
        if owner != spec.name:
            yield Cause(
                INTERMEDIATE_SHARED,
                (spec.name,),
                f"{spec.name} signs with the same intermediate as {owner}",
                (Evidence(f"both have the key {key[:16]}", _secret(spec.name)),),
                f"give {spec.name} an intermediate of its own",
                step=ids.cacerts(spec.name),
            )


def not_restarted(case: Case) -> Iterator[Cause]:
    """Proxies keep what they verify their peers against until they ask again."""
    for spec, facts in case.clusters:
        wanted = _bundle(facts)
        stale = [
            each
            for each in facts.proxies or ()
            if each.roots and wanted and not {*_prints(each.roots)} & {*_prints(wanted)}
        ]
        if stale:
            yield Cause(
                NOT_RESTARTED,
                (spec.name,),
                f"proxies in {spec.name} verify their peers against {listed(stale[0].roots)}, and "
                f"istiod hands out {listed(wanted)} by now",
                (
                    *(Evidence(f"{each.pod}: {listed(each.roots)}", each.source) for each in stale),
                    *_seen_bundle(spec.name, wanted),
                ),
                f"restart them: kubectl --context={spec.name} rollout restart deployment, in "
                "istio-system and the workloads' namespaces",
            )


RULES = (different_roots, missing, unsound, unused, intermediate_shared, not_restarted)


def _bundle(facts: ClusterFacts) -> tuple[Root, ...]:
    """What istiod hands out to be trusted."""
    return (facts.root_bundles or {}).get(SYSTEM_NAMESPACE, ())


def _seen_bundle(cluster: str, roots: tuple[Root, ...]) -> tuple[Evidence, ...]:
    seen = f"istiod of {cluster} hands out {listed(roots)}"
    return (Evidence(seen, get(cluster, f"{_BUNDLE} -o yaml", SYSTEM_NAMESPACE)),)


def _prints(roots: tuple[Root, ...]) -> list[str]:
    return [root.fingerprint for root in roots]


def _secret(cluster: str) -> str:
    return get(cluster, f"secret {CACERTS} -o yaml", SYSTEM_NAMESPACE)


def _and(names: list[str]) -> str:
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def _possessive(names: list[str]) -> str:
    return f"{_and(names)}'s"
