"""SECURITY-2: clients that the gateways' service port refuses."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from mesh_fixtures.addresses import families, with_port
from mesh_fixtures.errors import ProbeError
from mesh_fixtures.kube import KubeClient, Pod
from mesh_fixtures.parallel import parallel_map
from mesh_fixtures.patience import patient
from mesh_fixtures.probe.gateways import NetworkGateway, advertised
from mesh_fixtures.probe.identities import spiffe_id
from mesh_fixtures.probe.network import Connection, connections
from mesh_fixtures.probe.tls import Hello, TlsAttempt, attempt
from mesh_fixtures.probe.untrusted import untrusted_client
from mesh_fixtures.probe.view import MeshView
from mesh_fixtures.probe.workloads import PLAIN, SLEEP
from mesh_fixtures.requirements.observed import ObservedMesh
from mesh_fixtures.requirements.requirement import Figure, Outcome, Requirement
from mesh_fixtures.verdict.client_endpoints import passing_on
from mesh_fixtures.verdict.expectations import gateways_for, within_reach
from mesh_fixtures.verdict.findings import Finding, Subject
from mesh_fixtures.workloads import hello

UNKNOWN_SERVICE: Final = "nowhere"

PRIVATE_PORTS: Final = frozenset({15000, 15010, 15014})
"""Ports of a proxy's admin interface, and of istiod in plain text: never for other networks."""

CONNECT_SECONDS: Final = 2.5

TRIED: Final = {
    "plaintext": "plaintext",
    "unknown_sni": "an unknown SNI",
    "no_certificate": "a client without a certificate",
    "foreign_certificate": "a client certificate from an untrusted root",
}

PASSED_ON: Final = frozenset({"no_certificate", "foreign_certificate"})
"""What only HelloWorld's own proxy can refuse: the gateway sees no more than the SNI."""


@dataclass(frozen=True)
class TriedGateway:
    """An attempt on a gateway from another network.

    Attributes:
        client: name of the client's cluster.
        cluster: name of the gateway's; of its network where that is not known.
        what: a key of `TRIED`.
    """

    client: str
    cluster: str
    address: str
    port: int
    what: str


@dataclass(frozen=True)
class Probes:
    """How the mesh is observed."""

    advertised: Callable[[KubeClient], tuple[NetworkGateway, ...]] = advertised
    attempt: Callable[[KubeClient, Pod, str, int, bytes, Hello | None], TlsAttempt] = attempt
    connections: Callable[..., Iterable[Connection]] = connections


@dataclass(frozen=True)
class Ways:
    """The gateways by which each cluster's clients reach other networks."""

    probes: Probes

    def __call__(self, mesh: ObservedMesh) -> Mapping[str, Sequence[NetworkGateway]]:
        view, scenario = mesh.view, mesh.scenario
        known = view.each(self.probes.advertised, [each.name for each in scenario.primaries])

        def ways(kube: KubeClient) -> Sequence[NetworkGateway]:
            client = kube.pod_of(kube.sample_namespace, PLAIN)
            return within_reach(
                gateways_for(scenario, kube.name, known), families(client.addresses)
            )

        return view.each(ways, [each.name for each in scenario.data_planes])


@dataclass(frozen=True)
class PrivatePorts:
    """Attempts on ports that show a proxy's or istiod's inside to other networks, by the client's
    cluster and the gateway; all clients try at once.
    """

    probes: Probes

    def __call__(
        self, mesh: ObservedMesh
    ) -> Mapping[str, Sequence[tuple[NetworkGateway, Connection]]]:
        view = mesh.view
        _ = mesh.endpoints  # where clients have them, their istiod knows the gateways
        ways: dict[str, dict[str, NetworkGateway]] = {}
        for client, way in _clients(mesh.once(Ways(self.probes))):
            ways.setdefault(client, {})[way.address] = way

        def tried(client: str) -> Sequence[tuple[NetworkGateway, Connection]]:
            own = ways[client]
            targets = [(address, port) for address in own for port in sorted(PRIVATE_PORTS)]
            kube, seconds = view.kube[client], patient(CONNECT_SECONDS)
            plain = kube.pod_of(kube.sample_namespace, PLAIN)
            seen = self.probes.connections(kube, plain, targets, seconds=seconds)
            return [(own[each.address], each) for each in seen]

        return parallel_map(tried, ways)


def _clients(
    ways: Mapping[str, Sequence[NetworkGateway]],
) -> Collection[tuple[str, NetworkGateway]]:
    """Each gateway once, with a cluster whose clients reach it."""
    return {way.target: (client, way) for client, those in ways.items() for way in those}.values()


