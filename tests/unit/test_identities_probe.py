from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest
from certificate_examples import NOW, Made, bound, make, material
from fake_kube import FakeKube, pod, result

from mesh_fixtures.errors import ProbeError
from mesh_fixtures.kube import Container
from mesh_fixtures.probe.identities import (
    Identity,
    identities,
    read_identity,
    read_trust_domains,
    spiffe_id,
    trust_domain_of,
    trust_domains,
)
from mesh_fixtures.probe.proxies import Proxy, ProxyAnswers

SLEEP = "spiffe://cluster.local/ns/sample/sa/sleep"


ROOT = make("root")
INTERMEDIATE = make("intermediate", ROOT)
LEAF = make("", INTERMEDIATE, [SLEEP])


def dump(chain: Sequence[Made], roots: Sequence[Made]) -> Any:
    """What Envoy 1.40 answers, which leaves out the key."""

    def inline(made: Sequence[Made]) -> dict[str, str]:
        return {"inline_bytes": base64.b64encode(b"".join(each.pem for each in made)).decode()}

    key = {"inline_bytes": base64.b64encode(b"[redacted]").decode()}
    own = {"tls_certificate": {"certificate_chain": inline(chain), "private_key": key}}
    trusted = {"validation_context": {"trusted_ca": inline(roots)}}
    return {
        "configs": [
            {"name": "default", "secret": {"name": "default", **own}},
            {"name": "ROOTCA", "secret": {"name": "ROOTCA", **trusted}},
        ]
    }


UNNAMED: Any = {"custom_validator_config": {"typed_config": {"trust_domains": [{}]}}}


def read(chain: Sequence[Made], roots: Sequence[Made] = (ROOT,)) -> Identity:
    seen = read_identity(result().source, dump(chain, roots), NOW)
    assert seen is not None
    return seen


@pytest.mark.parametrize("chain", [(LEAF, INTERMEDIATE, ROOT), (LEAF, INTERMEDIATE)])
def test_a_leaf_with_who_signed_it(chain: Sequence[Made]) -> None:
    seen = read(chain)
    assert seen.spiffe_ids == (SLEEP,)
    assert seen.issuing is not None
    assert seen.issuing.subject == "CN=intermediate"
    assert [root.subject for root in seen.roots] == ["CN=root"]
    assert seen.defects == ()


def test_a_leaf_that_the_root_itself_signed() -> None:
    seen = read([make("", ROOT, [SLEEP])])
    assert seen.issuing is not None
    assert seen.issuing.subject == "CN=root"
    assert seen.defects == ()


@pytest.mark.parametrize(
    ("chain", "roots", "defect"),
    [
        ((LEAF,), (ROOT,), "no certificate of its issuer, CN=intermediate"),
        ((LEAF, INTERMEDIATE), (make("root"),), "CN=intermediate is not signed by a root"),
        (
            (make("", INTERMEDIATE, [SLEEP], days=-1), INTERMEDIATE),
            (ROOT,),
            "is valid from 2026-11-20",
        ),
        ((make("", LEAF, [SLEEP]), LEAF, INTERMEDIATE), (ROOT,), " is no authority"),
    ],
)
def test_defects(chain: Sequence[Made], roots: Sequence[Made], defect: str) -> None:
    assert defect in "; ".join(read(chain, roots).defects)


def test_an_identity_that_the_name_constraints_of_an_authority_forbid() -> None:
    root = make("root", constraints=bound(permitted="corp.example"))
    issuing = make("intermediate", root)
    (defect,) = read([make("", issuing, [SLEEP]), issuing], [root]).defects
    assert defect == (
        "the name constraints of CN=root forbid identities of the trust domain cluster.local: "
        "permitted corp.example"
    )


def test_the_path_length_of_a_root_says_nothing_to_proxies() -> None:
    root = make("root", path_length=0)
    issuing = make("intermediate", root)
    assert read([make("", issuing, [SLEEP]), issuing], [root]).defects == ()


