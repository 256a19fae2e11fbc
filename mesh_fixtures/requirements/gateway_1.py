"""GATEWAY-1: addresses and ports of the east-west gateways."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from ipaddress import AddressValueError, IPv4Address
from typing import Final

from mesh_fixtures.kube import KubeClient
from mesh_fixtures.patience import patient
from mesh_fixtures.probe.envoy import Listeners
from mesh_fixtures.probe.gateways import OWN_PORTS, Gateway, gateways, listening
from mesh_fixtures.probe.network import Connection, connections
from mesh_fixtures.probe.view import MeshView
from mesh_fixtures.probe.workloads import PLAIN
from mesh_fixtures.requirements.observed import ObservedMesh
from mesh_fixtures.requirements.requirement import Outcome, Requirement
from mesh_fixtures.scenario import ISTIOD_PORTS, SERVICES_PORT, STATUS_PORT, Scenario
from mesh_fixtures.verdict.convergence import settle
from mesh_fixtures.verdict.findings import Finding, Subject

SETTLING_SECONDS: Final = 20.0
"""For new configuration to arrive at gateways, and for addresses to be announced."""

CONNECT_SECONDS: Final = 2.5
HTTP_OK: Final = 200

PRIVATE_PORTS: Final = frozenset({15000, 15010, 15014})
"""Ports of a proxy's admin interface, and of istiod in plain text: never for other clusters."""

TRIED_PORTS: Final = frozenset({STATUS_PORT, SERVICES_PORT, *ISTIOD_PORTS, *PRIVATE_PORTS})
"""Ports that other clusters try: those that may have to answer, and those that must not."""


@dataclass(frozen=True)
class Probes:
    """How the mesh is observed."""

    gateways: Callable[[KubeClient], tuple[Gateway, ...]] = gateways
    listening: Callable[[KubeClient, Gateway], Iterable[Listeners]] = listening
    connections: Callable[..., Iterable[Connection]] = connections


def judge(mesh: ObservedMesh, probes: Probes = Probes()) -> Outcome:
    view = mesh.view
    needed = [
        each.name for each in view.scenario.clusters if view.scenario.needs_gateway(each.name)
    ]
    found = view.each(probes.gateways, needed)
    heard = view.each(lambda kube: _listening(mesh, probes, kube, found[kube.name]), needed)
    reached = view.each(lambda kube: _reaching(mesh, probes, kube, found))
    findings = [*_absent(found), *_misplaced(view, found), *_shared(found)]
    for each in (*heard.values(), *reached.values()):
        findings += each
    return Outcome.judged(findings)


def _addresses(found: Mapping[str, tuple[Gateway, ...]]) -> dict[str, list[str]]:
    return {
        cluster: [address for gateway in those for address in gateway.addresses]
        for cluster, those in found.items()
    }


def _absent(found: Mapping[str, tuple[Gateway, ...]]) -> Iterator[Finding]:
    for cluster, those in found.items():
        if not those:
            yield Finding(cluster, "an east-west gateway", "none", about=Subject((cluster,)))
        for gateway in those:
            if not gateway.addresses:
                expected = "an external address for the east-west gateway"
                yield Finding(cluster, expected, str(gateway), gateway.source, Subject((cluster,)))
            if not any(pod.serving for pod in gateway.pods):
                expected = "a ready pod of the east-west gateway"
                yield Finding(cluster, expected, str(gateway), gateway.source, Subject((cluster,)))


def _misplaced(view: MeshView, found: Mapping[str, tuple[Gateway, ...]]) -> Iterator[Finding]:
    for cluster, addresses in _addresses(found).items():
        pool = view.lab.clusters[cluster].load_balancer_pool
        for address in addresses:
            if pool is not None and _ip(address) not in pool:
                expected = f"a gateway address from the pool {pool}"
                about = Subject((cluster,), addresses=(address,))
                yield Finding(cluster, expected, address, found[cluster][0].source, about)


def _ip(address: str) -> IPv4Address | None:
    try:
        return IPv4Address(address)
    except AddressValueError:
        return None


