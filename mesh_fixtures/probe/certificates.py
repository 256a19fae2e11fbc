"""Certificate authorities: what a cluster's istiod signs with, and who accepts what it signs.

Source: Istio, Plug in CA Certificates; RFC 5280, 6 (Certification Path Validation).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from mesh_fixtures.errors import NotPermitted, ProbeError
from mesh_fixtures.install.certificates import CACERTS, CLUSTER_FILES, ROOT_CERTIFICATE
from mesh_fixtures.kube import KubeClient, Secret, Source
from mesh_fixtures.kube.resources import CONFIG_MAPS, SECRETS
from mesh_fixtures.probe.istiod import CONTAINER, istiods

SELF_SIGNED: Final = "istio-ca-secret"
"""Secret of the authority that istiod makes for itself when it is given none."""

ROOT_BUNDLE: Final = "istio-ca-root-cert"
"""ConfigMap by which istiod tells a namespace's pods what they verify istiod by (Istio:
pilot-discovery, namespace controller)."""

_CA_SERVER: Final = "ENABLE_CA_SERVER"
"""Variable by which istiod signs no certificates, as an external authority does."""

_EXTERNAL_CA: Final = "EXTERNAL_CA"
"""Variable that names whom istiod passes requests for certificates on to."""

_KUBERNETES_FILES: Final = ("tls.crt", "tls.key", "ca.crt", "tls.crt")


@dataclass(frozen=True)
class Certificate:
    """A certificate.

    Attributes:
        fingerprint: SHA-256 of the whole, hex in lower case.
        key: SHA-256 of its public key, hex in lower case.
        subject: as in RFC 4514.
        is_authority: whether it may sign others.
    """

    fingerprint: str
    key: str
    subject: str
    issuer: str
    is_authority: bool
    not_before: datetime
    not_after: datetime

    @property
    def short(self) -> str:
        """The fingerprint's first 16 digits, enough to tell two apart."""
        return self.fingerprint[:16]

    def valid_at(self, moment: datetime) -> bool:
        return self.not_before <= moment <= self.not_after


@dataclass(frozen=True)
class TrustMaterial:
    """By what somebody's certificates are verified, and by what it verifies those of others.

    Attributes:
        issuing: certificate whose key made the signatures; None where it is not known.
        chain: shown together with what was signed, in any order.
        roots: what others are verified against.
        trust_domain: of what was signed; empty where it is not known.
        roots_by_domain: those of the roots that peers of a trust domain are verified against, where
            that depends on it; empty where each root is trusted for all of them.
    """

    issuing: x509.Certificate | None
    chain: tuple[x509.Certificate, ...]
    roots: tuple[x509.Certificate, ...]
    trust_domain: str = ""
    roots_by_domain: Mapping[str, tuple[x509.Certificate, ...]] = field(default_factory=dict)

    @property
    def path(self) -> tuple[Certificate, ...]:
        """From the issuing certificate upwards, as far as it is known here."""
        if self.issuing is None:
            return ()
        found = certification_path(self.issuing, self.chain, self.roots_for(self.trust_domain))
        return tuple(map(describe, found))

    def roots_for(self, trust_domain: str) -> tuple[x509.Certificate, ...]:
        """What peers of a trust domain are verified against; all roots for one that is unknown."""
        if not self.roots_by_domain or not trust_domain:
            return self.roots
        return self.roots_by_domain.get(trust_domain, ())

    def accepts(self, other: TrustMaterial) -> bool:
        """Whether a path leads from the other's issuing certificate to a root for its domain."""
        if other.issuing is None:
            return False
        roots = self.roots_for(other.trust_domain)
        *_, last = certification_path(other.issuing, other.chain, roots)
        return _fingerprint(last) in {_fingerprint(root) for root in roots}


