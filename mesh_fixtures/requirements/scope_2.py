"""SCOPE-2: names that a client knows by DNS proxying only, as far as Istio promises them.

istiod sends the agents beside proxies a table of names. It has:

- each service of any cluster and network, by an address at which the proxy takes the request;
- the host name of each pod that has one, as those of a StatefulSet with a headless service do, of
  all clusters on the client's own network;
- a headless service's name, by its ready pods on the client's network: of all clusters, or of the
  client's only where istiod is told so (`ENABLE_MULTICLUSTER_HEADLESS=false`).

Pods on other networks have no names there, as requests to them would pass by the gateways. Where
only some addresses are redirected into the proxy, those of other clusters' services need not be.
Source: Istio, `pkg/dns/server` (name table), and its issue 38327.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from mesh_fixtures.errors import ProbeError
from mesh_fixtures.kube import KubeClient, Pod
from mesh_fixtures.kube.resources import PODS
from mesh_fixtures.probe.istiod import CONTAINER, istiods
from mesh_fixtures.probe.name_lookups import AskedNames, ask_names
from mesh_fixtures.probe.service_scopes import ServiceScopes, service_scopes
from mesh_fixtures.probe.traffic import Answer, Failure
from mesh_fixtures.probe.variables import is_on
from mesh_fixtures.probe.workloads import HELLOWORLD, SLEEP, STATEFUL, redirections
from mesh_fixtures.requirements.observed import ObservedMesh
from mesh_fixtures.requirements.requirement import Figure, Outcome, Requirement
from mesh_fixtures.verdict.convergence import settle
from mesh_fixtures.verdict.findings import Finding, Subject
from mesh_fixtures.workloads import STATEFUL as HEADLESS
from mesh_fixtures.workloads import host, only_service

SETTLING_SECONDS: Final = 20.0
"""For services to be known to clients, and for pods that were made last to be ready."""

_SWITCH: Final = "ENABLE_MULTICLUSTER_HEADLESS"


def shares_headless(kube: KubeClient) -> bool:
    """Whether a cluster's istiods have the name of a headless service stand for pods of all
    clusters (Istio: pilot-discovery).
    """
    pods = [each.container(CONTAINER) for each in istiods(kube) if each.serving]
    return all(each is None or is_on(each.env, _SWITCH, by_default=True) for each in pods)


def redirected(kube: KubeClient) -> str:
    """The only addresses requests to which Sleep's proxy gets; empty for all."""
    found = redirections(kube.pod_of(kube.sample_namespace, SLEEP))
    ranges = (each.value for each in found if each.name == "includeOutboundIPRanges")
    return ", ".join(each for each in ranges if each != "*")


def pods_of(kube: KubeClient, selector: str) -> tuple[Pod, ...]:
    return kube.list(PODS, kube.sample_namespace, selector)


@dataclass(frozen=True)
class Probes:
    """How the mesh is observed."""

    pods: Callable[[KubeClient, str], tuple[Pod, ...]] = pods_of
    ask: Callable[[KubeClient, Sequence[str]], AskedNames] = ask_names
    scopes: Callable[[KubeClient], tuple[ServiceScopes, ...]] = service_scopes
    shares_headless: Callable[[KubeClient], bool] = shares_headless
    redirected: Callable[[KubeClient], str] = redirected


@dataclass(frozen=True)
class Name:
    """What a client asks for.

    Attributes:
        name: without a port.
        what: it is, in words.
        cluster: that has it.
        pods: of which one answers.
    """

    name: str
    what: str
    cluster: str
    pods: frozenset[str]


@dataclass(frozen=True)
class ExpectedNames:
    """What a client is to know by name.

    Attributes:
        cluster: where it is.
        names: each to be asked for.
        headless: name of the headless service.
        addresses: for which that stands; empty where there are none.
    """

    cluster: str
    names: tuple[Name, ...]
    headless: str
    addresses: frozenset[str]


@dataclass(frozen=True)
class SeenNames:
    """What was to be known by name, and what was got, by cluster of the client.

    Attributes:
        starting: pods of StatefulSets that are not ready, by cluster.
        bare: clusters that have no such pod.
    """

    clients: Mapping[str, ExpectedNames]
    asked: Mapping[str, AskedNames]
    starting: Mapping[str, Sequence[str]]
    bare: tuple[str, ...]

    @property
    def findings(self) -> tuple[Finding, ...]:
        return tuple(
            finding
            for cluster, client in self.clients.items()
            if self.asked[cluster].table is not None
            for finding in judged(client, self.asked[cluster])
        )


