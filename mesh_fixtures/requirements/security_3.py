"""SECURITY-3: clients that istiod refuses where proxies find it: at 15012, or what leads there.

At 15010, within its cluster, it speaks without TLS, and asks nobody who he is unless it has
`XDS_AUTH_PLAINTEXT` (source: Istio, Ports used by Istio; `pkg/security`, Authenticate). That holds
for every istiod as it comes, and is not judged.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from mesh_fixtures.addresses import split_port
from mesh_fixtures.kube import KubeClient, Pod, Source
from mesh_fixtures.parallel import parallel_map
from mesh_fixtures.probe.grpc import GrpcAnswer, call
from mesh_fixtures.probe.identities import spiffe_id
from mesh_fixtures.probe.tls import Hello, TlsAttempt, attempt
from mesh_fixtures.probe.untrusted import (
    UntrustedClient,
    signing_request,
    untrusted_client,
    untrusted_token,
)
from mesh_fixtures.probe.view import MeshView
from mesh_fixtures.probe.workloads import PLAIN, SLEEP, injection_of, usual_discovery
from mesh_fixtures.requirements.observed import ObservedMesh
from mesh_fixtures.requirements.requirement import Outcome, Requirement
from mesh_fixtures.verdict.findings import Finding, Subject

CERTIFICATES: Final = "istio.v1.auth.IstioCertificateService/CreateCertificate"
CONFIGURATION: Final = (
    "envoy.service.discovery.v3.AggregatedDiscoveryService/StreamAggregatedResources"
)

TRIED: Final = {
    "certificate_without_token": "a request for a certificate without a token",
    "certificate_with_foreign_token": "a request for a certificate with a forged token",
    "configuration_without_token": "a request for configuration without token and certificate",
    "configuration_with_foreign_certificate": "a client certificate from an untrusted root",
}

_PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(3) + b"\x04" + bytes(5)
"""By which a client begins a connection, with no settings: who takes it answers (source: RFC 9113,
3.4 and 6.5)."""

_LIFETIME_SECONDS: Final = 3600


@dataclass(frozen=True)
class AttemptResult:
    """The result of one attempt."""

    source: Source
    is_refused: bool
    answer: str


@dataclass(frozen=True)
class Probes:
    """How the mesh is observed."""

    call: Callable[..., GrpcAnswer] = call
    attempt: Callable[[KubeClient, Pod, str, int, bytes, Hello | None], TlsAttempt] = attempt


def judge(mesh: ObservedMesh, probes: Probes = Probes()) -> Outcome:
    view = mesh.view
    sleeps = view.each(lambda kube: kube.pod_of(kube.sample_namespace, SLEEP))
    clients = view.each(lambda kube: kube.pod_of(kube.sample_namespace, PLAIN))
    tries = [(cluster, what) for cluster in sleeps for what in TRIED]
    found = parallel_map(lambda tried: _try(probes, view, sleeps, clients, *tried), tries)
    findings = [
        Finding(
            cluster,
            f"{TRIED[what]} to be refused by istiod at "
            f"{_istiod(view.kube[cluster], sleeps[cluster])}",
            seen.answer,
            seen.source,
            Subject((view.scenario.control_plane_of(cluster),)),
        )
        for (cluster, what), seen in found.items()
        if not seen.is_refused
    ]
    figures = {f"{cluster}.{what}": seen.answer for (cluster, what), seen in found.items()}
    return Outcome.judged(findings, figures)


def _istiod(kube: KubeClient, sleep: Pod) -> str:
    """Where proxies of its cluster find istiod: a remote's at its primary's gateway."""
    injection = injection_of(sleep)
    return injection.discovery if injection is not None else usual_discovery(kube.names)


def _try(
    probes: Probes,
    view: MeshView,
    sleeps: Mapping[str, Pod],
    clients: Mapping[str, Pod],
    cluster: str,
    what: str,
) -> AttemptResult:
    """From a client; Sleep is whom what is forged claims to be."""
    kube, sleep, client = view.kube[cluster], sleeps[cluster], clients[cluster]
    target = _istiod(kube, sleep)
    request = _certificate_request(spiffe_id(sleep))
    token = untrusted_token(sleep.meta.namespace, sleep.service_account)
    ways: Mapping[str, Callable[[], AttemptResult]] = {
        "certificate_without_token": lambda: _called(probes, kube, client, target, request),
        "certificate_with_foreign_token": lambda: _called(
            probes, kube, client, target, request, token
        ),
        "configuration_without_token": lambda: _called(probes, kube, client, target, None),
        "configuration_with_foreign_certificate": lambda: _connected(
            probes, kube, client, target, spiffe_id(sleep)
        ),
    }
    return ways[what]()


def _called(
    probes: Probes,
    kube: KubeClient,
    client: Pod,
    target: str,
    request: bytes | None,
    token: str = "",
    certificate: UntrustedClient | None = None,
) -> AttemptResult:
    """Without a request for a certificate, a stream of configuration is asked for. istiod looks at
    who calls before it reads what is asked on a stream, so that nothing need be.
    """
    method = CONFIGURATION if request is None else CERTIFICATES
    answer = probes.call(kube, client, target, method, request, token, certificate)
    return AttemptResult(answer.source, answer.is_refused, str(answer))


def _connected(
    probes: Probes, kube: KubeClient, client: Pod, target: str, claimed: str
) -> AttemptResult:
    """An istiod refuses the certificate as soon as it sees it. Where the connection stays,
    something in front of it may have ended TLS and looked at no certificate, as a Gateway of the
    mode SIMPLE does (source: Istio, Install Istio with an External Control Plane): whether anybody
    is served for the certificate's sake is seen by asking for configuration with it.
    """
    host, port = split_port(target)
    untrusted = untrusted_client(claimed)
    hello = Hello(host, protocols=("h2",), certificate=untrusted)
    seen = probes.attempt(kube, client, host, int(port), _PREFACE, hello)
    if seen.is_refused:
        return AttemptResult(seen.source, seen.is_refused, str(seen))
    return _called(probes, kube, client, target, None, certificate=untrusted)


def _certificate_request(spiffe_id: str) -> bytes:
    """IstioCertificateRequest as protobuf (source: Istio, security/v1alpha1/ca.proto)."""
    request = signing_request(spiffe_id)
    return b"\x0a" + _varint(len(request)) + request + b"\x18" + _varint(_LIFETIME_SECONDS)


def _varint(number: int) -> bytes:
    """Source: Protocol Buffers, Encoding."""
    encoded = bytearray()
    while number >= 0x80:
        encoded.append(number & 0x7F | 0x80)
        number >>= 7
    encoded.append(number)
    return bytes(encoded)


REQUIREMENT = Requirement(
    id="SECURITY-3",
    level="extended",
    title=(
        "Where proxies find it, in its cluster or at its gateway, istiod issues neither "
        "certificates nor configuration to workloads without a valid token or certificate."
    ),
    judge=judge,
    section="Security: Identity and certificate management",
    url="https://istio.io/latest/docs/concepts/security/#pki",
    needs="sample",
    rests_on=("GATEWAY-1",),
)
