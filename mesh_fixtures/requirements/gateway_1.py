"""GATEWAY-1: ways into other networks, and to the istiods of remotes."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from mesh_fixtures.addresses import families, parsed
from mesh_fixtures.kube import KubeClient, Pod
from mesh_fixtures.kube.resources import PODS
from mesh_fixtures.patience import patient
from mesh_fixtures.probe.gateways import (
    Gateway,
    NetworkGateway,
    PassingGateway,
    advertised,
    gateways,
    passing,
)
from mesh_fixtures.probe.network import Connection, connections
from mesh_fixtures.probe.view import MeshView
from mesh_fixtures.probe.workloads import (
    HELLOWORLD,
    PLAIN,
    SLEEP,
    Discovery,
    discovery,
    injection_of,
    pod_addresses,
    usual_discovery,
)
from mesh_fixtures.requirements.observed import ObservedMesh
from mesh_fixtures.requirements.requirement import Outcome, Requirement
from mesh_fixtures.scenario import ISTIOD_PORTS, Scenario
from mesh_fixtures.verdict.convergence import settle
from mesh_fixtures.verdict.expectations import gateways_for, within_reach, without_gateway
from mesh_fixtures.verdict.findings import Finding, Subject
from mesh_fixtures.workloads import PORT

SETTLING_SECONDS: Final = 20.0
"""For new configuration to arrive at gateways, and for addresses to be announced."""

CONNECT_SECONDS: Final = 2.5

Target = tuple[str, int]
"""Address and port."""


@dataclass(frozen=True)
class _Way:
    """Why an address and port of other clusters must be reached.

    Attributes:
        clusters: whose it is; empty where that is not known.
        for_services: whether it passes services on, and so answers no plain HTTP, as istiod may.
    """

    purpose: str
    clusters: tuple[str, ...]
    for_services: bool = False


def _servers(kube: KubeClient) -> Sequence[Pod]:
    return kube.list(PODS, kube.sample_namespace, HELLOWORLD)


@dataclass(frozen=True)
class Probes:
    """How the mesh is observed."""

    advertised: Callable[[KubeClient], tuple[NetworkGateway, ...]] = advertised
    gateways: Callable[[KubeClient], tuple[Gateway, ...]] = gateways
    discovery: Callable[[KubeClient, str], Discovery] = discovery
    connections: Callable[..., Iterable[Connection]] = connections
    servers: Callable[[KubeClient], Sequence[Pod]] = _servers
    addresses: Callable[[KubeClient], frozenset[str]] = pod_addresses
    passing: Callable[[KubeClient], Sequence[PassingGateway]] = passing


def judge(mesh: ObservedMesh, probes: Probes = Probes()) -> Outcome:
    settled = settle(
        lambda: _looked(mesh, probes),
        lambda seen: not seen.findings,
        deadline=mesh.patient(SETTLING_SECONDS),
        interval=0.5,
    )
    seen = settled.value
    return Outcome.judged(
        seen.findings, {"seconds_to_reach": round(settled.seconds, 3)}, seen.notes
    )


def _looked(mesh: ObservedMesh, probes: Probes) -> Outcome:
    view, scenario = mesh.view, mesh.scenario
    services = view.each(probes.gateways)
    known: Mapping[str, tuple[NetworkGateway, ...]] = {}
    findings: list[Finding] = []
    notes: list[str] = []
    if scenario.is_multi_network:
        known = view.each(probes.advertised, [each.name for each in scenario.primaries])
        for network in without_gateway(scenario, known):
            note = _of_routed(mesh, probes, network, services) if view.lab.external else ""
            notes += [note] if note else []
            findings += [] if note else _missing(scenario, network, services)
        findings += _shared(known)
    findings += _misplaced(view, services)
    if mesh.has_samples:
        istiods = view.each(
            lambda kube: _istiod_of(kube, probes), [each.name for each in scenario.remotes]
        )
        findings += _nowhere(scenario, istiods)
        reached = view.each(lambda kube: list(_reached(scenario, probes, kube, known, istiods)))
        findings += [finding for those in reached.values() for finding in those]
    return Outcome.judged(findings, notes=notes)


def _missing(
    scenario: Scenario, network: str, services: Mapping[str, tuple[Gateway, ...]]
) -> Iterator[Finding]:
    """The clusters of a network into which no istiod of the mesh advertises a way."""
    for cluster in _clusters_on(scenario, network):
        there = services[cluster]
        source = there[0].source if there else None
        expected = f"a gateway of {network} that istiod advertises"
        seen = "; ".join(map(_labelled, there)) or "none"
        yield Finding(cluster, expected, seen, source, Subject((cluster,)))


def _clusters_on(scenario: Scenario, network: str) -> tuple[str, ...]:
    return tuple(each.name for each in scenario.data_planes if each.network == network)


def _of_routed(
    mesh: ObservedMesh,
    probes: Probes,
    network: str,
    services: Mapping[str, tuple[Gateway, ...]],
) -> str:
    """What is unusual about a network that needs no gateway, as clients on others reach its pods
    directly, where istiod sends them then; empty where it needs one.

    Without samples, that is known only of a network that is to have a gateway: by one that istiod
    does not advertise, or by a Gateway that passes services on.
    """
    here = _clusters_on(mesh.scenario, network)
    if mesh.has_samples:
        routed = _are_reached(mesh.view, probes, here)
        way = "clients on other networks reach its pods directly"
        return f"istiod advertises no gateway of {network}: {way}" if routed else ""
    in_charge = {mesh.scenario.control_plane_of(each) for each in here}
    exposing = mesh.view.each(probes.passing, sorted({*here, *in_charge}))
    if any(exposing.values()) or any(services[each] for each in here):
        return ""
    return (
        f"{network} has no gateway: whether clients on other networks reach its pods directly, as "
        "they have to, is known only with sample workloads"
    )


def _are_reached(view: MeshView, probes: Probes, servers: Collection[str]) -> bool:
    """Whether plain clients of all other clusters reach HelloWorld's pods in each of these. What
    answers at an address that a pod of the client's network has, too, may be that one.
    """
    running = view.each(probes.servers, servers)
    targets = sorted({(pod.ip, PORT) for pods in running.values() for pod in pods if pod.serving})
    if not all(any(pod.serving for pod in pods) for pods in running.values()):
        return False
    clients = [name for name in view.data_planes if name not in servers]
    near = frozenset[str]().union(*view.each(probes.addresses, clients).values())
    seconds = patient(CONNECT_SECONDS)

    def reaches(kube: KubeClient) -> bool:
        client = kube.pod_of(kube.sample_namespace, PLAIN)
        seen = list(probes.connections(kube, client, targets, seconds=seconds))
        return len(seen) == len(targets) and all(each.is_open for each in seen)

    return near.isdisjoint(address for address, _ in targets) and all(
        view.each(reaches, clients).values()
    )


def _labelled(gateway: Gateway) -> str:
    ports = ", ".join(str(each.number) for each in gateway.service.ports) or "no port"
    network = f"of {gateway.network}" if gateway.network else "of no network by its labels"
    return f"{gateway} ({network}; ports {ports})"


def _shared(known: Mapping[str, tuple[NetworkGateway, ...]]) -> Iterator[Finding]:
    owners: dict[str, NetworkGateway] = {}
    for each in dict.fromkeys(each for those in known.values() for each in those):
        owner = owners.setdefault(each.target, each)
        if owner.network != each.network:
            expected = f"a gateway of {each.network} that is not of another network, too"
            seen = f"{each.target}, which is also a gateway of {owner.network}"
            clusters = tuple(one for one in (each.cluster, owner.cluster) if one)
            about = Subject(clusters, addresses=(each.address,))
            yield Finding(clusters[0] if clusters else "", expected, seen, each.source, about)


def _misplaced(view: MeshView, found: Mapping[str, tuple[Gateway, ...]]) -> Iterator[Finding]:
    """Of our own labs, where it is known which addresses load balancers may get."""
    for cluster, those in found.items():
        pools = view.lab.clusters[cluster].pools
        for gateway in those:
            for address in gateway.addresses:
                ip = parsed(address)
                if pools and ip is not None and not any(ip in pool for pool in pools):
                    expected = f"a gateway address from the pool {' or '.join(map(str, pools))}"
                    about = Subject((cluster,), addresses=(address,))
                    yield Finding(cluster, expected, address, gateway.source, about)


def _istiod_of(kube: KubeClient, probes: Probes) -> Discovery:
    """What is behind the address at which a remote's proxies look for istiod."""
    injection = injection_of(kube.pod_of(kube.sample_namespace, SLEEP))
    usual = usual_discovery(kube.names)
    return probes.discovery(kube, usual if injection is None else injection.discovery)