def _shared(found: Mapping[str, tuple[Gateway, ...]]) -> Iterator[Finding]:
    owners: dict[str, str] = {}
    for cluster, addresses in _addresses(found).items():
        for address in addresses:
            owner = owners.setdefault(address, cluster)
            if owner != cluster:
                expected = "a gateway address that no other cluster has"
                seen = f"{address}, which is also {owner}'s"
                about = Subject((cluster, owner), addresses=(address,))
                yield Finding(cluster, expected, seen, found[cluster][0].source, about)


def _listening(
    mesh: ObservedMesh, probes: Probes, kube: KubeClient, those: tuple[Gateway, ...]
) -> list[Finding]:
    """Wrong ports of a cluster's gateways, once configuration has had time to arrive."""
    wanted = mesh.scenario.gateway_listeners(kube.name)

    def differing() -> list[Finding]:
        seen = [each for gateway in those for each in probes.listening(kube, gateway)]
        return [
            _differs(kube.name, wanted, each) for each in seen if each.ports - OWN_PORTS != wanted
        ]

    return settle(
        differing,
        lambda findings: not findings,
        deadline=mesh.patient(SETTLING_SECONDS),
        interval=0.5,
    ).value


def _differs(cluster: str, wanted: frozenset[int], seen: Listeners) -> Finding:
    ports = seen.ports - OWN_PORTS
    expected = f"the east-west gateway to listen at {_listed(wanted)} and nowhere else"
    return Finding(cluster, expected, _listed(ports), seen.source, Subject((cluster,)))


def _listed(ports: frozenset[int]) -> str:
    return ", ".join(map(str, sorted(ports))) or "no port"


def _reaching(
    mesh: ObservedMesh,
    probes: Probes,
    kube: KubeClient,
    found: Mapping[str, tuple[Gateway, ...]],
) -> list[Finding]:
    """Ports of other clusters' gateways that are wrongly open or closed for the plain client, once
    their addresses have had time to be announced.
    """
    owners = {
        address: cluster
        for cluster, addresses in _addresses(found).items()
        for address in addresses
        if cluster != kube.name
    }
    targets = [(address, port) for address in owners for port in sorted(TRIED_PORTS)]
    client = kube.pod_of(kube.sample_namespace, PLAIN)

    def judged() -> list[Finding]:
        seen = probes.connections(kube, client, targets, seconds=patient(CONNECT_SECONDS))
        return [
            finding
            for each in seen
            for finding in _judged(mesh.scenario, kube.name, owners[each.address], each)
        ]

    return settle(
        judged, lambda findings: not findings, deadline=mesh.patient(SETTLING_SECONDS), interval=0.5
    ).value


def _judged(scenario: Scenario, client: str, cluster: str, seen: Connection) -> Iterator[Finding]:
    must = scenario.gateway_ports(cluster)
    may = scenario.gateway_listeners(cluster)
    about = Subject((cluster,), addresses=(seen.address,))
    if seen.port == STATUS_PORT:
        if seen.http_status != HTTP_OK:
            expected = f"the gateway of {cluster} to report on {STATUS_PORT} that it is ready"
            yield Finding(client, expected, f"{seen} {seen.message}".rstrip(), seen.source, about)
    elif (seen.port in must and not seen.is_open) or (seen.is_open and seen.port not in must | may):
        word = "open" if seen.port in must else "closed"
        expected = f"port {seen.port} of the gateway of {cluster} to be {word}"
        yield Finding(client, expected, f"{seen} {seen.message}".rstrip(), seen.source, about)


REQUIREMENT = Requirement(
    id="GATEWAY-1",
    level="core",
    title=(
        "Each required east-west gateway has an address from its pool, is reachable from the "
        "other clusters, and listens on the expected ports only."
    ),
    judge=judge,
    section="Install Multi-Primary on different networks: Install the east-west gateway",
    url="https://istio.io/latest/docs/setup/install/multicluster/multi-primary_multi-network/#install-the-east-west-gateway-in-cluster1",
    needs="sample",
    rests_on=("CONTROL-1",),
    rests_on_for_remotes=("DISCOVERY-1",),
    features=("east-west-gateway",),
)
