"""AUTHZ-1: whom HelloWorld answers where authorization policies name its clients.

Policies are made for a while that hold for requests with a header which nobody else sends: all
other requests are as before, even where a run is killed and such a policy stays behind. An istiod
reads the policies of its own cluster, for the proxies of its remotes too. Connections keep what
held when they were opened, so that requests are sent to a separate service of HelloWorld whose
connections serve one request each.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Final

from mesh_fixtures.errors import ProbeError
from mesh_fixtures.kube import KubeClient, KubeEditor, Pod
from mesh_fixtures.kube.objects import Json
from mesh_fixtures.kube.resources import AUTHORIZATION_POLICIES, PODS
from mesh_fixtures.parallel import parallel_map
from mesh_fixtures.patience import patient, whole
from mesh_fixtures.probe.authorization import Enforced, Results, enforced, marked_requests
from mesh_fixtures.probe.envoy import PROXY
from mesh_fixtures.probe.identities import Identity, TrustDomains, identity, trust_domains
from mesh_fixtures.probe.traffic import Answer, Failure, helloworld_url
from mesh_fixtures.probe.view import MeshView
from mesh_fixtures.probe.workloads import HELLOWORLD, SLEEP
from mesh_fixtures.requirements.observed import ObservedMesh
from mesh_fixtures.requirements.requirement import Figure, Outcome, Requirement
from mesh_fixtures.requirements.second_service import fresh_connections
from mesh_fixtures.verdict.authorization import (
    OWN,
    Asked,
    Restriction,
    judged,
    policies,
    restrictions,
    without,
)
from mesh_fixtures.verdict.client_endpoints import ClientEndpoints, client_endpoints
from mesh_fixtures.verdict.convergence import Settled, settle
from mesh_fixtures.verdict.findings import Finding, Subject
from mesh_fixtures.verdict.statistics import rounds_to_see_all

SERVICE: Final = "helloworld-authz"

REQUESTS: Final = 8
"""From each cluster by each policy at a time; more where there are many clusters: one that denies
nobody must not be left out by chance."""

DENYING: Final = 5
"""Policies that deny a client."""

ROUNDS: Final = 6
"""How often that many are sent at most, until each cluster that must answer has; more often where
there are many."""

REQUEST_SECONDS: Final = 3.0
BUDGET_SECONDS: Final = 10
"""After which no requests by another policy are begun in a round."""

SETTLING_SECONDS: Final = 15.0
"""For policies to reach the servers' proxies or to leave them, and for the service to be known."""

_INTERVAL: Final = 0.2


@contextmanager
def applied(view: MeshView, items: Sequence[Json]) -> Iterator[None]:
    """Policies that every istiod reads while the block runs. In an existing mesh they are deleted
    with the run's namespace.

    Raises:
        ProbeError: an API server cannot be asked or refuses.
    """
    clusters = view.scenario.config_clusters
    names = [str(each["metadata"]["name"]) for each in items]
    try:
        parallel_map(lambda cluster: _create(view, cluster, items), clusters)
        yield
    finally:
        if not view.lab.external:
            parallel_map(lambda cluster: _delete(view, cluster, names), clusters)


def _create(view: MeshView, cluster: str, items: Sequence[Json]) -> None:
    kube, namespace = view.kube[cluster], view.kube[cluster].sample_namespace
    if not view.lab.external:  # a killed run may have left some
        present = kube.list(AUTHORIZATION_POLICIES, namespace)
        _delete(view, cluster, [each.name for each in present if each.name.startswith(OWN)])
    with KubeEditor(view.lab.clusters[cluster]) as editor:
        for item in items:
            editor.create(item, namespace)


def _delete(view: MeshView, cluster: str, names: Iterable[str]) -> None:
    with KubeEditor(view.lab.clusters[cluster]) as editor:
        for name in names:
            editor.delete(AUTHORIZATION_POLICIES, view.kube[cluster].sample_namespace, name)


@dataclass(frozen=True)
class Probes:
    """How the mesh is observed, and what is made in it for that.

    Attributes:
        settling_seconds: for what is made to reach proxies or to leave them, on an idle machine.
    """

    identity: Callable[[KubeClient, Pod], Identity | None] = identity
    trust_domains: Callable[[KubeClient], TrustDomains | None] = trust_domains
    enforced: Callable[[KubeClient, Pod], Enforced] = enforced
    fresh_connections: Callable[[MeshView, str], AbstractContextManager[None]] = fresh_connections
    applied: Callable[[MeshView, Sequence[Json]], AbstractContextManager[None]] = applied
    client_endpoints: Callable[[MeshView, float, str], Mapping[str, ClientEndpoints]] = (
        client_endpoints
    )
    marked_requests: Callable[..., Results] = marked_requests
    settling_seconds: float = SETTLING_SECONDS