@dataclass(frozen=True)
class Authority:
    """What a cluster's istiod signs with.

    Attributes:
        secret: name of the secret that holds it.
        defects: why proxies could not trust it; empty when all is well.
        unread: entries of the secret that are in another form, and make no difference.
    """

    source: Source
    secret: str
    material: TrustMaterial
    defects: tuple[str, ...]
    unread: tuple[str, ...] = ()

    @property
    def issuing(self) -> Certificate:
        """Certificate whose key signs the workloads' certificates."""
        return self.material.path[0]

    @property
    def roots(self) -> tuple[Certificate, ...]:
        """What they are verified against; more than one while a root is replaced."""
        return tuple(map(describe, self.material.roots))


def authority(kube: KubeClient) -> Authority | None:
    """The authority of the cluster's istiod: of the secret `cacerts`, or the one that istiod made.

    Returns:
        None where neither can be read, and where istiod leaves signing to somebody else.

    Raises:
        ProbeError: the API server cannot be asked, or the secret cannot be used.
    """
    if not _signs(kube):
        return None
    for name in (CACERTS, SELF_SIGNED):
        try:
            secret = kube.get(SECRETS, kube.names.system_namespace, name)
        except NotPermitted:
            continue
        if secret is not None:
            return read_authority(kube.source("secrets", kube.names.system_namespace, name), secret)
    return None


def root_bundle(kube: KubeClient, namespace: str) -> tuple[Certificate, ...] | None:
    """What pods of a namespace verify istiod by; None where istiod has not put it there.

    Raises:
        ProbeError: the API server cannot be asked, or it holds no certificate.
    """
    bundle = kube.get(CONFIG_MAPS, namespace, ROOT_BUNDLE)
    if bundle is None:
        return None
    source = kube.source(CONFIG_MAPS.plural, namespace, ROOT_BUNDLE)
    pem = bundle.data.get(ROOT_CERTIFICATE, "").encode()
    return tuple(map(describe, read_certificates(source, ROOT_CERTIFICATE, pem)))


def _signs(kube: KubeClient) -> bool:
    """Whether the cluster's istiod is an authority, as it is unless its pods say otherwise."""
    containers = [each for pod in istiods(kube) if (each := pod.container(CONTAINER)) is not None]
    passes_on = [
        each.env.get(_CA_SERVER, "true").lower() == "false" or bool(each.env.get(_EXTERNAL_CA))
        for each in containers
    ]
    return not passes_on or not all(passes_on)


def read_authority(source: Source, secret: Secret, now: datetime | None = None) -> Authority:
    """Read the secret: Istio's own form, that of `kubernetes.io/tls`, or the one that istiod made.

    Args:
        now: moment at which certificates must be valid; None for the present one.

    Raises:
        ProbeError: an entry is missing, or is no certificate or key.
    """
    files = _files(secret)
    missing = sorted({name for name in files if name not in secret.data})
    if missing:
        raise _unusable(source, f"no entry {', '.join(missing)}")
    issuing_file, key_file, root_file, chain_file = files
    issuing = read_certificates(source, issuing_file, secret.data[issuing_file])[0]
    roots = read_certificates(source, root_file, secret.data[root_file])
    chain = read_certificates(source, chain_file, secret.data[chain_file])
    defects = path_defects(issuing, chain, roots, now or datetime.now(UTC))
    if _key_of_private(source, key_file, secret.data[key_file]) != _key_of(issuing):
        defects.append(f"{key_file} is not the key of {issuing_file}")
    material = TrustMaterial(issuing, tuple(chain), tuple(roots))
    others = CLUSTER_FILES if files == _KUBERNETES_FILES else ()
    unread = tuple(name for name in others if name in secret.data)
    return Authority(source, secret.meta.name, material, tuple(defects), unread)


def _files(secret: Secret) -> tuple[str, ...]:
    """Entries of the certificate, its key, the roots and the chain. Of a secret in both forms,
    istiod reads that of `kubernetes.io/tls` (Istio: pilot-discovery, `ROOT_CA_DIR`).
    """
    if secret.meta.name == SELF_SIGNED:
        certificate, key, root, _ = CLUSTER_FILES
        roots = root if secret.data.get(root) else certificate
        return (certificate, key, roots, certificate)
    is_read = CLUSTER_FILES[0] in secret.data and _KUBERNETES_FILES[0] not in secret.data
    return CLUSTER_FILES if is_read else _KUBERNETES_FILES


