"""Certificates that unit tests share, signed by real keys."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from mesh_fixtures.certificates import key_usage
from mesh_fixtures.probe.certificates import TrustMaterial

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


def make(
    name: str,
    issuer: Made | None = None,
    uris: Sequence[str] = (),
    *,
    days: int = 30,
    authority: bool = True,
    key: ec.EllipticCurvePrivateKey | None = None,
    path_length: int | None = None,
    signs: bool | None = None,
    constraints: x509.NameConstraints | None = None,
) -> Made:
    """An authority, or with URIs a leaf, whose subject is empty as those of Istio are.

    Args:
        days: after which it is no longer valid.
        key: its own; None for a new one.
        path_length: how many authorities may be below it; None for any number.
        signs: whether its key usage permits it to sign certificates; None for none that is said.
        constraints: of names below it; None for none.
    """
    key = key or ec.generate_private_key(ec.SECP256R1())
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
        .add_extension(
            x509.BasicConstraints(ca=authority and not uris, path_length=path_length),
            critical=True,
        )
    )
    if constraints is not None:
        builder = builder.add_extension(constraints, critical=True)
    if signs is not None:
        builder = builder.add_extension(key_usage(signs=signs), critical=True)
    if uris:
        names = [x509.UniformResourceIdentifier(uri) for uri in uris]
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=True)
    return Made(key, builder.sign(issuer.key if issuer else key, hashes.SHA256()))


def bound(*, permitted: str | None = None, excluded: str | None = None) -> x509.NameConstraints:
    """Name constraints for URIs of a host."""
    permitted_subtrees, excluded_subtrees = (
        None if host is None else [x509.UniformResourceIdentifier(host)]
        for host in (permitted, excluded)
    )
    return x509.NameConstraints(permitted_subtrees, excluded_subtrees)


def material(issuing: Made | None, *roots: Made, chain: Sequence[Made] = ()) -> TrustMaterial:
    """As a proxy holds it, or an authority.

    Args:
        chain: shown besides the issuing certificate.
    """
    shown = () if issuing is None else (issuing, *chain)
    return TrustMaterial(
        None if issuing is None else issuing.certificate,
        tuple(each.certificate for each in shown),
        tuple(each.certificate for each in roots),
    )
