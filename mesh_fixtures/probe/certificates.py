"""Certificate authorities: what a cluster's istiod signs with, and who accepts what it signs.

Proxies verify each other by BoringSSL. The API server and the proxies' agents verify istiod, which
signs its own certificate, by Go; which unlike the former looks at the path length of a root too.
Source: Istio, Plug in CA Certificates; RFC 5280, 6 (Certification Path Validation); BoringSSL,
`check_chain_extensions`, `X509_check_issued` and `NAME_CONSTRAINTS_check`; Go, crypto/x509
(Certificate.Verify).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from itertools import islice
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from mesh_fixtures.errors import NotPermitted, ProbeError
from mesh_fixtures.install.certificates import CACERTS, CLUSTER_FILES, ROOT_CERTIFICATE
from mesh_fixtures.kube import Container, KubeClient, Pod, Secret, Source
from mesh_fixtures.kube.resources import CONFIG_MAPS, SECRETS
from mesh_fixtures.probe.answers import answer_in
from mesh_fixtures.probe.istiod import CONTAINER, MESH_PATH, debug, istiods
from mesh_fixtures.probe.variables import is_on

SELF_SIGNED: Final = "istio-ca-secret"
"""Secret of the authority that istiod makes for itself when it is given none."""

ROOT_BUNDLE: Final = "istio-ca-root-cert"
"""ConfigMap by which istiod tells a namespace's pods what they verify istiod by (Istio:
pilot-discovery, namespace controller)."""

_CA_SERVER: Final = "ENABLE_CA_SERVER"
"""Variable by which istiod signs no certificates, as an external authority does."""

_EXTERNAL_CA: Final = "EXTERNAL_CA"
"""Variable that names whom istiod passes requests for certificates on to."""

_PROVIDER: Final = "PILOT_CERT_PROVIDER"
_ITSELF: Final = "istiod"
"""Variable that names who signs istiod's own certificate, and what it is unless it is set."""

_KUBERNETES_FILES: Final = ("tls.crt", "tls.key", "ca.crt", "tls.crt")

_MOST_PATHS: Final = 100
"""That are looked at, of certificates that sign each other."""

_TRIED: Final = b"signed to try a key"


@dataclass(frozen=True)
class Certificate:
    """A certificate.

    Attributes:
        fingerprint: SHA-256 of the whole, hex in lower case.
        key: SHA-256 of its public key, hex in lower case.
        subject: as in RFC 4514.
        is_authority: whether it may sign others.
        signs: whether its key may be used for that: its key usage, if it says so, permits it.
        path_length: how many authorities may be below it; None for any number.
        permitted: hosts to one of which URIs below it are bound by its name constraints; one with a
            leading dot stands for those within it. Empty for any.
        excluded: hosts that URIs below it must not have.
    """

    fingerprint: str
    key: str
    subject: str
    issuer: str
    is_authority: bool
    not_before: datetime
    not_after: datetime
    signs: bool = True
    path_length: int | None = None
    permitted: tuple[str, ...] = ()
    excluded: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.subject} {self.short}"

    @property
    def is_self_issued(self) -> bool:
        return self.subject == self.issuer

    @property
    def short(self) -> str:
        """The fingerprint's first 16 digits, enough to tell two apart."""
        return self.fingerprint[:16]

    def valid_at(self, moment: datetime) -> bool:
        return self.not_before <= moment <= self.not_after

    def forbids(self, host: str) -> bool:
        """Whether its name constraints certainly rule out URIs of a host, which in SPIFFE ids is
        the trust domain. Go takes a constraint without a dot for those within that host too, and
        BoringSSL does not.
        """
        host = host.lower()
        permitted, excluded = (
            [each.lower() for each in those] for those in (self.permitted, self.excluded)
        )
        may_fit = any(not each or f".{host}".endswith(f".{each.lstrip('.')}") for each in permitted)
        return (bool(permitted) and not may_fit) or any(
            host == each or (each.startswith(".") and host.endswith(each)) for each in excluded
        )


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
    pods = istiods(kube)
    containers = [each for pod in pods if (each := pod.container(CONTAINER)) is not None]
    if not _signs(containers):
        return None
    for name in (CACERTS, SELF_SIGNED):
        try:
            secret = kube.get(SECRETS, kube.names.system_namespace, name)
        except NotPermitted:
            continue
        if secret is not None:
            source = kube.source("secrets", kube.names.system_namespace, name)
            return read_authority(
                source,
                secret,
                kube.now(),
                signs_istiod=_signs_itself(containers),
                trust_domain=partial(_trust_domain, kube, pods),
            )
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


