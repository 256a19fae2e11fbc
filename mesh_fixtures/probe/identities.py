"""The certificates by which proxies identify themselves, and what they verify others against.

Envoy shows the chain, and never the key. Source: Istio, Identity and certificate management;
Envoy, Administration interface (`/config_dump`), SPIFFECertValidatorConfig; SPIFFE, X.509-SVID;
Istio, Trust Domain Migration; Istio, Integrations, SPIRE.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Final

from cryptography import x509

from mesh_fixtures.kube import KubeClient, Pod, Source
from mesh_fixtures.probe.answers import answer_in, readable
from mesh_fixtures.probe.certificates import (
    Certificate,
    TrustMaterial,
    describe,
    is_signed_by,
    path_defects,
    read_certificates,
)
from mesh_fixtures.probe.envoy import PROXY, admin
from mesh_fixtures.probe.istiod import CONTAINER, MESH_PATH, debug, istiods
from mesh_fixtures.probe.mesh_configuration import WANTED
from mesh_fixtures.probe.proxies import ProxyAnswers, ask_each
from mesh_fixtures.probe.variables import is_on

DEFAULT_TRUST_DOMAIN: Final = "cluster.local"

_SECRETS: Final = "config_dump?resource=dynamic_active_secrets"
_AWAITED: Final = "config_dump?resource=dynamic_warming_secrets"
"""Those that its configuration names, and that it has not got."""

_OWN, _ROOTS = "default", "ROOTCA"
"""Names of the secrets that the proxy's agent serves (Istio: pilot-agent, SDS), or an SDS server in
its place, as SPIRE's.
"""

_ANY_DOMAIN: Final = "PILOT_SKIP_VALIDATE_TRUST_DOMAIN"
_SCHEME: Final = "spiffe://"
_ANY: Final = ""
"""Instead of a trust domain, where what verifies its peers does not depend on it."""

Json = Mapping[str, Any]


@dataclass(frozen=True)
class Identity:
    """What a proxy identifies itself by.

    Attributes:
        leaf: its own certificate.
        spiffe_ids: URIs of the leaf's subject alternative names; one when all is well.
        defects: why those who trust the same roots could not trust it; empty when all is well.
    """

    source: Source
    leaf: Certificate
    spiffe_ids: tuple[str, ...]
    material: TrustMaterial
    defects: tuple[str, ...]

    @property
    def issuing(self) -> Certificate | None:
        """The certificate whose key signed the leaf; None when the proxy holds none such."""
        return next(iter(self.material.path), None)

    @property
    def roots(self) -> tuple[Certificate, ...]:
        """What the proxy verifies others against."""
        return tuple(map(describe, self.material.roots))


def identity(kube: KubeClient, pod: Pod) -> Identity | None:
    """What a pod's proxy identifies itself by; None while it has no certificate or no root.

    Raises:
        ProbeError: the proxy did not answer, or with certificates that cannot be read.
    """
    source, answer = admin(kube, pod, _SECRETS)
    return read_identity(source, answer, kube.now())


def identities(kube: KubeClient) -> ProxyAnswers[Identity | None]:
    """What each ready proxy of a cluster identifies itself by, those of gateways apart that do not
    identify themselves, as they only pass on what others have encrypted.

    Raises:
        ProbeError: as `proxies.proxies`.
    """
    found = ask_each(kube, _held_or_wanted)
    answered = tuple((proxy, seen) for proxy, (seen, wanted) in found.answered if wanted)
    return ProxyAnswers(answered, found.silent)


def _held_or_wanted(kube: KubeClient, pod: Pod) -> tuple[Identity | None, bool]:
    """What a pod's proxy identifies itself by, and whether it has to: a workload does, and whoever
    is configured with certificates, as an istiod that sends gateways only what they route to
    (PILOT_FILTER_GATEWAY_CLUSTER_CONFIG) may not do.
    """
    seen = identity(kube, pod)
    if seen is not None or pod.meta.namespace == kube.sample_namespace:
        return seen, True
    source, answer = admin(kube, pod, _AWAITED)
    with readable(source, answer, "the certificates that a proxy waits for"):
        awaited = {each["name"] for each in answer.get("configs", ())}
    return seen, not awaited.isdisjoint((_OWN, _ROOTS))


@dataclass(frozen=True)
class TrustDomains:
    """By which trust domains a control plane names workloads, and whom else its proxies know.

    Attributes:
        own: in the certificates that it signs.
        aliases: others that were its own, or that it is known by elsewhere.
        of_others: those of the roots that the mesh configuration adds.
        roots: these roots, besides those of the control plane's own authority.
        accepts_any: whether its proxies look at trust domains at all.
    """

    source: Source
    own: str
    aliases: tuple[str, ...] = ()
    of_others: tuple[str, ...] = ()
    roots: tuple[x509.Certificate, ...] = field(default=(), repr=False)
    accepts_any: bool = False

    @property
    def names(self) -> tuple[str, ...]:
        """Those in which its own workloads may be named."""
        return (self.own, *self.aliases)

    def accept(self, trust_domain: str) -> bool:
        """Whether its proxies accept a peer of a trust domain."""
        return self.accepts_any or trust_domain in (*self.names, *self.of_others)


def trust_domains(kube: KubeClient) -> TrustDomains | None:
    """Those of the mesh configuration of a cluster's istiod; None where no istiod is ready.

    Raises:
        ProbeError: istiod did not answer, or not as istiod does.
    """
    pod = next((each for each in istiods(kube) if each.serving), None)
    if pod is None:
        return None
    answer = debug(kube, pod, MESH_PATH)
    return read_trust_domains(answer.source, answer.text, accepts_any=accepts_any(pod))


def accepts_any(istiod: Pod) -> bool:
    """Whether an istiod has its proxies accept peers of any trust domain."""
    container = istiod.container(CONTAINER)
    return container is not None and is_on(container.env, _ANY_DOMAIN)


def read_trust_domains(source: Source, answer: str, *, accepts_any: bool = False) -> TrustDomains:
    """Read an istiod's answer to `/debug/mesh`.

    Raises:
        ProbeError: it is none.
    """
    with readable(source, answer, WANTED):
        configuration = answer_in(answer)
        others = configuration.get("caCertificates") or ()
        return TrustDomains(
            source,
            configuration.get("trustDomain") or DEFAULT_TRUST_DOMAIN,
            tuple(configuration.get("trustDomainAliases") or ()),
            tuple(name for each in others for name in each.get("trustDomains") or ()),
            tuple(_roots(source, others)),
            accepts_any,
        )


def _roots(source: Source, added: Sequence[Json]) -> Iterator[x509.Certificate]:
    """Roots that a mesh configuration adds as PEM, and not as the address of a bundle."""
    for each in added:
        if each.get("pem"):
            yield from read_certificates(source, "caCertificates", each["pem"].encode())


def spiffe_id(pod: Pod, trust_domain: str = "") -> str:
    """The identity that a pod must have in its mesh (Istio: `spiffe://TRUST-DOMAIN/ns/.../sa/...`).

    Args:
        trust_domain: empty for the one that its proxy was configured with when it was injected,
            which need not be the mesh's by now.
    """
    proxy = pod.container(PROXY)
    configured = proxy.env.get("TRUST_DOMAIN") if proxy is not None else None
    account = pod.service_account or "default"
    trust_domain = trust_domain or configured or DEFAULT_TRUST_DOMAIN
    return f"{_SCHEME}{trust_domain}/ns/{pod.meta.namespace}/sa/{account}"


def trust_domain_of(spiffe: str) -> str:
    """The trust domain in a SPIFFE id; empty in anything else."""
    return spiffe.removeprefix(_SCHEME).partition("/")[0] if spiffe.startswith(_SCHEME) else ""


def read_identity(source: Source, dump: Any, now: datetime) -> Identity | None:
    """Read what a proxy identifies itself by.

    Args:
        dump: answer to `config_dump?resource=dynamic_active_secrets`.
        now: moment at which certificates must be valid.

    Raises:
        ProbeError: it is not what Envoy answers, or certificates cannot be read.
    """
    by_hand = f"istioctl --context={source.cluster} proxy-config secret"
    with readable(source, dump, "the certificates of a proxy", by_hand):
        secrets = {each["name"]: each.get("secret", {}) for each in dump.get("configs", ())}
        chain_of = secrets.get(_OWN, {}).get("tls_certificate", {})
        own = _content(chain_of.get("certificate_chain", {}))
        trusted = _trusted(secrets.get(_ROOTS, {}).get("validation_context", {}))
    if not own or not trusted:
        return None
    leaf, *chain = read_certificates(source, _OWN, own)
    roots = {name: tuple(read_certificates(source, _ROOTS, pem)) for name, pem in trusted.items()}
    return _identity(source, leaf, chain, roots, now)


def _trusted(context: Json) -> Mapping[str, bytes]:
    """Roots as PEM, by the trust domain whose peers they verify; by an empty one, where each root
    verifies peers of all. Envoy does not use the latter beside the former.
    """
    validator = (context.get("custom_validator_config") or {}).get("typed_config") or {}
    if "trust_domains" in validator:
        found = {
            each["name"]: _content(each.get("trust_bundle", {}))
            for each in validator["trust_domains"]
        }
    else:
        found = {_ANY: _content(context.get("trusted_ca", {}))}
    return {name: pem for name, pem in found.items() if pem}


def _identity(
    source: Source,
    leaf: x509.Certificate,
    chain: Sequence[x509.Certificate],
    roots_by_domain: Mapping[str, tuple[x509.Certificate, ...]],
    now: datetime,
) -> Identity:
    described, named = describe(leaf), spiffe_ids(leaf)
    domain = trust_domain_of(named[0]) if named else ""
    all_roots = tuple(dict.fromkeys(each for those in roots_by_domain.values() for each in those))
    known = TrustMaterial(
        issuing=None,
        chain=tuple(chain),
        roots=all_roots,
        trust_domain=domain,
        roots_by_domain={} if _ANY in roots_by_domain else roots_by_domain,
    )
    roots = known.roots_for(domain)
    issuing = next((each for each in (*chain, *roots) if is_signed_by(leaf, each)), None)
    defects = []
    if not described.valid_at(now):
        span = f"{described.not_before:%Y-%m-%d %H:%M} to {described.not_after:%Y-%m-%d %H:%M} UTC"
        defects.append(f"a certificate that is valid from {span} only")
    if issuing is None:
        defects.append(f"no certificate of its issuer, {described.issuer}")
    else:
        names = tuple(map(trust_domain_of, named))
        defects += path_defects(issuing, chain, roots, now, trust_domains=names)
    return Identity(
        source=source,
        leaf=described,
        spiffe_ids=named,
        material=replace(known, issuing=issuing),
        defects=tuple(defects),
    )


def spiffe_ids(certificate: x509.Certificate) -> tuple[str, ...]:
    """URIs of a certificate's subject alternative names."""
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except (x509.ExtensionNotFound, ValueError):
        return ()
    found: Iterable[str] = names.value.get_values_for_type(x509.UniformResourceIdentifier)
    return tuple(found)


def _content(source: Json) -> bytes:
    """What is in a DataSource of Envoy; empty where that is a file or a variable."""
    text: str = source.get("inline_string", "")
    return text.encode() or base64.b64decode(source.get("inline_bytes", ""))
