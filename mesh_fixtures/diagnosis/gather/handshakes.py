"""Who answers TLS at gateways: at their addresses, tried from other networks, and at their pods,
tried from their own clusters.

Gateways pass handshakes on by their SNI and show no certificate of their own, so that whoever shows
one ends TLS. What ends it in front of a gateway may answer nobody but other clusters: within its
own, connections to the address of a Service may go straight to its pods (Kubernetes: Service,
ipMode). Source: Istio, Gateway (AUTO_PASSTHROUGH).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, Final

from mesh_fixtures.diagnosis import facts
from mesh_fixtures.diagnosis.facts import ClusterFacts, Handshake, NetworkGateway
from mesh_fixtures.diagnosis.gather.batch import Query
from mesh_fixtures.diagnosis.gather.paths import (
    Target,
    asking,
    gateway_pods,
    gateway_ports,
    is_plain,
)
from mesh_fixtures.diagnosis.gather.programs import Key, as_pod
from mesh_fixtures.errors import ProbeError
from mesh_fixtures.kube import KubeClient
from mesh_fixtures.parallel import parallel_map
from mesh_fixtures.patience import patient
from mesh_fixtures.probe.identities import spiffe_ids, trust_domain_of
from mesh_fixtures.probe.tls import Hello, attempt
from mesh_fixtures.probe.view import MeshView
from mesh_fixtures.scenario import ISTIOD_PORTS, STATUS_PORT
from mesh_fixtures.verdict.client_endpoints import passing_on

SECONDS: Final = 3.5
"""For a handshake, and what comes of it."""

_NOT_OF_SERVICES: Final = (STATUS_PORT, *ISTIOD_PORTS)
_REQUEST: Final = b"HEAD / HTTP/1.0\r\n\r\n"
"""Has whoever ends TLS answer at once."""


def queries(
    view: MeshView,
    clusters: Mapping[str, ClusterFacts],
    advertised: Sequence[NetworkGateway],
) -> dict[Key, Query[Any]]:
    """A query for each cluster with a plain client from which there are gateways to try.

    Args:
        advertised: gateways of all networks, as istiods know them.
    """
    found: dict[Key, Query[Any]] = {}
    for name, kube in view.kube.items():
        pod = asking(clusters[name], kube.sample_namespace)
        targets = tuple(dict.fromkeys(_targets(view, clusters, advertised, name)))
        if pod is not None and is_plain(pod) and targets:
            source = f"handshakes from {pod.namespace}/{pod.name} of {name}"
            found["handshakes", name] = Query(name, source, partial(_all, kube, pod, targets))
    return found


def handshakes_in(answers: Mapping[Key, Any]) -> tuple[Handshake, ...]:
    """All handshakes that were tried where something accepts connections."""
    return tuple(
        each for key, answer in answers.items() if key[0] == "handshakes" for each in answer or ()
    )


def _targets(
    view: MeshView,
    clusters: Mapping[str, ClusterFacts],
    advertised: Sequence[NetworkGateway],
    client: str,
) -> Iterator[Target]:
    scenario = view.scenario
    for server, cluster in clusters.items():
        if server == client:
            yield from gateway_pods(scenario, server, cluster)
        elif not scenario.same_network(client, server):
            for address, port in gateway_ports(scenario, server, cluster, advertised):
                if port not in _NOT_OF_SERVICES:
                    yield Target(facts.GATEWAY, server, address, port, 1)


def _all(kube: KubeClient, pod: facts.Pod, targets: tuple[Target, ...]) -> tuple[Handshake, ...]:
    found = parallel_map(partial(_tried, kube, pod), targets)
    return tuple(each for each in found.values() if each is not None)


def _tried(kube: KubeClient, pod: facts.Pod, target: Target) -> Handshake | None:
    """A handshake; None where nothing accepts connections."""
    with suppress(ProbeError):
        seen = attempt(
            kube,
            as_pod(pod),
            target.address,
            target.port,
            _REQUEST,
            Hello(passing_on(kube)),
            patient(SECONDS),
        )
        where = (kube.name, target.server, target.kind, target.address, target.port)
        if seen.certificate is None:
            return Handshake(*where, source=seen.source.asked)
        return Handshake(
            *where,
            source=seen.source.asked,
            presented=True,
            subject=seen.certificate.subject.rfc4514_string(),
            issuer=seen.certificate.issuer.rfc4514_string(),
            workloads=tuple(filter(trust_domain_of, spiffe_ids(seen.certificate))),
        )
    return None