def _signs(containers: Sequence[Container]) -> bool:
    """Whether istiod is an authority, as it is unless its containers say otherwise."""
    passes_on = [
        not is_on(each.env, _CA_SERVER, by_default=True) or bool(each.env.get(_EXTERNAL_CA))
        for each in containers
    ]
    return not passes_on or not all(passes_on)


def _signs_itself(containers: Iterable[Container]) -> bool:
    """Whether istiod's own certificate is one that it has signed."""
    return all((each.env.get(_PROVIDER) or _ITSELF) == _ITSELF for each in containers)


def _trust_domain(kube: KubeClient, pods: Iterable[Pod]) -> str:
    """That of the workloads for which istiod signs; empty where no istiod says so."""
    with suppress(ProbeError, ValueError, AttributeError):
        for pod in pods:
            if pod.serving:
                return str(answer_in(debug(kube, pod, MESH_PATH).text).get("trustDomain") or "")
    return ""


def read_authority(
    source: Source,
    secret: Secret,
    now: datetime,
    *,
    signs_istiod: bool = True,
    trust_domain: Callable[[], str] = str,
) -> Authority:
    """Read the secret: Istio's own form, that of `kubernetes.io/tls`, or the one that istiod made.

    Args:
        now: moment at which certificates must be valid.
        signs_istiod: whether istiod's own certificate is below it too.
        trust_domain: asks for that of the workloads, which matters where certificates have name
            constraints; empty where it is not known.

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
    # An istiod that makes its own `cacerts` leaves the chain blank, and so may others whose root
    # signs (Istio: security/pkg/pki/ca, BuildSecret; security/pkg/pki/util, Verify).
    pem = secret.data[chain_file]
    chain = read_certificates(source, chain_file, pem) if pem.strip() else []
    described = map(describe, (issuing, *chain, *roots))
    is_bound = any(each.permitted or each.excluded for each in described)
    defects = path_defects(
        issuing,
        chain,
        roots,
        now,
        with_root=signs_istiod,
        trust_domains=[trust_domain()] if is_bound else (),
    )
    if not any(_is_same_authority(issuing, each) for each in (*chain, *roots)):
        name = issuing.subject.rfc4514_string()
        defects.append(
            f"{chain_file} lacks {name}, the certificate of {issuing_file}: proxies show what is "
            f"in {chain_file}, and nobody can verify what {name} has signed"
        )
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
    paths = _paths(issuing, chain, roots)
    return next((path for path in paths if path[-1] in roots), paths[0])


def _paths(
    issuing: x509.Certificate,
    chain: Sequence[x509.Certificate],
    roots: Sequence[x509.Certificate],
) -> list[list[x509.Certificate]]:
    """All ways up from an issuer, each as far as the first root on it; those by roots first."""
    known = list(dict.fromkeys([*roots, *chain]))

    def upwards(path: list[x509.Certificate]) -> Iterator[list[x509.Certificate]]:
        issuers = (
            []
            if path[-1] in roots
            else [each for each in known if each not in path and is_signed_by(path[-1], each)]
        )
        for each in issuers:
            yield from upwards([*path, each])
        if not issuers:
            yield path

    return list(islice(upwards([issuing]), _MOST_PATHS))


def path_defects(
    issuing: x509.Certificate,
    chain: Sequence[x509.Certificate],
    roots: Sequence[x509.Certificate],
    now: datetime,
    *,
    with_root: bool = False,
    trust_domains: Sequence[str] = (),
) -> list[str]:
    """Why no path of issuers leads from a certificate authority up to a root.

    Args:
        chain: certificates that may be on the path, in any order.
        with_root: whether the path length of the root counts.
        trust_domains: of the workloads that the path is for; empty where one is not known.

    Returns:
        One sentence for each defect of the best path; empty when all is well.
    """
    return min(
        (
            [
                *_defects(path, path[-1] in roots, now, with_root=with_root),
                *_forbidden(path, trust_domains),
            ]
            for path in _paths(issuing, chain, roots)
        ),
        key=len,
    )


def _forbidden(path: Iterable[x509.Certificate], trust_domains: Sequence[str]) -> Iterator[str]:
    for each in map(describe, path):
        for domain in filter(None, trust_domains):
            if each.forbids(domain):
                constraints = [f"permitted {name}" for name in each.permitted]
                constraints += [f"excluded {name}" for name in each.excluded]
                yield (
                    f"the name constraints of {each.subject} forbid identities of the trust domain "
                    f"{domain}: {', '.join(constraints)}"
                )


def _defects(
    path: Sequence[x509.Certificate], is_rooted: bool, now: datetime, *, with_root: bool
) -> Iterator[str]:
    below: list[str] = []
    described = [describe(each) for each in path]
    for each in described:
        if not each.is_authority:
            yield f"{each.subject} is no authority"
        if not each.signs:
            yield f"the key usage of {each.subject} does not permit it to sign certificates"
        counts = with_root or not is_rooted or each is not described[-1]
        if counts and each.path_length is not None and len(below) > each.path_length:
            yield (
                f"{each.subject} permits {each.path_length} authorities below it "
                f"(pathlen:{each.path_length}), and has {len(below)}: {', '.join(below)}"
            )
        if not each.valid_at(now):
            span = f"{each.not_before:%Y-%m-%d} to {each.not_after:%Y-%m-%d}"
            yield f"{each.subject} is valid from {span} only"
        if not each.is_self_issued:
            below.append(each.subject)
    if not is_rooted:
        yield f"{described[-1].subject} is not signed by a root or an entry of the chain"


def is_signed_by(certificate: x509.Certificate, issuer: x509.Certificate) -> bool:
    """Whether the issuer's key made the signature, and names agree."""
    try:
        certificate.verify_directly_issued_by(issuer)
    except (InvalidSignature, ValueError, TypeError):
        return False
    return True


