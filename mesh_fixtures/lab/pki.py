"""Certificates and kubeconfigs of an embedded cluster.

Source: Kubernetes documentation, "PKI certificates and requirements".
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from typing import Final

import yaml
from cryptography import x509

from mesh_fixtures import certificates
from mesh_fixtures.addresses import IPAddress
from mesh_fixtures.certificates import Credential, Key, elliptic_key

_LIFETIME: Final = timedelta(days=365)


class ClusterAuthority:
    """A certificate authority that issues leaves with keys of its own kind."""

    def __init__(
        self, name: str, *, names: Sequence[str] = (), make_key: Callable[[], Key] = elliptic_key
    ) -> None:
        """Make the authority's key and certificate.

        Args:
            name: its common name.
            names: DNS names that its own certificate is valid for; seldom needed.
            make_key: makes its key and those of its leaves.
        """
        self._make_key = make_key
        self.credential = certificates.authority(
            certificates.subject(name), make_key(), _LIFETIME, names=[*map(x509.DNSName, names)]
        )

    def issue(
        self,
        common_name: str,
        *,
        organizations: Sequence[str] = (),
        addresses: Sequence[IPAddress] = (),
        names: Sequence[str] = (),
    ) -> Credential:
        """A leaf for clients and, when it has addresses or names, for servers too.

        Args:
            common_name: the Kubernetes user name.
            organizations: the Kubernetes groups.
            addresses: IP addresses of a server.
            names: DNS names of a server.
        """
        alternatives = [*map(x509.IPAddress, addresses), *map(x509.DNSName, names)]
        return certificates.leaf(
            certificates.subject(common_name, organizations=organizations),
            self._make_key(),
            _LIFETIME,
            self.credential,
            usages=[certificates.CLIENT, *([certificates.SERVER] if alternatives else [])],
            names=alternatives,
        )


def service_account_keys() -> tuple[bytes, bytes]:
    """Private and public PEM of a key that signs service account tokens."""
    key = elliptic_key()
    return certificates.key_pem(key), certificates.public_key_pem(key)


def kubeconfig(context: str, server: str, authority: bytes, certificate: bytes, key: bytes) -> str:
    """YAML of a kubeconfig with one context.

    Args:
        context: name of the context, the cluster and the user.
        server: URL of the API server.
        authority: PEM of the certificate authority.
        certificate: PEM of the user's.
        key: PEM of the user's.
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
                        "client-certificate-data": encoded(certificate),
                        "client-key-data": encoded(key),
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