def certification_path(
    issuing: x509.Certificate,
    chain: Sequence[x509.Certificate],
    roots: Sequence[x509.Certificate],
) -> list[x509.Certificate]:
    """From an issuer up to a root; where none is reached, as far as there are certificates.

    Args:
        chain: certificates that may be on the path, in any order.
    """
    known = [*chain, *roots]
    root_prints = {_fingerprint(root) for root in roots}
    path = [issuing]
    while _fingerprint(path[-1]) not in root_prints:
        seen = {_fingerprint(each) for each in path}
        issuers = [each for each in known if is_signed_by(path[-1], each)]
        following = [each for each in issuers if _fingerprint(each) not in seen]
        if not following:
            break
        path.append(min(following, key=lambda each: _fingerprint(each) not in root_prints))
    return path


def path_defects(
    issuing: x509.Certificate,
    chain: Sequence[x509.Certificate],
    roots: Sequence[x509.Certificate],
    now: datetime,
) -> list[str]:
    """Why a path of issuers does not lead from a certificate authority up to a root.

    Args:
        chain: certificates that may be on the path, in any order.

    Returns:
        One sentence for each defect; empty when all is well.
    """
    defects: list[str] = []
    path = certification_path(issuing, chain, roots)
    for described in map(describe, path):
        if not described.is_authority:
            defects.append(f"{described.subject} is no authority")
        if not described.valid_at(now):
            span = f"{described.not_before:%Y-%m-%d} to {described.not_after:%Y-%m-%d}"
            defects.append(f"{described.subject} is valid from {span} only")
    last = describe(path[-1])
    if last.fingerprint not in {_fingerprint(root) for root in roots}:
        defects.append(f"{last.subject} is not signed by a root or an entry of the chain")
    return defects


def is_signed_by(certificate: x509.Certificate, issuer: x509.Certificate) -> bool:
    """Whether the issuer's key made the signature, and names agree."""
    try:
        certificate.verify_directly_issued_by(issuer)
    except (InvalidSignature, ValueError, TypeError):
        return False
    return True


def describe(certificate: x509.Certificate) -> Certificate:
    """What the requirements need of a certificate."""
    try:
        constraints = certificate.extensions.get_extension_for_class(x509.BasicConstraints)
        is_authority = constraints.value.ca
    except (x509.ExtensionNotFound, ValueError):
        is_authority = False
    return Certificate(
        fingerprint=_fingerprint(certificate),
        key=_key_of(certificate),
        subject=certificate.subject.rfc4514_string(),
        issuer=certificate.issuer.rfc4514_string(),
        is_authority=is_authority,
        not_before=certificate.not_valid_before_utc,
        not_after=certificate.not_valid_after_utc,
    )


def _fingerprint(certificate: x509.Certificate) -> str:
    return certificate.fingerprint(hashes.SHA256()).hex()


def _digest(public: bytes) -> str:
    digest = hashes.Hash(hashes.SHA256())
    digest.update(public)
    return digest.finalize().hex()


def _key_of(certificate: x509.Certificate) -> str:
    public = certificate.public_key()
    return _digest(public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo))


def _key_of_private(source: Source, name: str, pem: bytes) -> str:
    try:
        public = serialization.load_pem_private_key(pem, password=None).public_key()
    except (ValueError, TypeError) as error:
        raise _unusable(source, f"{name} is no private key: {error}") from error
    return _digest(public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo))


def read_certificates(source: Source, name: str, pem: bytes) -> list[x509.Certificate]:
    """Certificates out of PEM, at least one.

    Args:
        name: of what holds it, for the error.

    Raises:
        ProbeError: there is none, or one cannot be read.
    """
    try:
        return x509.load_pem_x509_certificates(pem)
    except ValueError as error:
        raise _unusable(source, f"{name} holds no certificate: {error}") from error


def _unusable(source: Source, seen: str) -> ProbeError:
    return ProbeError(
        wanted="certificates that can be read",
        seen=seen,
        where=f"{source.cluster} {source.subject}",
    )
