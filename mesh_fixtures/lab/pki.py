"""Certificates and kubeconfigs of an embedded cluster.

Source: Kubernetes documentation, "PKI certificates and requirements".
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address
from pathlib import Path

import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

_VALIDITY = timedelta(days=365)
_RSA_BITS = 2048
_Key = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey


def elliptic_key() -> ec.EllipticCurvePrivateKey:
    """A P-256 key, made in no time."""
    return ec.generate_private_key(ec.SECP256R1())


def rsa_key() -> rsa.RSAPrivateKey:
    """An RSA key, for programs that read no other."""
    return rsa.generate_private_key(public_exponent=65537, key_size=_RSA_BITS)


@dataclass(frozen=True)
class Pair:
    """A certificate and its private key, both PEM."""

    certificate: bytes
    key: bytes

    def write(self, folder: Path, name: str) -> None:
        (folder / f"{name}.crt").write_bytes(self.certificate)
        write_private(folder / f"{name}.key", self.key)


def write_private(path: Path, content: bytes) -> None:
    """Write a file that only its owner reads."""
    path.touch(mode=0o600)
    path.write_bytes(content)


class Authority:
    """A certificate authority that issues leaves with keys of its own kind."""

    def __init__(
        self, name: str, *, names: Sequence[str] = (), make_key: Callable[[], _Key] = elliptic_key
    ) -> None:
        """Make the authority's key and certificate.

        Args:
            name: its common name.
            names: DNS names that its own certificate is valid for; seldom needed.
            make_key: makes its key and those of its leaves.
        """
        self._make_key = make_key
        self._key = make_key()
        self._name = _name(name, [])
        now = datetime.now(UTC)
        builder = (
            x509.CertificateBuilder()
            .subject_name(self._name)
            .issuer_name(self._name)
            .public_key(self._key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(minutes=5))
            .not_valid_after(now + _VALIDITY)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_key_usage(signs_certificates=True), critical=True)
            .add_extension(
                x509.SubjectKeyIdentifier.from_public_key(self._key.public_key()), critical=False
            )
        )
        if names:
            alternatives = x509.SubjectAlternativeName([x509.DNSName(each) for each in names])
            builder = builder.add_extension(alternatives, critical=False)
        self._certificate = builder.sign(self._key, hashes.SHA256())

    @property
    def pair(self) -> Pair:
        return Pair(_pem(self._certificate), _key_pem(self._key))

    def issue(
        self,
        common_name: str,
        *,
        organizations: Sequence[str] = (),
        addresses: Sequence[IPv4Address] = (),
        names: Sequence[str] = (),
    ) -> Pair:
        """A leaf for clients and, when it has addresses or names, for servers too.

        Args:
            common_name: the Kubernetes user name.
            organizations: the Kubernetes groups.
            addresses: IP addresses of a server.
            names: DNS names of a server.
        """
        key = self._make_key()
        now = datetime.now(UTC)
        usages = [ExtendedKeyUsageOID.CLIENT_AUTH]
        builder = (
            x509.CertificateBuilder()
            .subject_name(_name(common_name, organizations))
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(minutes=5))
            .not_valid_after(now + _VALIDITY)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_key_usage(signs_certificates=False), critical=True)
        )
        alternatives = [
            *(x509.IPAddress(address) for address in addresses),
            *(x509.DNSName(name) for name in names),
        ]
        if alternatives:
            usages.append(ExtendedKeyUsageOID.SERVER_AUTH)
            builder = builder.add_extension(
                x509.SubjectAlternativeName(alternatives), critical=False
            )
        certificate = builder.add_extension(x509.ExtendedKeyUsage(usages), critical=False).sign(
            self._key, hashes.SHA256()
        )
        return Pair(_pem(certificate), _key_pem(key))


def service_account_keys() -> tuple[bytes, bytes]:
    """Private and public PEM of a key that signs service account tokens."""
    key = elliptic_key()
    public = key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return _key_pem(key), public


def kubeconfig(context: str, server: str, authority: bytes, client: Pair) -> str:
    """YAML of a kubeconfig with one context.

    Args:
        context: name of the context, the cluster and the user.
        server: URL of the API server.
        authority: PEM of the certificate authority.
        client: certificate and key of the user.
    """

    def encoded(content: bytes) -> str:
        return base64.b64encode(content).decode()

    return yaml.safe_dump(
        {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [
                {
                    "name": context,
                    "cluster": {
                        "server": server,
                        "certificate-authority-data": encoded(authority),
                    },
                }
            ],
            "users": [
                {
                    "name": context,
                    "user": {
                        "client-certificate-data": encoded(client.certificate),
                        "client-key-data": encoded(client.key),
                    },
                }
            ],
            "contexts": [{"name": context, "context": {"cluster": context, "user": context}}],
            "current-context": context,
        },
        sort_keys=False,
    )


def with_servers(kubeconfig: str, servers: Mapping[str, str]) -> str:
    """YAML of a kubeconfig that reaches its clusters elsewhere.

    Args:
        servers: URL of an API server by cluster.
    """
    document = yaml.safe_load(kubeconfig)
    for entry in document["clusters"]:
        entry["cluster"]["server"] = servers[entry["name"]]
    return yaml.safe_dump(document, sort_keys=False)


def merge_kubeconfigs(contents: Sequence[str]) -> str:
    """YAML of one kubeconfig with all contexts; the first context is the current one."""
    documents = [yaml.safe_load(content) for content in contents]
    merged = dict(documents[0])
    for part in ("clusters", "users", "contexts"):
        merged[part] = [entry for document in documents for entry in document[part]]
    return yaml.safe_dump(merged, sort_keys=False)


def _name(common_name: str, organizations: Sequence[str]) -> x509.Name:
    return x509.Name(
        [
            *(x509.NameAttribute(NameOID.ORGANIZATION_NAME, o) for o in organizations),
            x509.NameAttribute(NameOID.COMMON_NAME, common_name),
        ]
    )


def _key_usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=not signs_certificates,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


def _key_pem(key: _Key) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.TraditionalOpenSSL,
        serialization.NoEncryption(),
    )