def test_a_name_that_another_key_signed_for_does_not_pass() -> None:
    forged = make("intermediate", make("root"))
    seen = read([make("", forged, [SLEEP]), INTERMEDIATE])
    assert seen.issuing is None
    assert seen.defects == ("no certificate of its issuer, CN=intermediate",)


def validated(
    chain: Sequence[Made], domains: Mapping[str, Sequence[Made]], *, as_text: bool = False
) -> Any:
    """What Envoy answers where SPIRE's agent serves its secrets."""

    def bundle(made: Sequence[Made]) -> dict[str, str]:
        pem = b"".join(each.pem for each in made)
        if as_text:
            return {"inline_string": pem.decode()}
        return {"inline_bytes": base64.b64encode(pem).decode()}

    found = dump(chain, [make("unused")])
    by_domain = [{"name": name, "trust_bundle": bundle(made)} for name, made in domains.items()]
    found["configs"][1]["secret"]["validation_context"] |= {
        "custom_validator_config": {
            "name": "envoy.tls.cert_validator.spiffe",
            "typed_config": {
                "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3."
                "SPIFFECertValidatorConfig",
                "trust_domains": by_domain,
            },
        }
    }
    return found


@pytest.mark.parametrize("as_text", [False, True])
def test_roots_for_the_peers_of_each_trust_domain(as_text: bool) -> None:
    next_root, partner = make("next root"), make("partner")
    domains = {"cluster.local": [ROOT, next_root], "partner.example": [partner], "empty": []}
    answer = validated([LEAF, INTERMEDIATE], domains, as_text=as_text)
    seen = read_identity(result().source, answer, NOW)
    assert seen is not None
    assert seen.defects == ()
    assert [root.subject for root in seen.roots] == ["CN=root", "CN=next root", "CN=partner"]
    known = seen.material
    assert known.trust_domain == "cluster.local"
    assert known.roots_for("cluster.local") == (ROOT.certificate, next_root.certificate)
    assert known.roots_for("partner.example") == (partner.certificate,)
    assert known.roots_for("empty") == known.roots_for("nobody.example") == ()
    assert known.accepts(material(INTERMEDIATE, ROOT))
    peer = material(partner, partner)
    assert known.accepts(replace(peer, trust_domain="partner.example"))
    assert not known.accepts(replace(peer, trust_domain="cluster.local"))


def test_a_root_for_another_trust_domain_verifies_nobody_of_ones_own() -> None:
    answer = validated([LEAF, INTERMEDIATE], {"partner.example": [ROOT]})
    seen = read_identity(result().source, answer, NOW)
    assert seen is not None
    assert "CN=intermediate is not signed by a root" in "; ".join(seen.defects)


def test_no_root_for_any_trust_domain_is_no_identity() -> None:
    domains: Sequence[Mapping[str, Sequence[Made]]] = ({}, {"cluster.local": []})
    for each in domains:
        assert read_identity(result().source, validated([LEAF, INTERMEDIATE], each), NOW) is None


@pytest.mark.parametrize("kept", [[], ["default"], ["ROOTCA"]])
def test_no_identity_without_certificate_or_root(kept: list[str]) -> None:
    whole = dump([LEAF, INTERMEDIATE], [ROOT])
    some = {"configs": [each for each in whole["configs"] if each["name"] in kept]}
    assert read_identity(result().source, some, NOW) is None


@pytest.mark.parametrize(
    "answer",
    [
        {"configs": [{}]},
        [],
        {"configs": [{"name": "ROOTCA", "secret": {"validation_context": UNNAMED}}]},
        {
            "configs": [
                {"name": name, "secret": {kind: {entry: {"inline_bytes": "bm8="}}}}
                for name, kind, entry in (
                    ("default", "tls_certificate", "certificate_chain"),
                    ("ROOTCA", "validation_context", "trusted_ca"),
                )
            ]
        },
    ],
)
def test_another_answer_is_a_probe_error(answer: Any) -> None:
    with pytest.raises(ProbeError, match="certificate"):
        read_identity(result().source, answer, NOW)


