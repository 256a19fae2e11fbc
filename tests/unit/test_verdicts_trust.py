"""Verdicts on written-down observations: each can hold, and each can fail. Trust."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace

import pytest
from certificate_examples import Made, make, material
from cryptography import x509
from fake_kube import pod
from mesh_examples import SCENARIOS
from verdicts import SOURCE, FakeView, checked, found, holds_unless, mesh

from mesh_fixtures.errors import ProbeError
from mesh_fixtures.kube import Clock, Container, KubeClient
from mesh_fixtures.probe.certificates import Authority, describe
from mesh_fixtures.probe.identities import Identity, TrustDomains
from mesh_fixtures.probe.proxies import Proxy, ProxyAnswers
from mesh_fixtures.requirements import Outcome, trust_1, trust_2
from mesh_fixtures.scenario import Scenario

PRIMARY_REMOTE = SCENARIOS["primary-remote-multi-network"]
MULTI_PRIMARY = SCENARIOS["multi-primary"]
SLEEP = "spiffe://cluster.local/ns/sample/sa/sleep"
A, B = make("A"), make("B")
ONE, TWO = make("one", A), make("two", A)
BELOW_B = make("below b", B)
LEAF = describe(make("", ONE, [SLEEP]).certificate)
NO_ANSWER = ProbeError(wanted="an answer of the proxy", seen="none", where="cluster2")


def proxy(cluster: str, name: str = "sleep") -> Proxy:
    sidecar = Container("istio-proxy")
    named = replace(pod(f"{name}-{cluster}"), containers=(sidecar,), service_account="sleep")
    return Proxy(SOURCE, cluster, named)


def holding(issuing: Made | None, *roots: Made) -> Identity:
    """What a proxy of Sleep holds: a leaf, who signed it, and what it trusts."""
    return Identity(SOURCE, LEAF, (SLEEP,), material(issuing, *roots), ())


def authority(issuing: Made, *roots: Made, defects: tuple[str, ...] = ()) -> Authority:
    return Authority(SOURCE, "cacerts", material(issuing, *roots), defects)


GOOD = holding(ONE, A)


def without_fingerprints(value: object) -> str | None:
    """The same id in each process, whose certificates are its own."""
    return re.sub(r"\b[0-9a-f]{16}\b", "print", value) if isinstance(value, str) else None


# TRUST-1 ------------------------------------------------------------------------------------------


def check_trust_1(
    second: Identity | None,
    first: Identity | None = GOOD,
    signing: Mapping[str, Authority | None] | None = None,
) -> Outcome:
    held = {"cluster1": first, "cluster2": second}
    probes = trust_1.Probes(
        authority=lambda kube: (signing or {}).get(kube.name),
        identities=lambda kube: ProxyAnswers(((proxy(kube.name), held[kube.name]),)),
    )
    return checked(trust_1, mesh(FakeView(MULTI_PRIMARY)), probes)


def named(root: Made) -> str:
    described = describe(root.certificate)
    return f"{described.subject} {described.short}"


@pytest.mark.parametrize(
    ("first", "second", "finding"),
    [
        (GOOD, holding(TWO, A), ""),
        (GOOD, holding(ONE, A), ""),
        (holding(A, A), holding(A, A), ""),
        (holding(ONE, A, B), holding(TWO, A), ""),
        (holding(ONE, A, B), holding(BELOW_B, B, A), ""),
        (GOOD, None, ""),
        (
            holding(BELOW_B, A, B),
            holding(TWO, A),
            f"every proxy to trust {named(B)}, below which every proxy of cluster1 holds its",
        ),
        (GOOD, holding(BELOW_B, B), f"cluster1: expected every proxy to trust {named(B)}"),
        (GOOD, holding(BELOW_B, A), "cluster1: expected every proxy to trust CN=B, below"),
    ],
    ids=without_fingerprints,
)
def test_proxies_accept_each_other(first: Identity, second: Identity | None, finding: str) -> None:
    assert holds_unless(finding, check_trust_1(second, first))


def test_only_who_lacks_a_root_is_named() -> None:
    outcome = check_trust_1(holding(TWO, A), holding(BELOW_B, A, B))
    assert [each.cluster for each in outcome.findings] == ["cluster2"]
    assert outcome.findings[0].about.clusters == ("cluster1", "cluster2")


def test_proxies_of_one_cluster_need_not_be_alike() -> None:
    """As after a rotation: Sleep was restarted, and another proxy was not."""
    here = ((proxy("cluster1"), holding(BELOW_B, B)), (proxy("cluster1", "old"), GOOD))
    held = {"cluster1": here, "cluster2": ((proxy("cluster2"), holding(TWO, A, B)),)}
    probes = trust_1.Probes(
        authority=lambda kube: None, identities=lambda kube: ProxyAnswers(held[kube.name])
    )
    seen = found(checked(trust_1, mesh(FakeView(MULTI_PRIMARY)), probes))
    assert "cluster1: expected the proxies of sample/old-cluster1 to trust CN=B" in seen
    assert "cluster1: expected the proxies of sample/sleep-cluster1 to trust CN=A" in seen
    assert "cluster2: " not in seen


@pytest.mark.parametrize("early", [True, False])
def test_an_unsound_authority_fails_by_its_name(early: bool) -> None:
    signing = {"cluster2": authority(TWO, A, defects=("CN=two is valid from tomorrow",))}
    outcome = check_trust_1(holding(TWO, A), signing=signing)
    if early:
        probes = trust_1.Probes(authority=lambda kube: signing.get(kube.name))
        outcome = trust_1.judge_early(mesh(FakeView(MULTI_PRIMARY)), probes)
    assert found(outcome) == (
        f"cluster2: expected a sound chain in cacerts, but saw CN=two is valid from tomorrow "
        f"[{SOURCE}]"
    )


def test_an_intermediate_of_two_clusters_is_a_note() -> None:
    (note,) = check_trust_1(GOOD).notes
    assert note.startswith("cluster1 and cluster2 sign with the same key")
    assert check_trust_1(holding(TWO, A)).notes == ()


@pytest.mark.parametrize(
    ("others", "result"),
    [((), "inconclusive"), (((proxy("cluster2", "helloworld"), GOOD),), "met")],
)
def test_a_proxy_that_does_not_answer_hides_no_other(
    others: tuple[tuple[Proxy, Identity], ...], result: str
) -> None:
    answers: Mapping[str, ProxyAnswers[Identity | None]] = {
        "cluster1": ProxyAnswers(((proxy("cluster1"), GOOD),)),
        "cluster2": ProxyAnswers(others, ((proxy("cluster2"), NO_ANSWER),)),
    }
    probes = trust_1.Probes(authority=lambda kube: None, identities=lambda kube: answers[kube.name])
    outcome = checked(trust_1, mesh(FakeView(MULTI_PRIMARY)), probes)
    assert outcome.result == result
    assert outcome.trouble in (None, NO_ANSWER)


@pytest.mark.parametrize(
    ("added", "finding"),
    [
        ((), f"cluster1: expected every new proxy to trust {named(B)}, below which every new"),
        ((A.certificate, B.certificate), ""),
    ],
    ids=without_fingerprints,
)
@pytest.mark.parametrize("has_samples", [True, False])
def test_authorities_stand_for_proxies_where_there_are_none(
    has_samples: bool, added: tuple[x509.Certificate, ...], finding: str
) -> None:
    signing = {"cluster1": authority(ONE, A), "cluster2": authority(BELOW_B, B)}
    probes = trust_1.Probes(
        authority=lambda kube: signing[kube.name],
        identities=lambda kube: ProxyAnswers(()),
        trust_domains=lambda kube: TrustDomains(SOURCE, "cluster.local", roots=added),
        may_be_served_elsewhere=lambda kube: False,
    )
    seen = mesh(FakeView(MULTI_PRIMARY))
    seen.has_samples = has_samples
    outcome = checked(trust_1, seen, probes)
    assert holds_unless("" if has_samples else finding, outcome)


def test_authorities_stand_for_no_proxies_that_may_have_an_sds_server() -> None:
    signing = {"cluster1": authority(ONE, A), "cluster2": authority(BELOW_B, B)}
    probes = trust_1.Probes(
        authority=lambda kube: signing[kube.name],
        identities=lambda kube: ProxyAnswers(()),
        trust_domains=lambda kube: TrustDomains(SOURCE, "cluster.local"),
        may_be_served_elsewhere=lambda kube: kube.name == "cluster2",
    )
    seen = mesh(FakeView(MULTI_PRIMARY))
    seen.has_samples = False
    outcome = checked(trust_1, seen, probes)
    assert outcome.result == "met"
    (note,) = outcome.notes
    assert note.startswith("proxies of cluster2 may get certificates from an SDS server")


# TRUST-2 ------------------------------------------------------------------------------------------


def check_trust_2(
    second: Identity | None,
    *,
    signing: Mapping[str, Authority | None] | None = None,
    domains: Mapping[str, TrustDomains | None] | None = None,
    scenario: Scenario = MULTI_PRIMARY,
) -> Outcome:
    held = {"cluster1": GOOD, "cluster2": second}
    named = TrustDomains(SOURCE, "cluster.local")
    probes = trust_2.Probes(
        authority=lambda kube: (signing or {}).get(kube.name),
        identities=lambda kube: ProxyAnswers(((proxy(kube.name), held[kube.name]),)),
        trust_domains=lambda kube: (domains or {}).get(kube.name, named),
    )
    return checked(trust_2, mesh(FakeView(scenario)), probes)


@pytest.mark.parametrize(
    ("ahead", "note"),
    [
        ((10_800.0, 10_801.0), "cluster1 by 3:00:00, cluster2 by 3:00:01"),
        ((-90_000.0, -90_001.0), "cluster1 by 1 day, 1:00:00"),
        ((10_800.0, 0.0), ""),
        ((100.0, 100.0), ""),
        ((None, 10_800.0), "cluster2 by 3:00:00"),
        ((None, None), ""),
    ],
)
def test_a_machine_with_another_time_than_all_clusters_is_noted(
    ahead: tuple[float | None, float | None], note: str
) -> None:
    clocks = dict(zip(("cluster1", "cluster2"), ahead, strict=True))
    probes = trust_2.Probes(
        authority=lambda kube: None,
        identities=lambda kube: ProxyAnswers(((proxy(kube.name), GOOD),)),
        trust_domains=lambda kube: None,
        clock=lambda kube: None if (by := clocks[kube.name]) is None else Clock(by, 0.6),
    )
    outcome = checked(trust_2, mesh(FakeView(MULTI_PRIMARY)), probes)
    assert outcome.result == "met"
    notes = "\n".join(outcome.notes)
    assert note in notes if note else not notes


@pytest.mark.parametrize(
    ("identity", "finding"),
    [
        (GOOD, ""),
        (holding(ONE, A, B), ""),
        (holding(TWO, A), ""),
        (None, "a certificate and a root in the proxy of sample/sleep-cluster2, but saw none"),
        (replace(GOOD, spiffe_ids=()), "sa/sleep, but saw no SPIFFE id"),
        (replace(GOOD, spiffe_ids=("spiffe://x/ns/a/sa/b",)), "but saw spiffe://x/ns/a/sa/b"),
        (replace(GOOD, defects=("it is expired",)), "a sound chain of certificates in the proxy"),
        (
            holding(BELOW_B, A),
            f"certificates below the roots of cacerts, {named(A)}, but saw ones by",
        ),
        (holding(ONE, B), f"to trust what istiod signs with, {named(ONE)}, but saw {named(B)}"),
    ],
    ids=without_fingerprints,
)
def test_certificates_of_proxies(identity: Identity | None, finding: str) -> None:
    signing = {"cluster1": authority(ONE, A)}
    outcome = check_trust_2(identity, signing=signing, scenario=PRIMARY_REMOTE)
    assert holds_unless(finding, outcome)


@pytest.mark.parametrize(
    ("second", "finding"),
    [
        (None, ""),
        (authority(TWO, A), ""),
        (authority(TWO, A, B), ""),
        (authority(BELOW_B, A, B), "sleep-cluster2 to trust what istiod signs with"),
        (authority(BELOW_B, B), "sleep-cluster2 to hold certificates below the roots of cacerts"),
    ],
    ids=without_fingerprints,
)
def test_a_proxy_and_its_own_control_plane_accept_each_other(
    second: Authority | None, finding: str
) -> None:
    signing = {"cluster1": authority(ONE, A), "cluster2": second}
    outcome = check_trust_2(GOOD, signing=signing)
    assert holds_unless(finding, outcome)
    assert "cluster1: " not in found(outcome)


def test_what_istiod_could_sign_with_is_nothing_to_proxies_that_ask_another_authority() -> None:
    environment = {"CA_ADDR": "cert-manager-istio-csr.cert-manager.svc:443"}

    def asking(cluster: str) -> Proxy:
        known = proxy(cluster)
        container = Container("istio-proxy", env=environment)
        return replace(known, pod=replace(known.pod, containers=(container,)))

    probes = trust_2.Probes(
        authority=lambda kube: authority(BELOW_B, B),
        identities=lambda kube: ProxyAnswers(((asking(kube.name), GOOD),)),
        trust_domains=lambda kube: TrustDomains(SOURCE, "cluster.local"),
    )
    assert checked(trust_2, mesh(FakeView(MULTI_PRIMARY)), probes).result == "met"
    probes = replace(probes, identities=lambda kube: ProxyAnswers(((proxy(kube.name), GOOD),)))
    assert checked(trust_2, mesh(FakeView(MULTI_PRIMARY)), probes).result == "unmet"


def served_by_spire(cluster: str) -> Proxy:
    """A proxy that has the socket of an SDS server of its node, and is told where istiod is."""
    known = proxy(cluster)
    mounts = {"/var/run/secrets/workload-spiffe-uds": "workload-socket"}
    address = {"CA_ADDR": "istiod.istio-system.svc:15012"}
    container = Container("istio-proxy", env=address, mounts=mounts)
    volumes = {"workload-socket": "csi"}
    return replace(known, pod=replace(known.pod, containers=(container,), volumes=volumes))


@pytest.mark.parametrize(
    ("spiffe", "finding"),
    [
        (SLEEP, ""),
        ("spiffe://cluster.local/workload/sleep", "but saw spiffe://cluster.local/workload/sleep"),
        ("spiffe://spire.example/ns/sample/sa/sleep", "but saw spiffe://spire.example/ns/sample"),
    ],
)
def test_certificates_of_an_sds_server_are_nothing_to_the_authority_that_istiod_made(
    spiffe: str, finding: str
) -> None:
    held = replace(GOOD, spiffe_ids=(spiffe,))
    probes = trust_2.Probes(
        authority=lambda kube: replace(authority(BELOW_B, B), secret="istio-ca-secret"),
        identities=lambda kube: ProxyAnswers(((served_by_spire(kube.name), held),)),
        trust_domains=lambda kube: TrustDomains(SOURCE, "cluster.local"),
    )
    assert holds_unless(finding, checked(trust_2, mesh(FakeView(MULTI_PRIMARY)), probes))


def federated(own: str, issuing: Made, bundles: Mapping[str, tuple[Made, ...]]) -> Identity:
    """What a proxy holds that verifies peers of each trust domain against other roots."""
    by_domain = {name: tuple(each.certificate for each in made) for name, made in bundles.items()}
    roots = tuple(dict.fromkeys(each for those in by_domain.values() for each in those))
    held = replace(material(issuing), roots=roots, trust_domain=own, roots_by_domain=by_domain)
    return Identity(SOURCE, LEAF, (f"spiffe://{own}/ns/sample/sa/sleep",), held, ())


BOTH_DOMAINS = {"one.example": (A,), "two.example": (B,)}


@pytest.mark.parametrize(
    ("first", "finding"),
    [
        (federated("one.example", ONE, BOTH_DOMAINS), ""),
        (federated("one.example", ONE, {**BOTH_DOMAINS, "two.example": (A, B)}), ""),
        (
            federated("one.example", ONE, {"one.example": (A,)}),
            "every proxy of cluster2 holds its certificate, but saw none for two.example",
        ),
        (
            federated("one.example", ONE, {"one.example": (A, B), "two.example": (A,)}),
            f"but saw {named(A)} for two.example",
        ),
    ],
    ids=without_fingerprints,
)
def test_peers_are_verified_by_the_roots_of_their_trust_domain(
    first: Identity, finding: str
) -> None:
    second = federated("two.example", BELOW_B, BOTH_DOMAINS)
    assert holds_unless(finding, check_trust_1(second, first))


OLD = "spiffe://old.example/ns/sample/sa/sleep"


@pytest.mark.parametrize(
    ("spiffe", "first", "second", "finding"),
    [
        (OLD, TrustDomains(SOURCE, "cluster.local"), None, "accepts, cluster.local, but saw old"),
        (
            OLD,
            TrustDomains(SOURCE, "cluster.local", ("old.example",)),
            TrustDomains(SOURCE, "old.example", ("cluster.local",)),
            "",
        ),
        (
            OLD,
            TrustDomains(SOURCE, "cluster.local", of_others=("old.example",)),
            TrustDomains(SOURCE, "old.example", ("cluster.local",)),
            "",
        ),
        (
            SLEEP,
            TrustDomains(SOURCE, "cluster.local", ("new.example",)),
            TrustDomains(SOURCE, "new.example", ("cluster.local",)),
            "",
        ),
        (
            SLEEP,
            TrustDomains(SOURCE, "cluster.local"),
            TrustDomains(SOURCE, "new.example"),
            "sleep-cluster2 to be spiffe://new.example/ns/sample/sa/sleep, but saw spiffe://cluster",
        ),
        (
            OLD,
            TrustDomains(SOURCE, "cluster.local"),
            TrustDomains(SOURCE, "old.example", accepts_any=True),
            "the proxies of sample/sleep-cluster2 to be of a trust domain that cluster1 accepts",
        ),
        (SLEEP, None, None, ""),
    ],
)
def test_trust_domains_are_those_of_the_mesh_configuration(
    spiffe: str, first: TrustDomains | None, second: TrustDomains | None, finding: str
) -> None:
    domains = {"cluster1": first, "cluster2": second}
    outcome = check_trust_2(replace(GOOD, spiffe_ids=(spiffe,)), domains=domains)
    assert holds_unless(finding, outcome)


def test_no_proxy_is_nothing_that_holds() -> None:
    probes = trust_2.Probes(
        authority=lambda kube: None,
        identities=lambda kube: ProxyAnswers(()),
        trust_domains=lambda kube: None,
    )
    outcome = checked(trust_2, mesh(FakeView(PRIMARY_REMOTE)), probes)
    assert holds_unless("cluster1: expected a ready proxy, but saw none", outcome)


@pytest.mark.parametrize(("first", "result"), [(GOOD, "inconclusive"), (None, "unmet")])
def test_one_that_does_not_answer_hides_no_finding(first: Identity | None, result: str) -> None:
    def identities(kube: KubeClient) -> ProxyAnswers[Identity | None]:
        if kube.name == "cluster1":
            return ProxyAnswers(((proxy("cluster1"), first),))
        return ProxyAnswers((), ((proxy("cluster2"), NO_ANSWER),))

    probes = trust_2.Probes(
        authority=lambda kube: None, identities=identities, trust_domains=lambda kube: None
    )
    assert checked(trust_2, mesh(FakeView(MULTI_PRIMARY)), probes).result == result
