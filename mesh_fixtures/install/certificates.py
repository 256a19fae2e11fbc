"""A mesh's certificate authorities: one root, and an intermediate of it for each cluster."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import NameOID

from mesh_fixtures.scenario import Scenario

FOLDER: Final = "certs"
"""Where the files belong, relative to the folder that the installation's commands run in."""

CACERTS: Final = "cacerts"
"""Name of the secret that a cluster's istiod signs with."""

CLUSTER_FILES: Final = ("ca-cert.pem", "ca-key.pem", "root-cert.pem", "cert-chain.pem")
"""Keys of that secret: certificate, its key, root, chain (source: Istio, Plug in CA
Certificates)."""

KEY_BITS: Final = 2048
"""RSA as in the guide; 2048 bits take 0.02-0.12 s to make, its 4096 took 0.55 s."""

ROOT_LIFETIME: Final = timedelta(days=3650)
INTERMEDIATE_LIFETIME: Final = timedelta(days=1825)
CLOCK_SKEW: Final = timedelta(hours=1)

ISTIOD_NAME: Final = "istiod.istio-system.svc"


@dataclass(frozen=True)
class _Authority:
    key: rsa.RSAPrivateKey
    certificate: x509.Certificate

    @property
    def certificate_pem(self) -> bytes:
        return self.certificate.public_bytes(serialization.Encoding.PEM)

    @property
    def key_pem(self) -> bytes:
        return self.key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )


def make_certificates(scenario: Scenario) -> Mapping[str, bytes]:
    """PEM files by name relative to `FOLDER`: the root's certificate, and for each cluster what
    its secret `cacerts` holds (guide: Configure Trust).

    The root's key is dropped: nothing needs it after the intermediates are signed.
    """
    root = _make_root(scenario.mesh_id)
    files = {"root-cert.pem": root.certificate_pem}
    for cluster in scenario.clusters:
        intermediate = _make_intermediate(root, cluster.name)
        contents = {
            "ca-cert.pem": intermediate.certificate_pem,
            "ca-key.pem": intermediate.key_pem,
            "root-cert.pem": root.certificate_pem,
            "cert-chain.pem": intermediate.certificate_pem + root.certificate_pem,
        }
        files |= {f"{cluster.name}/{name}": content for name, content in contents.items()}
    return files


def write_certificates(scenario: Scenario, working_folder: Path) -> Path:
    """Make certificates and write them below `FOLDER` of the folder that commands run in.

    Returns:
        The folder of the certificates. Files are readable by their owner only.

    Raises:
        OSError: they cannot be written.
    """
    folder = working_folder / FOLDER
    for name, content in make_certificates(scenario).items():
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "wb") as opened:
            opened.write(content)
    return folder


def _make_root(mesh_id: str) -> _Authority:
    key = _make_key()
    name = _name("Root CA", mesh_id)
    builder = _builder(name, name, key.public_key(), ROOT_LIFETIME, path_length=1)
    return _Authority(key, builder.sign(key, hashes.SHA256()))


def _make_intermediate(root: _Authority, cluster: str) -> _Authority:
    key = _make_key()
    issuer = root.certificate
    lifetime = INTERMEDIATE_LIFETIME
    subject = _name("Intermediate CA", cluster)
    builder = _builder(subject, issuer.subject, key.public_key(), lifetime, path_length=0)
    root_identifier = issuer.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    authority = x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(root_identifier)
    builder = builder.add_extension(authority, critical=False)
    names = x509.SubjectAlternativeName([x509.DNSName(ISTIOD_NAME)])
    builder = builder.add_extension(names, critical=False)
    return _Authority(key, builder.sign(root.key, hashes.SHA256()))


def _make_key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=KEY_BITS)


def _name(common_name: str, locality: str) -> x509.Name:
    return x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "mesh-conformance"),
            x509.NameAttribute(NameOID.COMMON_NAME, common_name),
            x509.NameAttribute(NameOID.LOCALITY_NAME, locality),
        ]
    )


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    key: rsa.RSAPublicKey,
    lifetime: timedelta,
    path_length: int,
) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    usage = x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=True,
        crl_sign=True,
        encipher_only=False,
        decipher_only=False,
    )
    constraints = x509.BasicConstraints(ca=True, path_length=path_length)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - CLOCK_SKEW)
        .not_valid_after(now - CLOCK_SKEW + lifetime)
        .add_extension(constraints, critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
    )