@dataclass(frozen=True)
class Promise:
    """What decides on the names of a client in a cluster.

    Attributes:
        istiods: that may configure the client.
        shares_headless: whether a headless service stands for pods of all clusters.
        redirected: the only addresses requests to which its proxy gets; empty for all.
    """

    istiods: Sequence[ServiceScopes]
    shares_headless: bool
    redirected: str

    def keeps(self, kube: KubeClient, service: str) -> bool:
        """Whether a service may have endpoints of the client's cluster only."""
        name = host(kube.sample_namespace, service, kube.names.cluster_domain)
        return any(each.keeps(name) for each in self.istiods)


def judge(mesh: ObservedMesh, probes: Probes = Probes()) -> Outcome:
    external = mesh.view.lab.external
    promises = _promises(mesh, probes)
    settled = settle(
        lambda: _look(mesh, probes, promises),
        lambda seen: not seen.findings and not any(seen.starting.values()),
        deadline=mesh.patient(SETTLING_SECONDS),
        interval=0.5,
    )
    seen = settled.value
    findings, notes = [*seen.findings], [*_left_out(mesh, promises)]
    for cluster, asked in seen.asked.items():
        if asked.table is None and external:
            notes.append(f"{cluster}: DNS proxying is off in Sleep's proxy: nothing is promised")
        elif asked.table is None:
            findings.append(_without_table(cluster, asked))
    if external:
        notes += [f"{each}: no pod of a StatefulSet is there to be asked" for each in seen.bare]
    figures: dict[str, Figure] = {"seconds_to_names": round(settled.seconds, 3)}
    for cluster, client in seen.clients.items():
        figures[f"{cluster}.names"] = len(client.names)
        figures[f"{cluster}.headless_addresses"] = len(client.addresses)
    trouble = None if findings else _trouble(seen, external=external)
    if trouble is not None:
        return Outcome.inconclusive(trouble, figures)
    return Outcome.judged(findings, figures, notes)


def _promises(mesh: ObservedMesh, probes: Probes) -> Mapping[str, Promise]:
    """By cluster of the client."""
    view, scenario = mesh.view, mesh.scenario
    primaries = [each.name for each in scenario.primaries]
    scopes = view.each(probes.scopes, primaries)
    shared = view.each(probes.shares_headless, primaries)
    found = {}
    for cluster, ranges in view.each(probes.redirected).items():
        primary = scenario.control_plane_of(cluster)
        found[cluster] = Promise(scopes[primary], shared[primary], ranges)
    return found


def _look(mesh: ObservedMesh, probes: Probes, promises: Mapping[str, Promise]) -> SeenNames:
    view = mesh.view
    running = view.each(lambda kube: _serving(probes.pods(kube, HELLOWORLD)))
    stateful = view.each(lambda kube: probes.pods(kube, STATEFUL))
    ready = {cluster: _serving(pods) for cluster, pods in stateful.items()}
    clients = {
        cluster: _client(mesh, kube, promises[cluster], running, ready)
        for cluster, kube in view.kube.items()
    }
    asked = view.each(
        lambda kube: probes.ask(kube, [each.name for each in clients[kube.name].names])
    )
    starting = {
        cluster: [pod.name for pod in pods if pod not in ready[cluster]]
        for cluster, pods in stateful.items()
    }
    return SeenNames(
        clients, asked, starting, tuple(each for each in stateful if not stateful[each])
    )


def _serving(pods: Sequence[Pod]) -> tuple[Pod, ...]:
    return tuple(pod for pod in pods if pod.serving)


