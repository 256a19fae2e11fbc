from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from fake_kube import pod, result

from mesh_fixtures.errors import ProbeError
from mesh_fixtures.kube import Container
from mesh_fixtures.probe.identities import Identity, read_identity, spiffe_id

NOW = datetime(2026, 11, 22, tzinfo=UTC)
SLEEP = "spiffe://cluster.local/ns/sample/sa/sleep"


@dataclass(frozen=True)
class Made:
    key: ec.EllipticCurvePrivateKey
    certificate: x509.Certificate

    @property
    def pem(self) -> bytes:
        return self.certificate.public_bytes(serialization.Encoding.PEM)


def make(name: str, issuer: Made | None = None, uris: Sequence[str] = (), days: int = 30) -> Made:
    """An authority, or with URIs a leaf, whose subject is empty as those of Istio are."""
    key = ec.generate_private_key(ec.SECP256R1())
    attributes = [] if uris else [x509.NameAttribute(NameOID.COMMON_NAME, name)]
    subject = x509.Name(attributes)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer.certificate.subject if issuer else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(NOW - timedelta(days=2))
        .not_valid_after(NOW + timedelta(days=days))
        .add_extension(x509.BasicConstraints(ca=not uris, path_length=None), critical=True)
    )
    if uris:
        names = [x509.UniformResourceIdentifier(uri) for uri in uris]
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=True)
    return Made(key, builder.sign(issuer.key if issuer else key, hashes.SHA256()))


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
        ((make("", INTERMEDIATE, [SLEEP], -1), INTERMEDIATE), (ROOT,), "is valid from 2026-11-20"),
        ((make("", LEAF, [SLEEP]), LEAF, INTERMEDIATE), (ROOT,), " is no authority"),
    ],
)
def test_defects(chain: Sequence[Made], roots: Sequence[Made], defect: str) -> None:
    assert defect in "; ".join(read(chain, roots).defects)


def test_a_name_that_another_key_signed_for_does_not_pass() -> None:
    forged = make("intermediate", make("root"))
    seen = read([make("", forged, [SLEEP]), INTERMEDIATE])
    assert seen.issuing is None
    assert seen.defects == ("no certificate of its issuer, CN=intermediate",)


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
        read_identity(result().source, answer)


@pytest.mark.parametrize(
    ("env", "account", "wanted"),
    [
        ({}, "sleep", "spiffe://cluster.local/ns/sample/sa/sleep"),
        ({"TRUST_DOMAIN": "td.example"}, "sleep", "spiffe://td.example/ns/sample/sa/sleep"),
        ({}, "", "spiffe://cluster.local/ns/sample/sa/default"),
    ],
)
def test_the_id_that_a_pod_must_have(env: dict[str, str], account: str, wanted: str) -> None:
    proxy = Container("istio-proxy", env=env)
    named = replace(pod("sleep-1"), containers=(proxy,), service_account=account)
    assert spiffe_id(named) == wanted
