"""Credentials that no mesh has issued, to be refused."""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, utils
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

_LIFETIME: Final = timedelta(hours=1)
_SKEW: Final = timedelta(minutes=5)


@dataclass(frozen=True)
class UntrustedClient:
    """A client that claims a SPIFFE id by a certificate from a root that no mesh trusts.

    Attributes:
        chain: certificate and its root, PEM.
        key: PEM.
    """

    chain: bytes
    key: bytes = field(repr=False)


def untrusted_client(spiffe_id: str) -> UntrustedClient:
    """A new client that claims this id."""
    root_key, leaf_key = _key(), _key()
    root_name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Foreign Root CA")])
    root = (
        _builder(root_name, root_name, root_key)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(root_key, hashes.SHA256())
    )
    names = x509.SubjectAlternativeName([x509.UniformResourceIdentifier(spiffe_id)])
    usage = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH])
    leaf = (
        _builder(x509.Name([]), root_name, leaf_key)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(usage, critical=False)
        .add_extension(names, critical=True)
        .sign(root_key, hashes.SHA256())
    )
    chain = b"".join(each.public_bytes(serialization.Encoding.PEM) for each in (leaf, root))
    return UntrustedClient(chain, _pem(leaf_key))


def signing_request(spiffe_id: str) -> bytes:
    """A sound request for a certificate (PKCS 10), PEM."""
    names = x509.SubjectAlternativeName([x509.UniformResourceIdentifier(spiffe_id)])
    request = (
        x509.CertificateSigningRequestBuilder()
        .subject_name(x509.Name([]))
        .add_extension(names, critical=False)
        .sign(_key(), hashes.SHA256())
    )
    return request.public_bytes(serialization.Encoding.PEM)


def foreign_token(namespace: str, account: str) -> str:
    """A service account's token for istiod (JWT) that no API server has signed.

    Source: Kubernetes, Service account token volume projection; RFC 7515.
    """
    now = int(datetime.now(UTC).timestamp())
    header = {"alg": "ES256", "typ": "JWT", "kid": "foreign"}
    claims = {
        "iss": "https://kubernetes.default.svc.cluster.local",
        "aud": ["istio-ca"],
        "sub": f"system:serviceaccount:{namespace}:{account}",
        "iat": now,
        "nbf": now,
        "exp": now + int(_LIFETIME.total_seconds()),
        "kubernetes.io": {"namespace": namespace, "serviceaccount": {"name": account}},
    }
    signed = ".".join(_base64url(json.dumps(each).encode()) for each in (header, claims))
    signature = _key().sign(signed.encode(), ec.ECDSA(hashes.SHA256()))
    numbers = utils.decode_dss_signature(signature)
    return f"{signed}.{_base64url(b''.join(each.to_bytes(32, 'big') for each in numbers))}"


def _base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


def _pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey
) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _SKEW)
        .not_valid_after(now + _LIFETIME)
    )
