"""Credentials that no mesh issued, to see them refused."""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, utils

from mesh_fixtures import certificates
from mesh_fixtures.certificates import elliptic_key

_LIFETIME: Final = 2 * certificates.CLOCK_SKEW


@dataclass(frozen=True)
class UntrustedClient:
    """A client that claims a SPIFFE id by a certificate of a root that no mesh trusts.

    Attributes:
        chain: certificate and its root, PEM.
        key: PEM.
    """

    chain: bytes
    key: bytes = field(repr=False)


def untrusted_client(spiffe_id: str) -> UntrustedClient:
    """A new client that claims this id."""
    root = certificates.authority(
        certificates.subject("Foreign Root CA"), elliptic_key(), _LIFETIME, path_length=None
    )
    names = [x509.UniformResourceIdentifier(spiffe_id)]
    leaf = certificates.leaf(x509.Name([]), elliptic_key(), _LIFETIME, root, names=names)
    return UntrustedClient(leaf.certificate_pem + root.certificate_pem, leaf.key_pem)


def signing_request(spiffe_id: str) -> bytes:
    """A sound request for a certificate (PKCS 10), PEM."""
    names = x509.SubjectAlternativeName([x509.UniformResourceIdentifier(spiffe_id)])
    request = (
        x509.CertificateSigningRequestBuilder()
        .subject_name(x509.Name([]))
        .add_extension(names, critical=False)
        .sign(elliptic_key(), hashes.SHA256())
    )
    return request.public_bytes(serialization.Encoding.PEM)


def untrusted_token(namespace: str, account: str) -> str:
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
    signature = elliptic_key().sign(signed.encode(), ec.ECDSA(hashes.SHA256()))
    numbers = utils.decode_dss_signature(signature)
    return f"{signed}.{_base64url(b''.join(each.to_bytes(32, 'big') for each in numbers))}"


def _base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