@pytest.mark.parametrize(
    ("env", "account", "domain", "wanted"),
    [
        ({}, "sleep", "", SLEEP),
        ({"TRUST_DOMAIN": "old.example"}, "sleep", "", "spiffe://old.example/ns/sample/sa/sleep"),
        ({"TRUST_DOMAIN": "old.example"}, "sleep", "cluster.local", SLEEP),
        ({}, "", "", "spiffe://cluster.local/ns/sample/sa/default"),
    ],
)
def test_the_id_that_a_pod_must_have(
    env: dict[str, str], account: str, domain: str, wanted: str
) -> None:
    proxy = Container("istio-proxy", env=env)
    named = replace(pod("sleep-1"), containers=(proxy,), service_account=account)
    assert spiffe_id(named, domain) == wanted


@pytest.mark.parametrize(
    ("spiffe", "domain"),
    [(SLEEP, "cluster.local"), ("spiffe://a", "a"), ("https://a/ns/b", ""), ("", "")],
)
def test_the_trust_domain_of_an_id(spiffe: str, domain: str) -> None:
    assert trust_domain_of(spiffe) == domain


ADDED = {"pem": ROOT.pem.decode(), "trustDomains": ["partner.example"]}
MESH = {
    "trustDomain": "new.example",
    "trustDomainAliases": ["old.example"],
    "caCertificates": [ADDED, {"spiffeBundleUrl": "https://partner.example"}],
}
CONFIGURATION = f"2026-11-23T22:10:48Z\twarn\tsomething\n{json.dumps(MESH)}"


def test_trust_domains_of_a_mesh_configuration() -> None:
    domains = read_trust_domains(result().source, CONFIGURATION)
    assert domains.names == ("new.example", "old.example")
    known = ("new.example", "old.example", "partner.example")
    assert all(map(domains.accept, known))
    assert domains.roots == (ROOT.certificate,)
    assert not domains.accept("cluster.local")
    anything = read_trust_domains(result().source, CONFIGURATION, accepts_any=True)
    assert anything.accept("cluster.local")
    assert read_trust_domains(result().source, "{}").names == ("cluster.local",)


@pytest.mark.parametrize("answer", ["", "[]", "no JSON"])
def test_no_mesh_configuration_is_a_probe_error(answer: str) -> None:
    with pytest.raises(ProbeError, match="mesh configuration"):
        read_trust_domains(result().source, answer)


def test_trust_domains_are_those_of_a_ready_istiod() -> None:
    skipping = Container("discovery", env={"PILOT_SKIP_VALIDATE_TRUST_DOMAIN": "true"})
    istiod = replace(pod("istiod-1", "istio-system"), containers=(skipping,))
    domains = trust_domains(FakeKube(lambda argv: CONFIGURATION, [istiod]).as_client())
    assert domains is not None
    assert domains.own == "new.example"
    assert domains.accept("cluster.local")
    starting = FakeKube(lambda argv: CONFIGURATION, [replace(istiod, ready=False)])
    assert trust_domains(starting.as_client()) is None


@pytest.mark.parametrize(
    ("namespace", "active", "awaited", "judged"),
    [
        ("sample", [], [], True),
        ("istio-system", [], [], False),
        ("istio-system", ["ROOTCA"], [], False),
        ("istio-system", [], ["default", "ROOTCA"], True),
        ("istio-system", ["ROOTCA"], ["default"], True),
        ("istio-system", [], ["kubernetes://own-tls"], False),
    ],
)
def test_gateways_that_only_pass_on_need_no_certificate(
    monkeypatch: pytest.MonkeyPatch,
    namespace: str,
    active: list[str],
    awaited: list[str],
    judged: bool,
) -> None:
    def answer(argv: Sequence[str]) -> str:
        names = awaited if argv[-1].endswith("warming_secrets") else active
        return json.dumps({"configs": [{"name": each} for each in names]} if names else {})

    kube = FakeKube(answer).as_client()
    one = pod("gateway-1", namespace)
    proxy = Proxy(result().source, "cluster1", one)
    monkeypatch.setattr(
        "mesh_fixtures.probe.identities.ask_each",
        lambda kube, ask: ProxyAnswers(((proxy, ask(kube, one)),)),
    )
    assert identities(kube).answered == (((proxy, None),) if judged else ())
