"""NETWORK-1: pods reach each other directly within a network, but not across networks."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from mesh_fixtures.errors import ProbeError
from mesh_fixtures.kube import KubeClient, Pod
from mesh_fixtures.parallel import parallel_map
from mesh_fixtures.patience import patient
from mesh_fixtures.probe.network import Connection, connection
from mesh_fixtures.probe.workloads import HELLOWORLD, PLAIN, pod_addresses
from mesh_fixtures.requirements.observed import ObservedMesh
from mesh_fixtures.requirements.requirement import Outcome, Requirement
from mesh_fixtures.scenario import STATUS_PORT, Scenario
from mesh_fixtures.verdict.findings import Finding, Subject

REACHABLE_SECONDS: Final = 5.0
UNREACHABLE_SECONDS: Final = 2.5
"""Long enough for a lost packet to be sent again."""


@dataclass(frozen=True)
class Probes:
    """How the mesh is observed."""

    connection: Callable[..., Connection] = connection
    addresses: Callable[[KubeClient], frozenset[str]] = pod_addresses


@dataclass(frozen=True)
class TriedConnections:
    """What became of attempts to reach HelloWorld's pods past the mesh.

    Attributes:
        servers: the pods, by cluster.
        connections: by the client's cluster, the server's, and the server's address.
    """

    servers: Mapping[str, Pod]
    connections: Mapping[tuple[str, str, str], Connection]


@dataclass(frozen=True)
class Tries:
    """Attempts of each cluster's plain client on the addresses that the mesh uses."""

    probes: Probes

    def __call__(self, mesh: ObservedMesh) -> TriedConnections:
        view, same_network = mesh.view, mesh.scenario.same_network
        names = view.data_planes
        servers = view.each(lambda kube: kube.pod_of(kube.sample_namespace, HELLOWORLD))
        clients = view.each(lambda kube: kube.pod_of(kube.sample_namespace, PLAIN))

        def tried(way: tuple[str, str, str]) -> Connection:
            client, server, address = way
            near = same_network(client, server)
            seconds = patient(REACHABLE_SECONDS if near else UNREACHABLE_SECONDS)
            return self.probes.connection(
                view.kube[client], clients[client], address, STATUS_PORT, seconds=seconds
            )

        ways = [
            (client, server, address)
            for client in names
            for server in names
            for address in _tried(servers[server], mesh.scenario)
        ]
        return TriedConnections(servers, parallel_map(tried, ways))


def _tried(pod: Pod, scenario: Scenario) -> tuple[str, ...]:
    """The addresses at which the mesh reaches a pod: where it is of one family, Kubernetes may be
    of both, and istiod tells clients of the primary one only (source: Istio, Dual Stack).
    """
    return pod.addresses if scenario.is_dual_stack else (pod.ip,)


def judge(mesh: ObservedMesh, probes: Probes = Probes()) -> Outcome:
    """Judge the underlay. Networks of an existing mesh may be kept apart by istiod alone, which
    works; those of a lab must be apart, or else nothing shows that requests need the gateways.
    Pods of an existing mesh may be out of reach at addresses of their other family: proxies go over
    to the primary one.
    """
    view, same_network = mesh.view, mesh.scenario.same_network
    tried = mesh.once(Tries(probes))
    servers, found = tried.servers, tried.connections
    figures = {
        f"{client}.to.{server}{_other_family(servers[server], address)}": seen.reach.value
        for (client, server, address), seen in found.items()
    }
    findings, notes = [], []
    for (client, server, address), seen in found.items():
        near = same_network(client, server)
        if near and not seen.is_open and view.lab.external and address != servers[server].ip:
            notes.append(
                f"pods of {client} do not reach those of {server} at {address}, of their other "
                f"family: {seen}"
            )
            continue
        if client == server and not seen.is_open:
            trouble = ProbeError(
                wanted=f"{servers[server].meta} to be reachable within its own cluster",
                seen=str(seen),
                where=server,
            )
            return Outcome.inconclusive(trouble, figures)
        if near != seen.is_open:
            if seen.is_open and seen.address in _used_by(mesh, client, probes):
                notes.append(
                    f"{seen.address}, an address of HelloWorld in {server}, is one of a pod on "
                    f"{client}'s network, too, which answered: whether pods of {server} are out "
                    "of reach, it does not tell"
                )
                continue
            if seen.is_open and view.lab.external:
                notes.append(
                    f"pods of {client} reach those of {server} past its gateways, too, though "
                    "they are on different networks"
                )
                continue
            can = "reachable" if near else "out of reach"
            expected = f"pod {servers[server].meta} of {server} to be {can} for pods"
            about = Subject((server,), addresses=(seen.address,))
            findings.append(Finding(client, expected, f"{seen} {seen.message}", seen.source, about))
    return Outcome.judged(findings, figures, notes)


def _used_by(mesh: ObservedMesh, client: str, probes: Probes) -> frozenset[str]:
    """Addresses of pods on a client's own network, which it reaches in place of those that have the
    same ones on other networks.
    """
    near = [each for each in mesh.view.data_planes if mesh.scenario.same_network(each, client)]
    return frozenset().union(*mesh.view.each(probes.addresses, near).values())


def _other_family(pod: Pod, address: str) -> str:
    """What tells an address from the pod's primary one; nothing for that one."""
    return "" if address == pod.ip else ".other_family"


REQUIREMENT = Requirement(
    id="NETWORK-1",
    level="extended",
    title="Pods reach each other directly within a network, but not across networks.",
    judge=judge,
    section="Deployment models: Network models",
    url="https://istio.io/latest/docs/ops/deployment/deployment-models/#network-models",
    needs="sample",
    rests_on=("WORKLOAD-1",),
    ahead=Tries(Probes()),
)
