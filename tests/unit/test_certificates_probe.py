from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from fake_kube import result
from mesh_examples import SCENARIOS

from mesh_fixtures.errors import ProbeError
from mesh_fixtures.install.certificates import make_certificates
from mesh_fixtures.kube import Meta, Secret
from mesh_fixtures.probe.certificates import Authority, read_authority

NOW = datetime(2026, 11, 22, tzinfo=UTC)


@dataclass(frozen=True)
class Made:
    key: ec.EllipticCurvePrivateKey
    certificate: x509.Certificate

    @property
    def pem(self) -> bytes:
        return self.certificate.public_bytes(serialization.Encoding.PEM)

    @property
    def key_pem(self) -> bytes:
        return self.key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.TraditionalOpenSSL,
            serialization.NoEncryption(),
        )


def make(name: str, issuer: Made | None = None, *, authority: bool = True, days: int = 365) -> Made:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer.certificate.subject if issuer else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(NOW - timedelta(days=2))
        .not_valid_after(NOW + timedelta(days=days))
        .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
        .sign(issuer.key if issuer else key, hashes.SHA256())
    )
    return Made(key, certificate)


def read(data: Mapping[str, bytes]) -> Authority:
    secret = Secret(Meta("cacerts", "istio-system"), data)
    return read_authority(result().source, secret, NOW)


def cacerts(issuing: Made, root: Made, *between: Made, key: Made | None = None) -> dict[str, bytes]:
    return {
        "ca-cert.pem": issuing.pem,
        "ca-key.pem": (key or issuing).key_pem,
        "root-cert.pem": root.pem,
        "cert-chain.pem": b"".join(each.pem for each in (issuing, *between, root)),
    }


ROOT = make("root")
ISSUING = make("intermediate", ROOT)


def test_an_intermediate_of_a_root() -> None:
    seen = read(cacerts(ISSUING, ROOT))
    assert seen.defects == ()
    assert not seen.is_root
    assert seen.issuing.subject == "CN=intermediate"
    assert seen.issuing.issuer == "CN=root"
    assert seen.roots[0].fingerprint == ROOT.certificate.fingerprint(hashes.SHA256()).hex()
    assert seen.roots[0].short == seen.roots[0].fingerprint[:16]


def test_a_longer_chain() -> None:
    middle = make("middle", ROOT)
    assert read(cacerts(make("lowest", middle), ROOT, middle)).defects == ()


def test_a_link_of_the_chain_is_missing() -> None:
    seen = read(cacerts(make("lowest", make("middle", ROOT)), ROOT))
    assert seen.defects == ("CN=lowest is not signed by a root or an entry of the chain",)


def test_a_root_of_the_same_name_is_not_the_same_root() -> None:
    seen = read(cacerts(ISSUING, make("root")))
    assert seen.defects == ("CN=intermediate is not signed by a root or an entry of the chain",)


def test_a_chain_that_ends_in_a_root_that_is_not_trusted() -> None:
    data = cacerts(ISSUING, make("other"), ROOT)
    assert read(data).defects == ("CN=root is not signed by a root or an entry of the chain",)


def test_one_of_several_roots_suffices() -> None:
    data = cacerts(ISSUING, ROOT)
    data["root-cert.pem"] += make("next root").pem
    seen = read(data)
    assert seen.defects == ()
    assert len(seen.roots) == 2


def test_signing_with_the_root_itself() -> None:
    seen = read(cacerts(ROOT, ROOT))
    assert seen.is_root
    assert seen.defects == ()


def test_a_key_of_another_certificate() -> None:
    seen = read(cacerts(ISSUING, ROOT, key=ROOT))
    assert seen.defects == ("ca-key.pem is not the key of ca-cert.pem",)


def test_expired() -> None:
    seen = read(cacerts(make("old", ROOT, days=-1), ROOT))
    assert seen.defects == ("CN=old is valid from 2026-11-20 to 2026-11-21 only",)


def test_no_authority() -> None:
    seen = read(cacerts(make("leaf", ROOT, authority=False), ROOT))
    assert seen.defects == ("CN=leaf is no authority",)


def test_the_form_of_kubernetes() -> None:
    data = {"tls.crt": ISSUING.pem, "tls.key": ISSUING.key_pem, "ca.crt": ROOT.pem}
    assert read(data).defects == ()


def test_the_projects_own_certificates() -> None:
    files = make_certificates(SCENARIOS["multi-primary"])
    seen = {}
    for cluster in ("cluster1", "cluster2"):
        data = {
            name.partition("/")[2]: content
            for name, content in files.items()
            if name.startswith(f"{cluster}/")
        }
        secret = Secret(Meta("cacerts", "istio-system"), data)
        seen[cluster] = read_authority(result().source, secret)
        assert seen[cluster].defects == ()
    assert seen["cluster1"].roots == seen["cluster2"].roots
    assert seen["cluster1"].issuing.key != seen["cluster2"].issuing.key


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("ca-cert.pem", b"text", "ca-cert.pem holds no certificate"),
        ("root-cert.pem", b"", "root-cert.pem holds no certificate"),
        ("ca-key.pem", b"text", "ca-key.pem is no private key"),
        ("cert-chain.pem", None, "no entry cert-chain.pem"),
    ],
)
def test_a_secret_that_cannot_be_read(name: str, content: bytes | None, message: str) -> None:
    data = cacerts(ISSUING, ROOT)
    del data[name]
    if content is not None:
        data[name] = content
    with pytest.raises(ProbeError, match=message):
        read(data)


def test_an_empty_secret() -> None:
    with pytest.raises(ProbeError, match=r"no entry ca\.crt, tls\.crt, tls\.key"):
        read({})
