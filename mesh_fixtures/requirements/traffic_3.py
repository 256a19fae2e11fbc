"""TRAFFIC-3: requests to another network pass through its gateways, and no others do.

Gateways count connections, not requests, and proxies reuse connections. So requests are sent here
to a separate service of HelloWorld, whose connections serve one request each: every connection that
a gateway counts is then a request, and one of these.

Pods that count are found by the Services whose addresses istiods advertise. Where an address is of
no Service, as with address translation, a tunnel or a load balancer in front, they are those that
can pass HelloWorld on.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Final

from mesh_fixtures.addresses import with_port
from mesh_fixtures.errors import NotPermitted, ProbeError
from mesh_fixtures.kube import KubeClient, Pod, Source
from mesh_fixtures.kube.resources import PODS
from mesh_fixtures.patience import patient, whole
from mesh_fixtures.probe.envoy import Endpoints, endpoints, helloworld, requests_per_connection
from mesh_fixtures.probe.gateways import Gateway, NetworkGateway, advertised, gateways, routers
from mesh_fixtures.probe.traffic import TrafficSample, helloworld_url, requests
from mesh_fixtures.probe.view import MeshView
from mesh_fixtures.probe.workloads import HELLOWORLD, SLEEP
from mesh_fixtures.requirements.observed import ObservedMesh
from mesh_fixtures.requirements.requirement import Figure, Outcome, Requirement
from mesh_fixtures.requirements.second_service import SERVICE, fresh_connections
from mesh_fixtures.scenario import Scenario
from mesh_fixtures.verdict.client_endpoints import ClientEndpoints, client_endpoints, passing_on
from mesh_fixtures.verdict.convergence import settle
from mesh_fixtures.verdict.expectations import without_gateway
from mesh_fixtures.verdict.findings import Finding, Subject
from mesh_fixtures.verdict.statistics import rounds_to_see_all

REQUESTS: Final = 20
"""From each cluster at a time."""

ROUNDS: Final = 6
"""How often that many are sent at most, until each network has answered each cluster; more often
where there are many clusters."""

REQUEST_SECONDS: Final = 3.0
BUDGET_SECONDS: Final = 10
"""After which a request counts as failed, and no further ones are begun."""

SETTLING_SECONDS: Final = 15.0
"""For the service to be known to clients and gateways."""


@dataclass(frozen=True)
class SentRequests:
    """What became of the requests of one client.

    Attributes:
        answers: how many were answered, by network.
        failures: how many were not.
    """

    answers: Mapping[str, int]
    failures: int


@dataclass(frozen=True)
class PassedConnections:
    """Connections to HelloWorld that the gateways of one cluster opened.

    Attributes:
        source: a gateway that says so; None without any.
    """

    connections: int
    source: Source | None

    def since(self, before: PassedConnections) -> PassedConnections:
        return PassedConnections(self.connections - before.connections, self.source)


@dataclass(frozen=True)
class Passing:
    """Who passes requests on.

    Attributes:
        pods: ready ones of gateways, by cluster.
        unknown: networks that are reached by addresses of no Service, and of which no pod is known
            that passes anything on; with these addresses.
    """

    pods: Mapping[str, tuple[Pod, ...]]
    unknown: Mapping[str, tuple[str, ...]]

    @property
    def notes(self) -> tuple[str, ...]:
        return tuple(
            f"{network} is reached by {', '.join(targets)}, of no Service of its clusters, and no "
            "pod of theirs is known to pass HelloWorld on: what its gateways passed on was not "
            "counted"
            for network, targets in self.unknown.items()
        )


@dataclass(frozen=True)
class Probes:
    """How the mesh is observed."""

    advertised: Callable[[KubeClient], tuple[NetworkGateway, ...]] = advertised
    gateways: Callable[[KubeClient, Collection[str]], tuple[Gateway, ...]] = gateways
    routers: Callable[[KubeClient], tuple[Pod, ...]] = routers
    fresh_connections: Callable[[MeshView], AbstractContextManager[None]] = fresh_connections
    requests_per_connection: Callable[[KubeClient, Pod, str], int | None] = requests_per_connection
    client_endpoints: Callable[[MeshView, float, str], Mapping[str, ClientEndpoints]] = (
        client_endpoints
    )
    requests: Callable[..., TrafficSample] = requests
    endpoints: Callable[[KubeClient, Pod, str], Endpoints] = endpoints


def judge(mesh: ObservedMesh, probes: Probes = Probes()) -> Outcome:
    view, scenario = mesh.view, mesh.scenario
    network_of = _networks(view)
    missing = _missing(
        {
            cluster: _summed(scenario, [sample], network_of)
            for cluster, sample in mesh.traffic.items()
        }
    )
    if missing is not None and not _prefers(mesh):
        return Outcome.inconclusive(missing)
    known = view.each(probes.advertised, [each.name for each in scenario.primaries])
    routed = without_gateway(scenario, known) if view.lab.external else ()
    passing = _passing(view, probes, known.values())
    pods = passing.pods
    with probes.fresh_connections(view):
        _await_service(probes, view, pods)
        before = view.each(lambda kube: _passed(probes, kube, pods[kube.name]))
        sent = _send(probes, view, network_of)
        after = view.each(lambda kube: _passed(probes, kube, pods[kube.name]))
    passed = {
        cluster: after[cluster].since(before[cluster])
        for cluster in after
        if scenario.cluster(cluster).network not in passing.unknown
    }
    findings = [
        finding
        for network in scenario.mesh_networks
        if network.name not in (*routed, *passing.unknown)
        for finding in _judged(scenario, network.name, passed, sent)
    ]
    notes = [f"{network} has no gateway for requests to pass through" for network in routed]
    figures = _figures(scenario, passed, sent)
    missing = None if findings else _missing(sent)
    if missing is not None:
        return Outcome.inconclusive(missing, figures)
    return Outcome.judged(findings, figures, [*notes, *(() if findings else passing.notes)])


def _passing(view: MeshView, probes: Probes, known: Iterable[Sequence[NetworkGateway]]) -> Passing:
    """Pods of gateways: of those that a label makes one, and of those that istiods advertise for
    another reason, such as the mesh configuration's `meshNetworks`.

    Args:
        known: what each istiod advertises.
    """
    scenario = view.scenario
    ways = {each.target: each for those in known for each in those}
    addresses = {each.address for each in ways.values()}
    services = view.each(lambda kube: probes.gateways(kube, addresses))
    serving = {
        cluster: [each for each in those if each.passes_on or not _targets(each).isdisjoint(ways)]
        for cluster, those in services.items()
    }
    own = frozenset().union(
        *(_targets(each) for those in serving.values() for each in those if each.proxied)
    )
    fronts: dict[str, tuple[str, ...]] = {}
    for target in sorted(ways.keys() - own):
        network = ways[target].network
        fronts[network] = (*fronts.get(network, ()), target)
    behind = view.each(
        lambda kube: _able(probes, kube),
        [each.name for each in scenario.data_planes if each.network in fronts],
    )
    pods = {
        cluster: _once((*(pod for each in those for pod in each.serving), *behind.get(cluster, ())))
        for cluster, those in serving.items()
    }
    counted = {scenario.cluster(cluster).network for cluster, those in pods.items() if those}
    uncounted = {each.name for each in scenario.mesh_networks} - counted
    return Passing(
        pods, {network: fronts[network] for network in sorted(uncounted & fronts.keys())}
    )


def _targets(gateway: Gateway) -> frozenset[str]:
    """Where a Service is reached from outside, as `address:port`."""
    return frozenset(
        with_port(address, each.number)
        for address in gateway.addresses
        for each in gateway.service.ports
    )


def _able(probes: Probes, kube: KubeClient) -> tuple[Pod, ...]:
    """Pods of a cluster that can pass HelloWorld on, as far as they may be asked."""

    def is_able(pod: Pod) -> bool:
        try:
            return probes.requests_per_connection(kube, pod, passing_on(kube)) is not None
        except NotPermitted:
            return False

    return tuple(pod for pod in probes.routers(kube) if is_able(pod))


def _once(pods: Iterable[Pod]) -> tuple[Pod, ...]:
    """Each pod once, however many Services it is behind."""
    return tuple({(pod.meta.namespace, pod.name): pod for pod in pods}.values())


def _prefers(mesh: ObservedMesh) -> bool:
    """Whether a client prefers some of HelloWorld, as those of the separate service do not."""
    return any(each.prefers for each in mesh.endpoints.values())


def _await_service(probes: Probes, view: MeshView, gateways: Mapping[str, tuple[Pod, ...]]) -> None:
    """Wait until clients and gateways know the service with its rule, and have endpoints of it.
    Until then they replace what they have of it, and begin to count anew.

    For gateways, a rule of their own namespace that matches any service comes before that of the
    service's; so does one that the root namespace keeps to itself (source: Istio,
    `pilot/pkg/model/push_context.go`, destinationRule). They are known to have nothing to replace
    any more when that has not changed for as long as the rule may take.

    Args:
        gateways: their ready pods, by cluster.

    Raises:
        ProbeError: they do not.
    """
    settled = settle(
        lambda: view.each(lambda kube: _per_connection(probes, kube, gateways[kube.name])),
        lambda known: all({each.client, *each.gateways} == {1} for each in known.values()),
        deadline=patient(SETTLING_SECONDS),
        interval=0.2,
    )
    missing = [
        cluster
        for cluster, each in settled.value.items()
        if each.client != 1 or None in each.gateways
    ]
    if missing:
        raise ProbeError(
            wanted=f"the service {SERVICE} to be known to Sleep's proxy and to gateways",
            seen=f"not all of them know it after {settled.seconds:.0f} s",
            where=", ".join(missing),
            remedy="see CONTROL-2 and DISCOVERY-1 first",
        )
    probes.client_endpoints(view, patient(SETTLING_SECONDS), SERVICE)


@dataclass(frozen=True)
class PerConnection:
    """How many requests of the service a connection serves, by the proxies of a cluster: 1 by the
    service's own rule, 0 for any number, None of proxies that do not know the service.
    """

    client: int | None
    gateways: tuple[int | None, ...]


def _per_connection(probes: Probes, kube: KubeClient, gateways: tuple[Pod, ...]) -> PerConnection:
    sleep = kube.pod_of(kube.sample_namespace, SLEEP)
    return PerConnection(
        probes.requests_per_connection(kube, sleep, helloworld(kube, SERVICE)),
        tuple(
            probes.requests_per_connection(kube, gateway, passing_on(kube, SERVICE))
            for gateway in gateways
        ),
    )


def _passed(probes: Probes, kube: KubeClient, gateways: tuple[Pod, ...]) -> PassedConnections:
    by_sni = passing_on(kube, SERVICE)
    found = [probes.endpoints(kube, gateway, by_sni) for gateway in gateways]
    total = sum(each.connections for held in found for each in held.endpoints)
    return PassedConnections(total, found[0].source if found else None)


def _networks(view: MeshView) -> Mapping[str, str]:
    """The network of each pod of HelloWorld."""
    pods = view.each(lambda kube: kube.list(PODS, kube.sample_namespace, HELLOWORLD))
    return {
        pod.name: view.scenario.cluster(cluster).network
        for cluster, those in pods.items()
        for pod in those
    }


def _send(
    probes: Probes, view: MeshView, network_of: Mapping[str, str]
) -> Mapping[str, SentRequests]:
    """By client, requests until each network has answered it, or until some fail."""
    samples: dict[str, list[TrafficSample]] = {cluster: [] for cluster in view.data_planes}
    sent: dict[str, SentRequests] = {}
    for _ in range(rounds_to_see_all(len(view.data_planes), REQUESTS, ROUNDS)):
        for cluster, sample in view.each(lambda kube: _requests(probes, kube)).items():
            samples[cluster].append(sample)
        sent = {
            cluster: _summed(view.scenario, those, network_of) for cluster, those in samples.items()
        }
        if _missing(sent) is None or any(each.failures for each in sent.values()):
            break
    return sent


def _requests(probes: Probes, kube: KubeClient) -> TrafficSample:
    return probes.requests(
        kube,
        REQUESTS,
        target=helloworld_url(kube.sample_namespace, SERVICE),
        request_seconds=patient(REQUEST_SECONDS),
        budget_seconds=whole(BUDGET_SECONDS),
    )


def _summed(
    scenario: Scenario, samples: Iterable[TrafficSample], network_of: Mapping[str, str]
) -> SentRequests:
    answers = {network.name: 0 for network in scenario.mesh_networks}
    failures = 0
    for sample in samples:
        failures += len(sample.failures)
        for instance, count in sample.instances.items():
            network = network_of.get(instance)
            if network is None:
                raise ProbeError(
                    wanted="answers of pods that are known",
                    seen=f"{count} of {instance}",
                    where=sample.cluster,
                )
            answers[network] += count
    return SentRequests(answers, failures)


def _crossing(
    scenario: Scenario, network: str, sent: Mapping[str, SentRequests]
) -> tuple[int, int]:
    """How many requests from other networks a network answered, and how many of those that may have
    gone there failed.
    """
    away = [each for client, each in sent.items() if scenario.cluster(client).network != network]
    return sum(each.answers[network] for each in away), sum(each.failures for each in away)


def _judged(
    scenario: Scenario,
    network: str,
    passed: Mapping[str, PassedConnections],
    sent: Mapping[str, SentRequests],
) -> Iterator[Finding]:
    answered, failed = _crossing(scenario, network, sent)
    here = [cluster.name for cluster in scenario.data_planes if cluster.network == network]
    counted = sum(passed[cluster].connections for cluster in here)
    if not answered <= counted <= answered + failed:
        expected = (
            f"the gateways of {network} to pass on {answered} requests, as many as it answered "
            "clients on other networks"
        )
        if failed:
            expected += f", and at most {failed} that failed"
        seen = ", ".join(f"{passed[cluster].connections} in {cluster}" for cluster in here)
        source = next((passed[cluster].source for cluster in here if passed[cluster].source), None)
        away = tuple(cluster.name for cluster in scenario.data_planes if cluster.name not in here)
        yield Finding(here[0], expected, seen, source, Subject(tuple(here), clients=away))


def _missing(sent: Mapping[str, SentRequests]) -> ProbeError | None:
    """Set where a client got no answer from a network, so that there was nothing to count."""
    for client, each in sent.items():
        for network, answers in each.answers.items():
            if not answers:
                return ProbeError(
                    wanted=f"requests that {network} answers, to be counted",
                    seen=f"none; {each.failures} requests failed",
                    where=client,
                    remedy="see DISCOVERY-2 and TRAFFIC-1 first",
                )
    return None


def _figures(
    scenario: Scenario, passed: Mapping[str, PassedConnections], sent: Mapping[str, SentRequests]
) -> dict[str, Figure]:
    figures: dict[str, Figure] = {}
    for network in scenario.mesh_networks:
        answered, _ = _crossing(scenario, network.name, sent)
        figures[f"{network.name}.requests_from_other_networks"] = answered
    for cluster, each in passed.items():
        figures[f"{cluster}.connections_through_gateway"] = each.connections
    return figures


REQUIREMENT = Requirement(
    id="TRAFFIC-3",
    level="extended",
    title=(
        "Requests to another network pass through its gateways, which count as many "
        "connections; requests within a network do not."
    ),
    judge=judge,
    section="Deployment models: Multiple networks",
    url="https://istio.io/latest/docs/ops/deployment/deployment-models/#multiple-networks",
    needs="traffic",
    rests_on=("TRAFFIC-1",),
    features=("multi-network",),
)