def judge(mesh: ObservedMesh, probes: Probes = Probes()) -> Outcome:
    view = mesh.view
    sleeps = view.each(lambda kube: kube.pod_of(kube.sample_namespace, SLEEP))
    plain = view.each(lambda kube: kube.pod_of(kube.sample_namespace, PLAIN))
    ways = mesh.once(Ways(probes))
    tries = [
        TriedGateway(client, way.cluster or way.network, way.address, way.port, what)
        for client, way in _clients(ways)
        for what in TRIED
    ]
    found = parallel_map(
        lambda tried: _try(probes, view, tried, plain[tried.client], sleeps[tried.client]), tries
    )
    lacking = list(_without_gateway(ways))
    notes = [f"{each.cluster}: its clients use no gateway" for each in lacking]
    findings = [
        *(() if view.lab.external else lacking),
        *_accepted(found),
        *_open(mesh.once(PrivatePorts(probes))),
    ]
    unseen = None if findings else _unseen(found)
    figures = _figures(found)
    if unseen is not None:
        return Outcome.inconclusive(unseen, figures)
    return Outcome.judged(findings, figures, notes)


def _figures(found: Mapping[TriedGateway, TlsAttempt]) -> dict[str, Figure]:
    """What became of each attempt; with the address where a cluster has several gateways."""
    targets: dict[str, set[str]] = {}
    for each in found:
        targets.setdefault(each.cluster, set()).add(with_port(each.address, each.port))
    figures: dict[str, Figure] = {}
    for each, seen in found.items():
        of = f"{each.cluster}.{each.what}"
        several = len(targets[each.cluster]) > 1
        figures[f"{of}.{with_port(each.address, each.port)}" if several else of] = str(seen)
    return figures


def _try(
    probes: Probes, view: MeshView, tried: TriedGateway, client: Pod, sleep: Pod
) -> TlsAttempt:
    """From a client; Sleep is whom an untrusted certificate claims to be."""
    kube = view.kube[tried.client]
    namespace = kube.sample_namespace
    known, unknown = passing_on(kube), passing_on(kube, UNKNOWN_SERVICE)
    introductions: Mapping[str, Callable[[], Hello | None]] = {
        "plaintext": lambda: None,
        "unknown_sni": lambda: Hello(unknown),
        "no_certificate": lambda: Hello(known),
        "foreign_certificate": lambda: Hello(known, certificate=untrusted_client(spiffe_id(sleep))),
    }
    host, _, path = hello(namespace).partition("/")
    request = f"GET /{path} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode()
    introduction = introductions[tried.what]()
    return probes.attempt(kube, client, tried.address, tried.port, request, introduction)


def _without_gateway(ways: Mapping[str, Sequence[NetworkGateway]]) -> Iterator[Finding]:
    for client, those in ways.items():
        if not those:
            expected = "a gateway of another network, to see whom it refuses"
            yield Finding(client, expected, "none", about=Subject(clients=(client,)))


def _accepted(found: Mapping[TriedGateway, TlsAttempt]) -> Iterator[Finding]:
    for tried, seen in found.items():
        expected = (
            f"{TRIED[tried.what]} to be refused by {with_port(tried.address, tried.port)}, "
            f"the gateway of {tried.cluster}"
        )
        about = Subject((tried.cluster,), addresses=(tried.address,))
        if not seen.is_refused:
            yield Finding(tried.client, expected, str(seen), seen.source, about)
        elif tried.what not in PASSED_ON and seen.server is not None:
            shown = f"a server that shows its certificate, {', '.join(seen.server)}"
            yield Finding(tried.client, expected, shown, seen.source, about)


def _open(tried: Mapping[str, Sequence[tuple[NetworkGateway, Connection]]]) -> Iterator[Finding]:
    for client, attempts in tried.items():
        for way, seen in attempts:
            if seen.is_open:
                expected = f"port {seen.port} of the gateway {way} to be closed"
                clusters = (way.cluster,) if way.cluster else ()
                about = Subject(clusters, addresses=(way.address,), clients=(client,))
                shown = f"{seen} {seen.message}".rstrip()
                yield Finding(client, expected, shown, seen.source, about)


def _unseen(found: Mapping[TriedGateway, TlsAttempt]) -> ProbeError | None:
    """Set where a connection ended before anybody could have looked at the certificate."""
    for tried, seen in found.items():
        if tried.what in PASSED_ON and not seen.by_tls:
            return ProbeError(
                wanted=f"HelloWorld's proxy behind {tried.address} to refuse {TRIED[tried.what]}",
                seen=f"{seen}, before it came to that",
                where=f"{seen.source.cluster} {seen.source.subject}",
                remedy="see DISCOVERY-2 and TRAFFIC-1 first",
            )
    return None


REQUIREMENT = Requirement(
    id="SECURITY-2",
    level="extended",
    title=(
        "The gateways' service port refuses plaintext, unknown SNIs, client certificates from "
        "an untrusted root, and clients without a certificate; no port shows a proxy's inside."
    ),
    judge=judge,
    section="Install Multi-Primary on different networks: Expose services",
    url="https://istio.io/latest/docs/setup/install/multicluster/multi-primary_multi-network/#expose-services-in-cluster1",
    needs="endpoints",
    rests_on=(
        "GATEWAY-1",
        "TRUST-1",
        "WORKLOAD-1",
    ),
    features=("multi-network",),
    ahead=PrivatePorts(Probes()),
)
