"""SECURITY-1: the identities by which HelloWorld knows its clients."""

from __future__ import annotations

import json
import secrets
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Final

from mesh_fixtures.errors import ProbeError
from mesh_fixtures.install.names import PROXY_CONFIG
from mesh_fixtures.kube import KubeClient, Pod
from mesh_fixtures.kube.resources import PODS
from mesh_fixtures.parallel import parallel_map
from mesh_fixtures.patience import patient, whole
from mesh_fixtures.probe.envoy import PROXY
from mesh_fixtures.probe.identities import TrustDomains, spiffe_id, trust_domains
from mesh_fixtures.probe.peers import (
    DEBUG,
    Peers,
    disclosing,
    log_level,
    logged_peers,
    set_log_level,
)
from mesh_fixtures.probe.traffic import TrafficSample, helloworld_url, requests
from mesh_fixtures.probe.view import MeshView
from mesh_fixtures.probe.workloads import HELLOWORLD, SLEEP
from mesh_fixtures.requirements import second_service
from mesh_fixtures.requirements.observed import ObservedMesh
from mesh_fixtures.requirements.requirement import Figure, Outcome, Requirement
from mesh_fixtures.requirements.second_service import fresh_connections, without_preference
from mesh_fixtures.verdict.client_endpoints import ClientEndpoints, client_endpoints
from mesh_fixtures.verdict.convergence import settle
from mesh_fixtures.verdict.findings import Finding, Subject
from mesh_fixtures.verdict.statistics import rounds_to_see_all
from mesh_fixtures.workloads import SERVICE

REQUESTS: Final = 12
"""From each cluster at a time."""

ROUNDS: Final = 8
"""How often that many are sent at most, until each pod has answered each cluster that it did
before; more often where there are many pods."""

REQUEST_SECONDS: Final = 3.0
BUDGET_SECONDS: Final = 10
"""After which a request counts as failed, and no further ones are begun."""

SETTLING_SECONDS: Final = 10.0
"""For the log of a proxy to reach its API server."""


@dataclass(frozen=True)
class Server:
    """A pod of HelloWorld that has a proxy."""

    cluster: str
    pod: Pod

    @property
    def name(self) -> str:
        return self.pod.name


Answers = Mapping[str, Counter[str]]
"""How many requests were answered, by the client's cluster and the server's pod."""

Known = Mapping[tuple[str, str], Peers]
"""The identities of clients, by the client's cluster and the server's pod."""


@dataclass(frozen=True)
class Probes:
    """How the mesh is observed.

    Attributes:
        settling_seconds: for what was logged to be seen, on an idle machine.
    """

    log_level: Callable[[KubeClient, Pod], str] = log_level
    set_log_level: Callable[[KubeClient, Pod, str], None] = set_log_level
    requests: Callable[..., TrafficSample] = requests
    logged_peers: Callable[[KubeClient, Pod, Iterable[str]], Mapping[str, Peers]] = logged_peers
    trust_domains: Callable[[KubeClient], TrustDomains | None] = trust_domains
    fresh_connections: Callable[[MeshView], AbstractContextManager[None]] = fresh_connections
    client_endpoints: Callable[[MeshView, float, str], Mapping[str, ClientEndpoints]] = (
        client_endpoints
    )
    settling_seconds: float = SETTLING_SECONDS