def describe(certificate: x509.Certificate) -> Certificate:
    """What the requirements need of a certificate."""
    is_authority, path_length = _basic_constraints(certificate)
    constraints = _name_constraints(certificate)
    return Certificate(
        fingerprint=_fingerprint(certificate),
        key=_key_of(certificate),
        subject=certificate.subject.rfc4514_string(),
        issuer=certificate.issuer.rfc4514_string(),
        is_authority=is_authority,
        not_before=certificate.not_valid_before_utc,
        not_after=certificate.not_valid_after_utc,
        signs=_signs_by_usage(certificate),
        path_length=path_length,
        permitted=_hosts(constraints.permitted_subtrees) if constraints else (),
        excluded=_hosts(constraints.excluded_subtrees) if constraints else (),
    )


def _basic_constraints(certificate: x509.Certificate) -> tuple[bool, int | None]:
    """Whether a certificate is that of an authority, and how many may be below it."""
    try:
        constraints = certificate.extensions.get_extension_for_class(x509.BasicConstraints).value
    except (x509.ExtensionNotFound, ValueError):
        return False, None
    return constraints.ca, constraints.path_length


def _name_constraints(certificate: x509.Certificate) -> x509.NameConstraints | None:
    try:
        return certificate.extensions.get_extension_for_class(x509.NameConstraints).value
    except (x509.ExtensionNotFound, ValueError):
        return None


def _hosts(subtrees: Iterable[x509.GeneralName] | None) -> tuple[str, ...]:
    """Hosts of URIs, out of names of all kinds."""
    return tuple(
        each.value for each in subtrees or () if isinstance(each, x509.UniformResourceIdentifier)
    )


def _signs_by_usage(certificate: x509.Certificate) -> bool:
    """Whether the key usage lets a key sign certificates, as it does where it says nothing."""
    try:
        usage = certificate.extensions.get_extension_for_class(x509.KeyUsage).value
    except (x509.ExtensionNotFound, ValueError):
        return True
    return usage.key_cert_sign


def _is_same_authority(one: x509.Certificate, other: x509.Certificate) -> bool:
    """Whether both verify the same signatures: by name and key."""
    return one.subject == other.subject and _key_of(one) == _key_of(other)


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
    """Fingerprint of a private key's public half, by which what it signs is verified.

    A key of RSA is tried in place of having its numbers proven, which takes a hundred times as
    long: 0.3 s for one of 4096 bits, each time that it is read.
    """
    try:
        private = serialization.load_pem_private_key(
            pem, password=None, unsafe_skip_rsa_key_validation=True
        )
        public = private.public_key()
        if isinstance(private, RSAPrivateKey):
            signature = private.sign(_TRIED, PKCS1v15(), hashes.SHA256())
            private.public_key().verify(signature, _TRIED, PKCS1v15(), hashes.SHA256())
    except (ValueError, TypeError, InvalidSignature) as error:
        seen = str(error) or "it signs what its public half does not verify"
        raise _unusable(source, f"{name} is no private key: {seen}") from error
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