def _client(
    mesh: ObservedMesh,
    kube: KubeClient,
    promise: Promise,
    running: Mapping[str, Sequence[Pod]],
    ready: Mapping[str, Sequence[Pod]],
) -> ExpectedNames:
    """What a client is to know.

    Args:
        running: pods of HelloWorld that serve, by cluster.
        ready: those with host names.
    """
    scenario, own, namespace = mesh.scenario, kube.name, kube.sample_namespace
    services = {
        each: only_service(scenario.position(each))
        for each in running
        if each != own and not promise.redirected
    }
    names = [
        Name(
            f"{service}.{namespace}", "service", each, frozenset(pod.name for pod in running[each])
        )
        for each, service in services.items()
        if not promise.keeps(kube, service)
    ]
    headless = host(namespace, HEADLESS, kube.names.cluster_domain)
    near = [
        each
        for each in ready
        if each == own or (scenario.same_network(each, own) and not promise.keeps(kube, HEADLESS))
    ]
    names += [
        Name(f"{pod.name}.{headless}", "pod", each, frozenset({pod.name}))
        for each in near
        for pod in ready[each]
    ]
    sharing = near if promise.shares_headless else [own]
    addresses = frozenset(pod.ip for each in sharing for pod in ready[each])
    return ExpectedNames(own, tuple(names), headless, addresses)


def judged(client: ExpectedNames, asked: AskedNames) -> Iterator[Finding]:
    """What a client did not get that it is to know by name."""
    for each in client.names:
        answer = asked.answers[each.name]
        if isinstance(answer, Answer) and answer.instance in each.pods:
            continue
        wanted = " or ".join(sorted(each.pods)) or "a pod that serves"
        yield Finding(
            client.cluster,
            f"the {each.what} {each.name} of {each.cluster} to answer ({wanted})",
            _got(answer, asked, each.name),
            asked.source,
            Subject((each.cluster,)),
        )
    if client.addresses:
        known = (asked.table or {}).get(client.headless, frozenset())
        missing = client.addresses - known
        if missing:
            yield Finding(
                client.cluster,
                f"{client.headless} to stand for {', '.join(sorted(client.addresses))}",
                f"{', '.join(sorted(known)) or 'no address'} in its proxy's table of names",
                asked.source,
            )


def _got(answer: Answer | Failure, asked: AskedNames, name: str) -> str:
    if isinstance(answer, Answer):
        return f"an answer of {answer.instance}"
    known = (asked.table or {}).get(name)
    by = f"by {', '.join(sorted(known))}" if known else "by no address in its proxy's table"
    return f"{str(answer).partition(': ')[2]}, {by}"


def _without_table(cluster: str, asked: AskedNames) -> Finding:
    return Finding(
        cluster,
        "Sleep's proxy to answer DNS queries",
        "no table of names in its agent: DNS proxying is off",
        asked.source,
        Subject((cluster,)),
    )


def _left_out(mesh: ObservedMesh, promises: Mapping[str, Promise]) -> Iterator[str]:
    for cluster, promise in promises.items():
        kube = mesh.view.kube[cluster]
        if promise.keeps(kube, HEADLESS):
            yield (
                f"{cluster}: by the mesh configuration, services of {kube.sample_namespace} are "
                "kept within each cluster: names of other clusters' are not asked for"
            )
        if promise.redirected:
            yield (
                f"{cluster}: of Sleep's requests, its proxy gets those to {promise.redirected} "
                "only: services that only other clusters have are not asked for"
            )


def _trouble(seen: SeenNames, *, external: bool) -> ProbeError | None:
    """Set where something that is to be known by name is not there, or nobody is to know any."""
    absent = {} if external else dict.fromkeys(seen.bare, "no such pod")
    starting = {
        each: f"{', '.join(pods)} not ready" for each, pods in seen.starting.items() if pods
    }
    missing = {**absent, **starting}
    if missing:
        return ProbeError(
            wanted="a ready pod of HelloWorld's StatefulSet",
            seen="; ".join(missing.values()),
            where=", ".join(missing),
            remedy="see WORKLOAD-1 first",
        )
    if all(each.table is None for each in seen.asked.values()):
        return ProbeError(
            wanted="a client whose proxy answers DNS queries",
            seen="none, though the mesh configuration has it so",
            where=", ".join(seen.asked),
            remedy="see whether the run's pods are injected by the istiod that has it so",
        )
    return None


REQUIREMENT = Requirement(
    id="SCOPE-2",
    level="extended",
    title=(
        "With DNS proxying, clients reach a service that only another cluster has, and, on their "
        "network, each pod of StatefulSets in all clusters by its name; a headless service stands "
        "for all of these pods."
    ),
    judge=judge,
    section="DNS Proxying",
    url="https://istio.io/latest/docs/ops/configuration/traffic-management/dns-proxy/",
    needs="sample",
    rests_on=("DISCOVERY-2", "TRAFFIC-1"),
    features=("multi-cluster", "dns-proxying"),
)