def judge(mesh: ObservedMesh, probes: Probes = Probes()) -> Outcome:
    view = mesh.view
    pods = view.each(lambda kube: kube.list(PODS, kube.sample_namespace, HELLOWORLD))
    serving = [
        Server(cluster, pod) for cluster, those in pods.items() for pod in those if pod.serving
    ]
    servers = [server for server in serving if server.pod.container(PROXY)]
    if silent := [server for server in servers if disclosing(server.pod)]:
        return Outcome.inconclusive(_undisclosed(silent[0]))
    domains = view.each(probes.trust_domains, [each.name for each in mesh.scenario.primaries])
    wanted = {
        client: _ids(sleep, domains[mesh.scenario.control_plane_of(client)])
        for client, sleep in view.each(
            lambda kube: kube.pod_of(kube.sample_namespace, SLEEP)
        ).items()
    }
    query = f"?identity={secrets.token_hex(4)}"
    with _logging(probes, view, servers), _service(probes, mesh) as service:
        answers = _send(probes, mesh, serving, service, query)
        known = _known(probes, view, servers, answers, query)
    findings = [*_bare(serving), *_judged(servers, wanted, answers, known)]
    unseen = None if findings else _unseen(serving, answers)
    if unseen is not None:
        return Outcome.inconclusive(unseen, _figures(servers, known))
    return Outcome.judged(findings, _figures(servers, known))


def _undisclosed(server: Server) -> ProbeError:
    return ProbeError(
        wanted=f"a proxy of {server.pod.meta} that says who asks, in x-forwarded-client-cert",
        seen="a configuration that has it leave that out (proxyHeaders)",
        where=server.cluster,
        remedy=f"give the run's pods the annotation {PROXY_CONFIG}: "
        f"'{json.dumps(disclosing(server.pod))}' (--mesh-pod-overrides FILE)",
    )


def _ids(sleep: Pod, domains: TrustDomains | None) -> tuple[str, ...]:
    """By which a client may be known; by the one that it was configured with if no istiod tells."""
    return tuple(spiffe_id(sleep, name) for name in (domains.names if domains else ("",)))


@contextmanager
def _logging(probes: Probes, view: MeshView, servers: Sequence[Server]) -> Iterator[None]:
    """The servers' proxies log each request while the block runs."""
    by_name = {server.name: server for server in servers}

    def set_levels(levels: Mapping[str, str]) -> None:
        parallel_map(
            lambda name: probes.set_log_level(
                view.kube[by_name[name].cluster], by_name[name].pod, levels[name]
            ),
            levels,
        )

    before = parallel_map(
        lambda name: probes.log_level(view.kube[by_name[name].cluster], by_name[name].pod), by_name
    )
    try:
        set_levels(dict.fromkeys(by_name, DEBUG))
        yield
    finally:
        set_levels(before)


def _tagged(client: str, query: str) -> str:
    return f"{query}-{client}"


@contextmanager
def _service(probes: Probes, mesh: ObservedMesh) -> Iterator[str]:
    """The service by which every pod of HelloWorld answers each client while the block runs."""
    if any(each.prefers for each in mesh.endpoints.values()):
        with without_preference(mesh.view, probes):
            yield second_service.SERVICE
    else:
        yield SERVICE


def _send(
    probes: Probes, mesh: ObservedMesh, serving: Sequence[Server], service: str, query: str
) -> Answers:
    """Requests until all have answered each client that answered it before, and a pod of each
    cluster has, or until some fail.
    """
    view, before = mesh.view, mesh.traffic
    answers: dict[str, Counter[str]] = {client: Counter() for client in view.data_planes}
    for _ in range(rounds_to_see_all(len(serving), REQUESTS, ROUNDS)):
        samples = view.each(lambda kube: _requests(probes, kube, service, query))
        for client, sample in samples.items():
            answers[client].update(sample.instances)
        all_again = all(
            set(sample.instances) <= set(answers[client]) for client, sample in before.items()
        )
        if any(sample.failures for sample in samples.values()) or (
            all_again and (service == SERVICE or _unseen(serving, answers) is None)
        ):
            break
    return answers


def _requests(probes: Probes, kube: KubeClient, service: str, query: str) -> TrafficSample:
    return probes.requests(
        kube,
        REQUESTS,
        target=helloworld_url(kube.sample_namespace, service) + _tagged(kube.name, query),
        request_seconds=patient(REQUEST_SECONDS),
        budget_seconds=whole(BUDGET_SECONDS),
    )


