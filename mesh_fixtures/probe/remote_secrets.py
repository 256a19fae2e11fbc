"""Remote secrets: by which an istiod reads the API servers of other clusters, and what they permit.

Source: Istio, istioctl create-remote-secret; secrets that istiod reads are those of its own
namespace with the label, and kubeconfigs that run programs or read files are refused (Istio,
PILOT_INSECURE_MULTICLUSTER_KUBECONFIG_OPTIONS); Kubernetes, kubeconfig v1.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes

from mesh_fixtures.contract import SYSTEM_NAMESPACE
from mesh_fixtures.errors import NotPermitted, ProbeError
from mesh_fixtures.kube import Access, KubeClient, Secret
from mesh_fixtures.kube.objects import decoded
from mesh_fixtures.kube.resources import ENDPOINT_SLICES, NAMESPACES, NODES, PODS, SECRETS, SERVICES
from mesh_fixtures.parallel import parallel_map
from mesh_fixtures.probe.istiod import OWN_KUBECONFIG
from mesh_fixtures.probe.view import MeshView

LABEL: Final = "istio/multiCluster"
NAMES: Final = "istio-remote-secret"
"""How istioctl begins the names of these secrets."""

READ_BY_ISTIOD: Final = tuple(
    Access(verb, each.plural, each.group)
    for each in (SERVICES, PODS, NODES, NAMESPACES, ENDPOINT_SLICES)
    for verb in ("list", "watch")
)
"""Without which an istiod knows no endpoint of a cluster."""

_NOT_READ: Final = {
    "exec": "exec",
    "tokenFile": "tokenFile",
    "client-certificate": "client-certificate",
    "client-key": "client-key",
}
"""Entries of a kubeconfig's user by which programs are run or files are read."""

_SAFE_PROVIDER: Final = "oidc"


@dataclass(frozen=True)
class RemoteSecret:
    """Access to the API server of another cluster, as istiod is told of it.

    Attributes:
        name: of the secret.
        cluster: the name that it gives to the cluster.
        labelled: whether it has the label by which istiod finds it.
        server: URL of the API server.
        leads_to: cluster whose certificate authority it trusts; empty when that is none of the
            mesh's.
        accepted: whether the API server of that cluster accepts its token; None when not asked.
        created: RFC 3339.
        namespace: that it is in.
        read_in: the only one whose secrets istiod reads: its own.
        refused: entries of its kubeconfig that istiod refuses, unless it is told not to.
        expires: when its token does, in seconds since the epoch; None for never, or unknown.
        denied: verbs and resources, such as `list pods`, which istiod needs and the API server of
            that cluster does not permit to its token.
    """

    name: str
    cluster: str
    labelled: bool
    server: str
    leads_to: str
    accepted: bool | None
    created: str
    namespace: str = SYSTEM_NAMESPACE
    read_in: str = SYSTEM_NAMESPACE
    refused: tuple[str, ...] = ()
    denied: tuple[str, ...] = ()
    expires: float | None = None

    @property
    def is_found(self) -> bool:
        """Whether istiod finds it."""
        return self.labelled and self.namespace == self.read_in

    def deletion(self, primary: str) -> str:
        """The command that deletes it in the cluster that holds it."""
        return f"kubectl --context={primary} -n {self.namespace} delete secret {self.name}"

    def is_idle(self, in_use: Collection[str]) -> bool:
        """Whether istiods read its cluster by other secrets. Of several for one cluster, an istiod
        uses the one that it found first, until that is deleted, or istiod is restarted (Istio:
        pkg/kube/multicluster, `addRemoteConfig`).

        Args:
            in_use: `namespace/name` of the secret by which each istiod reads the cluster; empty
                where it does not read it, or where that is not known.
        """
        own = f"{self.namespace}/{self.name}"
        return bool(in_use) and all(each and each != own for each in in_use)


def own_authorities(kube: KubeClient) -> frozenset[str]:
    """Fingerprints of the certificate authorities by which a kubeconfig trusts its API server."""
    try:
        return authorities_in(Path(kube.cluster.kubeconfig).read_text(encoding="utf-8"))
    except OSError:
        return frozenset()


