"""Certificate authorities and remote secrets of a cluster: who is trusted, and who is let in where.

Authorities are istiod's own, those that it hands out, and its API server's. Source: Istio, Plug in
CA Certificates, and istioctl create-remote-secret; Kubernetes, kubeconfig v1.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes

from mesh_fixtures.diagnosis import facts
from mesh_fixtures.diagnosis.facts import RemoteSecret
from mesh_fixtures.errors import ProbeError
from mesh_fixtures.install.certificates import CACERTS
from mesh_fixtures.install.names import SYSTEM_NAMESPACE
from mesh_fixtures.kube import KubeClient, Secret
from mesh_fixtures.kube.objects import decoded
from mesh_fixtures.kube.resources import CONFIG_MAPS, SECRETS
from mesh_fixtures.probe.certificates import Certificate, authority, describe, read_certificates
from mesh_fixtures.probe.view import MeshView

ROOT_BUNDLE: Final = "istio-ca-root-cert"
"""ConfigMap in every namespace by which proxies verify istiod."""

_ROOT_FILE: Final = "root-cert.pem"

LABEL: Final = "istio/multiCluster"
_NAMES: Final = "istio-remote-secret"
"""How istioctl begins the names of these secrets."""


def read_authority(kube: KubeClient) -> facts.Authority:
    found = authority(kube)
    if found is None:
        return facts.Authority(present=False)
    return facts.Authority(
        present=found.secret == CACERTS,
        secret=found.secret,
        issuing=found.issuing.subject,
        below=roots_of(found.material.path),
        roots=roots_of(found.roots),
        defects=found.defects,
    )


def roots_of(certificates: tuple[Certificate, ...]) -> tuple[facts.Root, ...]:
    """What of certificates that verify others is kept."""
    return tuple(facts.Root(each.fingerprint, each.subject, each.key) for each in certificates)


def read_root_bundles(
    wanted: tuple[str, ...], kube: KubeClient
) -> Mapping[str, tuple[facts.Root, ...]]:
    found = {}
    for namespace in wanted:
        source = kube.source("configmaps", namespace, ROOT_BUNDLE)
        bundle = kube.get(CONFIG_MAPS, namespace, ROOT_BUNDLE)
        if bundle is not None:
            pem = bundle.data.get(_ROOT_FILE, "").encode()
            certificates = read_certificates(source, _ROOT_FILE, pem)
            found[namespace] = roots_of(tuple(map(describe, certificates)))
    return found


def own_authorities(kube: KubeClient) -> frozenset[str]:
    """Fingerprints of the certificate authorities by which a kubeconfig trusts its API server."""
    try:
        return authorities_in(Path(kube.cluster.kubeconfig).read_text(encoding="utf-8"))
    except OSError:
        return frozenset()


def read_remote_secrets(
    kube: KubeClient, view: MeshView, authorities: Mapping[str, frozenset[str]]
) -> tuple[RemoteSecret, ...]:
    """The remote secrets of a cluster, those too that lack istiod's label.

    A token is shown only to the API server whose certificate authority the secret trusts.

    Args:
        authorities: fingerprints of those of the API servers, by cluster.

    Raises:
        ProbeError: the cluster's secrets cannot be read.
    """
    found: list[RemoteSecret] = []
    for secret in kube.list(SECRETS, SYSTEM_NAMESPACE):
        labelled = secret.meta.labels.get(LABEL) == "true"
        if labelled or secret.meta.name.startswith(_NAMES):
            found += _entries(secret, labelled, view, authorities)
    return tuple(found)


def authorities_in(kubeconfig: str) -> frozenset[str]:
    """Fingerprints of the certificate authorities that a kubeconfig trusts; none if unreadable."""
    return frozenset(
        fingerprint
        for each in _entries_of(kubeconfig, "clusters")
        for fingerprint in _fingerprints(str(each.get("certificate-authority-data", "")))
    )


def credentials_in(kubeconfig: str) -> Iterator[str]:
    """Tokens, passwords and keys in a kubeconfig."""
    for user in _entries_of(kubeconfig, "users"):
        yield from (
            str(user[key]) for key in ("token", "password", "client-key-data") if user.get(key)
        )


def _entries(
    secret: Secret, labelled: bool, view: MeshView, authorities: Mapping[str, frozenset[str]]
) -> Iterator[RemoteSecret]:
    for cluster, content in secret.data.items():
        kubeconfig = content.decode("utf-8", "replace")
        servers = [str(each.get("server", "")) for each in _entries_of(kubeconfig, "clusters")]
        trusted = authorities_in(kubeconfig)
        leads_to = next((name for name, own in authorities.items() if own & trusted), "")
        if not trusted:  # as with a server whose certificate everybody trusts
            known = ((name, kube.cluster.api_server) for name, kube in view.kube.items())
            leads_to = next((name for name, server in known if server and server in servers), "")
        tokens = [str(each.get("token", "")) for each in _entries_of(kubeconfig, "users")]
        yield RemoteSecret(
            name=secret.meta.name,
            cluster=cluster,
            labelled=labelled,
            server=servers[0] if servers else "",
            leads_to=leads_to,
            accepted=_accepted(view, leads_to, tokens),
            created=secret.meta.created,
        )


def _accepted(view: MeshView, cluster: str, tokens: list[str]) -> bool | None:
    if cluster not in view.kube or not tokens or not tokens[0]:
        return None
    with suppress(ProbeError):
        return view.kube[cluster].accepts(tokens[0])
    return None


def _entries_of(kubeconfig: str, kind: str) -> list[Mapping[str, Any]]:
    """What a kubeconfig says of its clusters or users; none when it is no kubeconfig."""
    try:
        read = yaml.safe_load(kubeconfig)
        named = [each[kind.removesuffix("s")] for each in read[kind]]
    except (yaml.YAMLError, KeyError, TypeError):
        return []
    return [each for each in named if isinstance(each, dict)]


def _fingerprints(encoded: str) -> list[str]:
    try:
        certificates = x509.load_pem_x509_certificates(decoded(encoded))
    except ValueError:
        return []
    return [each.fingerprint(hashes.SHA256()).hex() for each in certificates]