def _nowhere(scenario: Scenario, istiods: Mapping[str, Discovery]) -> Iterator[Finding]:
    for remote, seen in istiods.items():
        if not seen.targets:
            primary = scenario.control_plane_of(remote)
            expected = f"an address at which its proxies find istiod of {primary}"
            yield Finding(remote, expected, str(seen), seen.source, Subject((remote,)))


def _reached(
    scenario: Scenario,
    probes: Probes,
    kube: KubeClient,
    known: Mapping[str, tuple[NetworkGateway, ...]],
    istiods: Mapping[str, Discovery],
) -> Iterator[Finding]:
    """What a cluster's pods must reach in other clusters and do not, past the mesh."""
    ways: dict[Target, _Way] = {}
    client = kube.pod_of(kube.sample_namespace, PLAIN)
    leading = gateways_for(scenario, kube.name, known)
    for gateway in within_reach(leading, families(client.addresses)):
        of = f" of {gateway.cluster}" if gateway.cluster else ""
        there = (gateway.cluster,) if gateway.cluster else ()
        purpose = f"the gateway{of} into {gateway.network}"
        ways[gateway.address, gateway.port] = _Way(purpose, there, for_services=True)
    istiod = istiods.get(kube.name)
    if istiod is not None and not istiod.selects:
        primary = scenario.control_plane_of(kube.name)
        for address, port in istiod.targets:
            if port in ISTIOD_PORTS:
                ways.setdefault(
                    (address, port), _Way(f"the way to istiod of {primary}", (primary,))
                )
    seen = probes.connections(kube, client, sorted(ways), seconds=patient(CONNECT_SECONDS))
    for each in seen:
        way = ways[each.address, each.port]
        if not each.is_open or (each.http_status and way.for_services):
            wanted = "to speak TLS" if each.is_open else "to be open"
            expected = f"port {each.port} of {each.address}, {way.purpose}, {wanted}"
            about = Subject(way.clusters, addresses=(each.address,), clients=(kube.name,))
            yield Finding(
                kube.name, expected, f"{each} {each.message}".rstrip(), each.source, about
            )


REQUIREMENT = Requirement(
    id="GATEWAY-1",
    level="core",
    title=(
        "Each network has a gateway that istiod advertises and that clients on other networks "
        "reach; remotes reach their primary's istiod."
    ),
    judge=judge,
    section="Install Multi-Primary on different networks: Install the east-west gateway",
    url="https://istio.io/latest/docs/setup/install/multicluster/multi-primary_multi-network/#install-the-east-west-gateway-in-cluster1",
    needs="sample",
    rests_on=("CONTROL-1",),
    rests_on_for_remotes=("DISCOVERY-1",),
    features=("east-west-gateway",),
    without_samples=True,
)