def remote_secrets(
    kube: KubeClient, view: MeshView, authorities: Mapping[str, frozenset[str]]
) -> tuple[RemoteSecret, ...]:
    """The remote secrets of a cluster, those too that lack istiod's label or are in a namespace
    where istiod does not look, as far as these may be read; without `OWN_KUBECONFIG`, which is of
    istiod's own cluster.

    A token is shown only to the API server whose certificate authority the secret trusts.

    Args:
        authorities: fingerprints of those of the API servers, by cluster.

    Raises:
        ProbeError: the cluster's secrets cannot be read.
    """
    found: dict[tuple[str, str], Secret] = {}
    for secret in kube.list(SECRETS, kube.names.system_namespace):
        if secret.meta.labels.get(LABEL) == "true" or secret.meta.name.startswith(NAMES):
            found[secret.meta.namespace, secret.meta.name] = secret
    with suppress(ProbeError):
        for secret in kube.list(SECRETS, "", f"{LABEL}=true"):
            found.setdefault((secret.meta.namespace, secret.meta.name), secret)
    return tuple(
        entry
        for secret in found.values()
        if secret.meta.name != OWN_KUBECONFIG
        for entry in _entries(kube, secret, view, authorities)
    )


def found_secrets(kube: KubeClient, view: MeshView) -> tuple[RemoteSecret, ...]:
    """The remote secrets that a cluster's istiod finds; none where they may not be read.

    Raises:
        ProbeError: the API server cannot be asked.
    """
    authorities = {name: own_authorities(each) for name, each in view.kube.items()}
    with suppress(NotPermitted):
        return tuple(each for each in remote_secrets(kube, view, authorities) if each.is_found)
    return ()


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
    kube: KubeClient, secret: Secret, view: MeshView, authorities: Mapping[str, frozenset[str]]
) -> Iterator[RemoteSecret]:
    for cluster, content in secret.data.items():
        kubeconfig = content.decode("utf-8", "replace")
        servers = [str(each.get("server", "")) for each in _entries_of(kubeconfig, "clusters")]
        trusted = authorities_in(kubeconfig)
        fitting = [name for name, own in authorities.items() if own & trusted]
        by_server = [
            name
            for name, each in view.kube.items()
            if each.cluster.api_server and each.cluster.api_server in servers
        ]
        leads_to = _where(cluster, fitting, by_server) if trusted else next(iter(by_server), "")
        users = _entries_of(kubeconfig, "users")
        token = str(users[0].get("token", "")) if users else ""
        accepted = _accepted(view, leads_to, token)
        yield RemoteSecret(
            name=secret.meta.name,
            cluster=cluster,
            labelled=secret.meta.labels.get(LABEL) == "true",
            server=servers[0] if servers else "",
            leads_to=leads_to,
            accepted=accepted,
            created=secret.meta.created,
            namespace=secret.meta.namespace,
            read_in=kube.names.system_namespace,
            refused=tuple(dict.fromkeys(each for user in users for each in _refused(user))),
            denied=_denied(view.kube[leads_to], token) if accepted else (),
            expires=expiry_of(token),
        )


def expiry_of(token: str) -> float | None:
    """When a service account's token expires, in seconds since the epoch, as it says itself; None
    where it does not (RFC 7519, exp; Kubernetes, TokenRequest).
    """
    try:
        _, claims, _ = token.split(".")
        content = json.loads(base64.urlsafe_b64decode(claims + "=" * (-len(claims) % 4)))
        return float(content["exp"])
    except (ValueError, KeyError, TypeError):
        return None


def _where(named: str, fitting: Sequence[str], by_server: Sequence[str]) -> str:
    """The cluster that a kubeconfig leads to, of those whose authority it trusts. One authority may
    be that of several API servers; then the server's address tells, else the name is believed.
    """
    at_server = [name for name in fitting if name in by_server]
    if len(fitting) > 1 and at_server:
        return at_server[0]
    return named if named in fitting else next(iter(fitting), "")


def _accepted(view: MeshView, cluster: str, token: str) -> bool | None:
    if cluster not in view.kube or not token:
        return None
    with suppress(ProbeError):
        return view.kube[cluster].accepts(token)
    return None


def _denied(kube: KubeClient, token: str) -> tuple[str, ...]:
    """What istiod needs and a token's account may not; nothing where that cannot be asked."""
    try:
        answers = parallel_map(lambda each: kube.permits(token, each), READ_BY_ISTIOD)
    except ProbeError:
        return ()
    return tuple(f"{each.verb} {each.resource}" for each, may in answers.items() if not may)


def _refused(user: Mapping[str, Any]) -> Iterator[str]:
    """What of a kubeconfig's user istiod refuses."""
    yield from (name for key, name in _NOT_READ.items() if user.get(key))
    provider = user.get("auth-provider")
    name = str(provider.get("name", "")) if isinstance(provider, dict) else ""
    if name and name != _SAFE_PROVIDER:
        yield f"auth-provider {name}"


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