@dataclass(frozen=True)
class IdentifiedClient:
    """A Sleep, and the SPIFFE id that its proxy identifies itself by."""

    pod: Pod
    spiffe_id: str


Held = Mapping[tuple[str, str], Enforced]
"""What proxies of servers enforce, by cluster and pod."""


def judge(mesh: ObservedMesh, probes: Probes = Probes()) -> Outcome:
    view = mesh.view
    pods = view.each(_servers)
    if bare := [*_bare(pods)]:
        return Outcome.judged(bare)
    trial = _Trial(view, probes, pods, view.each(lambda kube: _client(probes, kube)))
    broad = trial.allowing_otherwise()
    made = policies(trial.tried, trial.token, by_allowing=not broad)
    wanted = trial.names(made)
    with probes.fresh_connections(view, SERVICE):
        with probes.applied(view, made):
            probes.client_endpoints(view, patient(probes.settling_seconds), SERVICE)
            begun = trial.settled(lambda held: not [*without(held, wanted)])
            asked = trial.ask()
        findings = [*without(begun.value, wanted), *judged(asked, [*view.data_planes])]
        figures = _figures(asked, begun.seconds)
        if not findings and not view.lab.external:
            after = trial.afterwards()
            findings += after.findings
            figures |= after.figures
    unseen = None if findings else _unseen(asked)
    if unseen is not None:
        return Outcome.inconclusive(unseen, figures)
    return Outcome.judged(findings, figures, [_only_denied(broad)] if broad else ())


def _servers(kube: KubeClient) -> tuple[Pod, ...]:
    pods = kube.list(PODS, kube.sample_namespace, HELLOWORLD)
    return tuple(each for each in pods if each.serving)


def _bare(pods: Mapping[str, Sequence[Pod]]) -> Iterator[Finding]:
    for cluster, those in pods.items():
        for pod in those:
            if pod.container(PROXY) is None:
                expected = f"{pod.meta} to have a proxy that enforces policies"
                yield Finding(cluster, expected, "no proxy", about=Subject((cluster,)))


def _client(probes: Probes, kube: KubeClient) -> IdentifiedClient:
    pod = kube.pod_of(kube.sample_namespace, SLEEP)
    seen = probes.identity(kube, pod)
    if seen is None or len(seen.spiffe_ids) != 1:
        raise ProbeError(
            wanted=f"the SPIFFE id of {pod.meta}",
            seen=", ".join(seen.spiffe_ids) or "none" if seen else "no certificate",
            where=kube.name,
            remedy="see TRUST-2 first",
        )
    return IdentifiedClient(pod, seen.spiffe_ids[0])


