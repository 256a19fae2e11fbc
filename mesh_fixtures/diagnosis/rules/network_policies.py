"""NetworkPolicies, and others of connections, that let nothing through where a mesh needs it.

Whether they are enforced is for the cluster's network to decide: a way that is open refutes them.
Source: Kubernetes, Network Policies (the two sorts of pod isolation; NetworkPolicySpec v1); for
others see `mesh_fixtures.kube.cni_policies` and `mesh_fixtures.kube.network_policy_api`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Final

from mesh_fixtures.diagnosis.cause import Case, Cause, Evidence, Kind, Layer, evidence, get, listed
from mesh_fixtures.diagnosis.facts import (
    GATEWAY,
    ISTIOD_TLS,
    ClusterFacts,
    Configuration,
    Path,
    Pod,
)
from mesh_fixtures.kube.cni_policies import Direction, PodIdentity
from mesh_fixtures.kube.network_policy_api import Peer, decision
from mesh_fixtures.kube.pod_isolation import isolates, may_admit
from mesh_fixtures.scenario import STATUS_PORT
from mesh_fixtures.verdict.findings import Subject
from mesh_fixtures.workloads import PLAIN_CLIENT, PORT

CLOSED: Final = Kind(
    "network-policy-closed",
    Layer.UNDERLAY,
    ("NETWORK-1", "GATEWAY-1", "TRAFFIC-1", "CONTROL-2", "WORKLOAD-1"),
)

OUTSIDE: Final = Peer()
"""What is in no pod of the same cluster."""

_WAYS: Final = ("pod", GATEWAY, "istiod", ISTIOD_TLS)


@dataclass(frozen=True)
class _End:
    """An end of a way, which policies close in a direction.

    Attributes:
        namespace: of its pods.
        policies: names.
    """

    cluster: str
    direction: Direction
    namespace: str
    policies: tuple[str, ...]


def closed(case: Case) -> Iterator[Cause]:
    """Closed ways whose ends are isolated by policies that let through what is wanted of nobody, or
    of none but pods of the same cluster.
    """
    found: dict[_End, list[Path]] = {}
    known: dict[str, Configuration] = {}
    for path in case.facts.paths:
        if path.kind not in _WAYS or not path.is_closed or path.client == path.server:
            continue
        if path.kind == GATEWAY and path.port == STATUS_PORT:
            continue  # nobody but load balancers needs it
        for cluster, direction, pod, policies in _closing(case, path):
            known |= {str(each): each for each in policies}
            end = _End(cluster, direction, pod.namespace, tuple(map(str, policies)))
            found.setdefault(end, []).append(path)
    for end, paths in found.items():
        yield _cause(end, [known[name] for name in end.policies], paths)


def closed_within(case: Case) -> Iterator[Cause]:
    """Ways within a cluster that policies close: from pods that wait to their istiod, and from the
    gateway to HelloWorld, of which requests that were not answered tell.
    """
    for spec, facts in case.clusters:
        samples = facts.pods_in(case.samples, {})
        shut = {
            path: pod
            for path in case.facts.paths_of("istiod", spec.name)
            for pod in facts.pods or ()
            if path.is_closed and pod.ip == path.address
        }
        for path, istiod in shut.items():
            found = _between(facts, samples, [istiod], path.port)
            if found is not None:
                yield _cause_within(
                    spec.name,
                    found,
                    f"istiod at port {path.port}",
                    Evidence(f"from {path.client}: {path}", path.source),
                )
                break
        servers = [pod for pod in samples if pod.labels.get("app") == "helloworld"]
        unanswered = [
            finding
            for finding in case.failures.get("TRAFFIC-1", ())
            if spec.name in finding.about.clusters
            and finding.cluster != spec.name
            and any(
                path.is_open for path in case.facts.paths_of(GATEWAY, finding.cluster, spec.name)
            )
        ]
        found = _between(facts, facts.gateway_pods, servers, PORT) if unanswered else None
        if found is not None:
            seen = Evidence(f"from {unanswered[0].cluster}: {unanswered[0].seen}")
            yield _cause_within(spec.name, found, f"HelloWorld at port {PORT}", seen)


@dataclass(frozen=True)
class _Closed:
    """A way between two pods of a cluster that policies close."""

    client: Pod
    server: Pod
    direction: Direction
    policies: Sequence[Configuration]


def _between(
    facts: ClusterFacts, clients: Sequence[Pod], servers: Sequence[Pod], port: int
) -> _Closed | None:
    """A way from some pods to others that policies close; None where none is."""
    for client, server in product(clients, servers):
        ends: tuple[tuple[Direction, Pod, Pod], ...] = (
            ("Ingress", server, client),
            ("Egress", client, server),
        )
        for direction, pod, other in ends:
            peer = Peer(_identity(facts, other), other.ip)
            if policies := closing(facts, pod, direction, port, peer):
                return _Closed(client, server, direction, policies)
    return None


def _cause_within(cluster: str, closed: _Closed, what: str, seen: Evidence) -> Cause:
    client, direction = closed.client, closed.direction.lower()
    return Cause(
        CLOSED,
        (cluster,),
        f"{listed(closed.policies)} of {cluster} let pods of the namespace {client.namespace} not "
        f"reach {what}",
        evidence(*(_shown(cluster, each, closed.direction) for each in closed.policies), seen),
        f"let it through by {direction}: from {client.namespace}/{client.name} to "
        f"{closed.server.namespace}/{closed.server.name}",
        certainty="likely",
    )


def _cause(end: _End, policies: Sequence[Configuration], paths: Sequence[Path]) -> Cause:
    cluster, incoming = end.cluster, end.direction == "Ingress"
    ports = listed(sorted({path.port for path in paths}))
    others = sorted({path.client if incoming else path.server for path in paths} - {""})
    what = f"in from {listed(others)}" if incoming else f"out to {listed(others, 'others')}"
    kinds = dict.fromkeys(each.kind.partition(".")[0] for each in policies)
    return Cause(
        CLOSED,
        (cluster,),
        f"{listed(end.policies)} of {cluster} let nothing {what} at port {ports}",
        evidence(
            *(_shown(cluster, each, end.direction) for each in policies),
            *(Evidence(f"from {path.client}: {path}", path.source) for path in paths),
        ),
        f"let it {'in' if incoming else 'out'} there by a policy of kind {' or '.join(kinds)} for "
        f"pods of the namespace {end.namespace} with {end.direction.lower()} for port {ports}",
        certainty="likely",
        about=Subject((cluster,) if incoming else (), clients=() if incoming else (cluster,)),
    )


RULES = (closed, closed_within)


def _closing(
    case: Case, path: Path
) -> Iterator[tuple[str, Direction, Pod, Sequence[Configuration]]]:
    """Policies that close a way, by their cluster, their direction, and the pod at that end."""
    client = case.facts.clusters.get(path.client)
    if client is not None:
        for pod in client.pods_in(case.samples, {"app": PLAIN_CLIENT}):
            peer = Peer(address=path.address)
            if policies := closing(client, pod, "Egress", path.port, peer):
                yield path.client, "Egress", pod, policies
                break
    for name, facts in case.facts.clusters.items():
        if name != path.client:
            for pod, port in _ends(facts, path, is_server=name == path.server):
                if policies := closing(facts, pod, "Ingress", port):
                    yield name, "Ingress", pod, policies
                    break


def _ends(facts: ClusterFacts, path: Path, *, is_server: bool) -> Iterator[tuple[Pod, int]]:
    """Pods of a cluster to which a way leads, and the port at which they get what is sent."""
    if path.kind == "pod":
        pods = facts.pods or () if is_server else ()
        yield from ((pod, path.port) for pod in pods if pod.ip == path.address)
        return
    for service in facts.gateway_services:
        port = service.port(path.port)
        if port is not None and path.address in service.external:
            target = int(port.target) if port.target.isdecimal() else path.port
            yield from ((pod, target) for pod in facts.pods_of(service))


def closing(
    facts: ClusterFacts, pod: Pod, direction: Direction, port: int, other: Peer = OUTSIDE
) -> Sequence[Configuration]:
    """The policies by which nothing gets through at a port between a pod and what is at the other
    end: one of administrators that denies it, or those that isolate the pod, where none of them
    lets it through; none where one may.
    """
    who = _identity(facts, pod)
    policies = (*(facts.network_policies or ()), *(facts.cni_policies or ()))
    if before := decision(policies, "Admin", who, direction, other, port):
        return (before.policy,) if before.denies else ()
    isolating = [each for each in policies if isolates(each, who, direction)]
    if not isolating:
        after = decision(policies, "Baseline", who, direction, other, port)
        return (after.policy,) if after is not None and after.denies else ()
    if any(may_admit(each, direction, other, port) for each in isolating):
        return ()
    return isolating


def _identity(facts: ClusterFacts, pod: Pod) -> PodIdentity:
    namespace = facts.namespace(pod.namespace)
    return PodIdentity(pod.namespace, pod.labels, namespace.labels if namespace else {})


def _shown(cluster: str, policy: Configuration, direction: Direction) -> Evidence:
    said = [policy.spec] if "specs" in policy.spec else policy.spec.get(direction.lower())
    what = f"{policy.kind.lower()} {policy.name} -o yaml"
    return Evidence(
        f"{policy}: {direction.lower()} {said or 'nothing'}",
        get(cluster, what, policy.namespace),
    )