def _known(
    probes: Probes, view: MeshView, servers: Sequence[Server], answers: Answers, query: str
) -> Known:
    by_name = {server.name: server for server in servers}
    paths = {client: f"/hello{_tagged(client, query)}" for client in answers}

    def logged() -> Known:
        found = parallel_map(
            lambda name: probes.logged_peers(
                view.kube[by_name[name].cluster], by_name[name].pod, paths.values()
            ),
            by_name,
        )
        return {
            (client, name): peers[paths[client]]
            for name, peers in found.items()
            for client in answers
        }

    def missing(known: Known) -> list[str]:
        """Clients of whose requests only some are in the log yet."""
        return [
            f"{len(peers.spiffe_ids)} of {answers[client][server]} from {client} in {server}"
            for (client, server), peers in known.items()
            if 0 < len(peers.spiffe_ids) < answers[client][server]
        ]

    def is_complete(known: Known) -> bool:
        return not missing(known) and all(
            peers.spiffe_ids or not answers[client][server]
            for (client, server), peers in known.items()
        )

    settled = settle(logged, is_complete, deadline=patient(probes.settling_seconds), interval=0.2)
    if missing(settled.value):
        raise ProbeError(
            wanted="each request that HelloWorld answered to be in its proxy's log",
            seen=", ".join(missing(settled.value)),
            where="HelloWorld",
        )
    return settled.value


def _bare(serving: Sequence[Server]) -> Iterator[Finding]:
    for server in serving:
        if server.pod.container(PROXY) is None:
            expected = f"{server.pod.meta} to have a proxy that asks clients for certificates"
            yield Finding(server.cluster, expected, "no proxy", about=Subject((server.cluster,)))


def _judged(
    servers: Sequence[Server], wanted: Mapping[str, tuple[str, ...]], answers: Answers, known: Known
) -> Iterator[Finding]:
    for (client, name), peers in known.items():
        answered = answers[client][name]
        others = Counter(each for each in peers.spiffe_ids if each not in wanted[client])
        if others or (answered and not peers.spiffe_ids):
            server = next(each for each in servers if each.name == name)
            expected = (
                f"{server.pod.meta} to know Sleep of {client} as {' or '.join(wanted[client])}"
            )
            seen = ", ".join(
                f"{each or 'no certificate'} in {count} of {answered} requests"
                for each, count in others.items()
            )
            unnoticed = f"{answered} answers to requests that its proxy has not seen as HTTP"
            about = Subject((server.cluster,), clients=(client,))
            yield Finding(server.cluster, expected, seen or unnoticed, peers.source, about)


def _unseen(serving: Sequence[Server], answers: Answers) -> ProbeError | None:
    """Set where a client was not answered by a pod of each cluster."""
    for client, counts in answers.items():
        for cluster in answers:
            if not any(counts[each.name] for each in serving if each.cluster == cluster):
                return ProbeError(
                    wanted=f"requests that HelloWorld in {cluster} answers",
                    seen=f"none in {sum(counts.values())} answers",
                    where=client,
                    remedy="see DISCOVERY-2 and TRAFFIC-1 first",
                )
    return None


def _figures(servers: Sequence[Server], known: Known) -> dict[str, Figure]:
    cluster_of = {server.name: server.cluster for server in servers}
    figures: Counter[str] = Counter()
    for (client, name), peers in known.items():
        figures[f"{client}.requests_seen_in.{cluster_of[name]}"] += len(peers.spiffe_ids)
    return dict(figures)


REQUIREMENT = Requirement(
    id="SECURITY-1",
    level="extended",
    title=(
        "Each HelloWorld pod identifies the clients in every cluster by their SPIFFE ids: "
        "mutual TLS from end to end, including through gateways."
    ),
    judge=judge,
    section="Security: Istio identity",
    url="https://istio.io/latest/docs/concepts/security/#istio-identity",
    needs="traffic",
    rests_on=("TRAFFIC-1",),
)