class _Trial:
    """Requests of all clients that policies of one run hold for."""

    def __init__(
        self,
        view: MeshView,
        probes: Probes,
        servers: Mapping[str, Sequence[Pod]],
        clients: Mapping[str, IdentifiedClient],
    ) -> None:
        scenario = view.scenario
        self._view, self._probes = view, probes
        self._servers = {
            (cluster, pod.name): pod for cluster, those in servers.items() for pod in those
        }
        self._clients = clients
        domains = view.each(probes.trust_domains, [each.name for each in scenario.primaries])
        self._names = {
            cluster: known.names if (known := domains[scenario.control_plane_of(cluster)]) else ()
            for cluster in servers
        }
        self.token = secrets.token_hex(4)
        ids = [each.spiffe_id for each in clients.values()]
        self._namespace = next(iter(view.kube.values())).sample_namespace
        self._requests_by_policy = rounds_to_see_all(len(clients), DENYING, REQUESTS)
        self.tried = restrictions(ids, self._namespace, self.token)

    def held(self) -> Held:
        """What the proxies of all servers enforce."""
        return parallel_map(
            lambda at: self._probes.enforced(self._view.kube[at[0]], self._servers[at]),
            self._servers,
        )

    def allowing_otherwise(self) -> Sequence[str]:
        """Policies that allow requests to HelloWorld already, besides those of a killed run that
        are about to be deleted.
        """
        names = {name for each in self.held().values() for name in each.allowing}
        left = f"{self._namespace}/{OWN}"
        external = self._view.lab.external
        return sorted(name for name in names if external or not name.startswith(left))

    def names(self, made: Sequence[Json]) -> frozenset[str]:
        """Of policies, as `Enforced` has them."""
        return frozenset(f"{self._namespace}/{each['metadata']['name']}" for each in made)

    def settled(self, accept: Callable[[Held], bool]) -> Settled[Held]:
        """What they enforce once it is as it must be, or was waited for long enough."""
        return settle(
            self.held,
            accept,
            deadline=patient(self._probes.settling_seconds),
            interval=_INTERVAL,
        )

    def ask(self) -> Sequence[Asked]:
        """Requests by all policies, until each cluster that must answer has, or some fail."""
        results: dict[tuple[str, Restriction], tuple[Answer | Failure, ...]] = {
            (client, each): () for client in self._clients for each in self.tried
        }
        asked = self._read(results)
        for _ in range(rounds_to_see_all(len(self._clients), REQUESTS, ROUNDS)):
            missing = [each for each in asked if not each.is_seen]
            if not missing:
                break
            for client, found in self._send(missing).items():
                for each in self.tried:
                    results[client, each] += found.get(each.mark, ())
            asked = self._read(results)
        return asked

    def _send(self, missing: Sequence[Asked]) -> Mapping[str, Results]:
        """Requests of the clients and by the policies of which something is missing."""
        by_client: dict[str, list[Restriction]] = {}
        for each in missing:
            by_client.setdefault(each.client, []).append(each.restriction)
        return self._view.each(lambda kube: self._requests(kube, by_client[kube.name]), by_client)

    def _requests(self, kube: KubeClient, tried: Sequence[Restriction]) -> Results:
        return self._probes.marked_requests(
            kube,
            self._clients[kube.name].pod,
            helloworld_url(kube.sample_namespace, SERVICE),
            [each.mark for each in tried],
            self._requests_by_policy,
            request_seconds=patient(REQUEST_SECONDS),
            budget_seconds=whole(BUDGET_SECONDS),
        )

    def _read(
        self, results: Mapping[tuple[str, Restriction], tuple[Answer | Failure, ...]]
    ) -> Sequence[Asked]:
        cluster_of = {pod: cluster for cluster, pod in self._servers}
        return [
            Asked.read(
                client,
                self._clients[client].spiffe_id,
                each,
                self._admitting(client, each),
                found,
                cluster_of,
            )
            for (client, each), found in results.items()
        ]

    def _admitting(self, client: str, restriction: Restriction) -> frozenset[str]:
        """Clusters whose HelloWorld must answer a client."""
        spiffe_id = self._clients[client].spiffe_id
        return frozenset(
            cluster
            for cluster, names in self._names.items()
            if restriction.admits(spiffe_id, names)
        )

    def afterwards(self) -> Outcome:
        """Whether all is as before once the policies are deleted."""
        gone = self.settled(lambda held: not any(self.token in each.text for each in held.values()))
        findings = [
            Finding(
                cluster,
                f"the proxy of {pod} to enforce no AuthorizationPolicy that was deleted",
                str(each),
                each.source,
                Subject((cluster,)),
            )
            for (cluster, pod), each in gone.value.items()
            if self.token in each.text
        ]
        if not findings:
            refusing = [each for each in self.tried if each.effect == "except"]
            sent = self._view.each(lambda kube: self._requests(kube, refusing[:1]))
            findings = [
                Finding(
                    client,
                    "requests to be answered again after the AuthorizationPolicies were deleted",
                    f"{len(failed)} errors: {failed[0]}",
                )
                for client, by_mark in sent.items()
                if (failed := [e for r in by_mark.values() for e in r if isinstance(e, Failure)])
            ]
        return Outcome.judged(findings, {"seconds_to_be_lifted": round(gone.seconds, 3)})


def _figures(asked: Sequence[Asked], seconds: float) -> dict[str, Figure]:
    figures: dict[str, Figure] = {"seconds_to_be_enforced": round(seconds, 3)}
    for client in dict.fromkeys(each.client for each in asked):
        own = [each for each in asked if each.client == client]
        figures[f"{client}.answered"] = sum(sum(each.answered.values()) for each in own)
        figures[f"{client}.refused"] = sum(each.refused for each in own)
    return figures


def _unseen(asked: Sequence[Asked]) -> ProbeError | None:
    """Set where a client was not answered by a cluster that must, and not refused by it either."""
    for each in asked:
        if not each.is_seen:
            return ProbeError(
                wanted=f"requests that HelloWorld in {', '.join(each.silent) or 'any cluster'} "
                f"answers or refuses where {each.restriction}",
                seen=f"none in {each.sent} requests",
                where=each.client,
                remedy="see DISCOVERY-2 and TRAFFIC-1 first",
            )
    return None


def _only_denied(broad: Sequence[str]) -> str:
    return (
        f"AuthorizationPolicy {', '.join(broad)} allows requests to HelloWorld, so that policies "
        "which allow something deny nobody there; only such as deny were verified"
    )


REQUIREMENT = Requirement(
    id="AUTHZ-1",
    level="extended",
    title=(
        "AuthorizationPolicies that name clients of another cluster by principal or namespace "
        "allow or deny exactly these, across networks too."
    ),
    judge=judge,
    section="Security: Authorization policies",
    url="https://istio.io/latest/docs/concepts/security/#authorization-policies",
    needs="sample",
    rests_on=("SECURITY-1",),
    features=("multi-cluster",),
)
