"""LOCALITY-1: clients prefer their own region, and go over to another where it fails.

HelloWorld has services for this that state the preference, so that what others ask for stays as it
is. What they state counts, whatever the mesh's default or rules of other namespaces say. With a
connection for each request, gateways choose for each request, too.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from mesh_fixtures.errors import ProbeError
from mesh_fixtures.kube.objects import REGION_LABEL
from mesh_fixtures.kube.resources import DEPLOYMENTS, SIDECARS
from mesh_fixtures.patience import patient, whole
from mesh_fixtures.probe.continuous import ContinuousTraffic, Stream, TimedRequest
from mesh_fixtures.probe.traffic import TrafficSample, helloworld_url, requests
from mesh_fixtures.probe.workloads import HELLOWORLD
from mesh_fixtures.requirements.disruption import Disruption
from mesh_fixtures.requirements.observed import ObservedMesh
from mesh_fixtures.requirements.regions import (
    UNKNOWN,
    URL,
    listed,
    regions_of_clients,
    regions_of_pods,
)
from mesh_fixtures.requirements.requirement import Figure, Outcome, Requirement
from mesh_fixtures.requirements.resilience_traffic import (
    CONVERGENCE_SECONDS,
    SLOWEST_SECONDS,
    WAITING_SECONDS,
    begin,
    combined,
    figures,
    judged,
    judged_while,
    now,
    overdue,
    watch,
)
from mesh_fixtures.requirements.second_service import second_service
from mesh_fixtures.scenario import ClusterSpec, Scenario
from mesh_fixtures.verdict.client_endpoints import client_endpoints
from mesh_fixtures.verdict.continuity import CLEAN_REQUESTS, aftermath
from mesh_fixtures.verdict.convergence import settle
from mesh_fixtures.verdict.findings import Finding, Subject
from mesh_fixtures.workloads import FRESH_CONNECTIONS, PORT, READY_SECONDS

_OUTLIERS: Final[Mapping[str, Any]] = {
    "outlierDetection": {
        "consecutive5xxErrors": 2,
        "interval": "1s",
        "baseEjectionTime": "5s",
        "maxEjectionPercent": 100,
    },
}
"""Without outlier detection, a rule's setting makes no failover. Two errors in a row, as a single
one is nobody's fault on a slow machine (source: Istio, Locality Load Balancing, Locality failover;
DestinationRule, OutlierDetection)."""


@dataclass(frozen=True)
class Way:
    """How a preference is stated.

    Attributes:
        service: of HelloWorld, that has it.
        how: in words.
        policy: of its rule.
        distribution: `trafficDistribution` of the Service; empty for none.
    """

    service: str
    how: str
    policy: Mapping[str, Any]
    distribution: str = ""

    def __str__(self) -> str:
        return f"{self.service}, which has {self.how},"


def _setting(**more: Any) -> Mapping[str, Any]:
    balancer = {"localityLbSetting": {"enabled": True, **more}}
    return {**FRESH_CONNECTIONS, **_OUTLIERS, "loadBalancer": balancer}


USUAL: Final = Way("helloworld-local", "localityLbSetting", _setting())
"""As Istio's task has it."""

OTHERS: Final = (
    Way("helloworld-priority", "failoverPriority", _setting(failoverPriority=[REGION_LABEL])),
    Way("helloworld-close", "trafficDistribution", FRESH_CONNECTIONS, "PreferClose"),
)
"""Source: Istio, DestinationRule, LocalityLoadBalancerSetting (failoverPriority); Kubernetes,
Service, Traffic distribution, which Istio's proxies follow as well."""

OTHER_REQUESTS: Final = 40
"""Of each client by each of these: of two servers without a preference, both answer some."""

SETTLING_SECONDS: Final = 15.0
"""For the service to be known to clients and gateways."""

RETURN_SECONDS: Final = 30.0
"""From the end of its errors until clients use a HelloWorld again: the time for which they had
given it up, 5 s for each time in a row, and what a change of configuration takes."""

ERRORED_SECONDS: Final = WAITING_SECONDS
"""Error budget of clients whose own region fails: so many errored seconds until they have gone over
to another, as one request may wait in vain. Other clients' budget is no error at all."""

NOWHERE: Final = "127.0.0.1:9"
"""The discard service, which no pod has."""

_INTERVAL: Final = 0.25
_LEAST_PER_SECOND: Final = 10
"""Requests that a client sends at least."""

_MOST_SECONDS: Final = int(
    5 * SLOWEST_SECONDS + 5 * CONVERGENCE_SECONDS + READY_SECONDS + RETURN_SECONDS + 60
)
"""Until clients stop by themselves: all that is waited for, one after the other."""


def judge(mesh: ObservedMesh) -> Outcome:
    def parts(disruption: Disruption) -> Iterator[Outcome]:
        yield _at_home(mesh)
        yield _by_other_ways(mesh, "")
        for region in dict.fromkeys(mesh.scenario.regions):
            yield _without(mesh, disruption, region)
            yield _failing(mesh, disruption, region)

    with ExitStack() as services:
        for way in (USUAL, *OTHERS):
            made = second_service(mesh.view, way.service, way.policy, way.distribution)
            services.enter_context(made)
        for way in (USUAL, *OTHERS):
            client_endpoints(mesh.view, patient(SETTLING_SECONDS), way.service)
        return judged_while(mesh, "regions", parts)


# Local first -------------------------------------------------------------------------------------


def _at_home(mesh: ObservedMesh) -> Outcome:
    """Whether all requests are answered in their client's region while all is well."""
    homes, regions = regions_of_clients(mesh.scenario), regions_of_pods(mesh)
    enough = mesh.requests
    most = patient(SLOWEST_SECONDS + enough / _LEAST_PER_SECOND)
    with _traffic(mesh) as traffic:
        begun = now()
        for home in dict.fromkeys(homes.values()):
            clients = {name for name, region in homes.items() if region == home}
            watch(traffic, begun, patient(CONVERGENCE_SECONDS), _not_by({home}, regions), clients)
        settled = now()
        settle(
            lambda: [aftermath(each, settled).sent for each in traffic.so_far().values()],
            lambda sent: min(sent) >= enough,
            deadline=most,
            interval=_INTERVAL,
        )
        streams = traffic.stop()
    return at_home(homes, regions, streams, settled)


def at_home(
    homes: Mapping[str, str],
    regions: Mapping[str, str],
    streams: Mapping[str, Stream],
    settled: float,
) -> Outcome:
    """Judge requests while all is well.

    Args:
        homes: the region of each client.
        regions: the region of each pod of HelloWorld.
        settled: from when on clients prefer their own region.

    Raises:
        ProbeError: too few requests were sent to tell.
    """
    findings: list[Finding] = []
    measured: dict[str, Figure] = {}
    for client, stream in streams.items():
        home = homes[client]
        seen = aftermath(stream.requests, settled, is_bad=_not_by({home}, regions))
        counts = _by_region(seen.requests, regions)
        measured[f"{client}.requests"] = seen.sent
        measured |= {f"{client}.answers_of.{each}": count for each, count in counts.items()}
        if seen.bad:
            expected = f"all answers of HelloWorld in {home}, where the client is, and no error"
            what = f"{listed(counts)} in {seen.sent} requests: {seen}"
            findings.append(Finding(client, expected, what, stream.source, Subject((client,))))
        elif not seen.is_over:
            raise _too_few(client, seen.sent)
    return judged(streams, findings, measured)


def _by_region(requests: Iterable[TimedRequest], regions: Mapping[str, str]) -> Mapping[str, int]:
    answered = [regions.get(each.instance, UNKNOWN) for each in requests if not each.failed]
    return dict(Counter(answered).most_common())


def _not_by(right: set[str], regions: Mapping[str, str]) -> Callable[[TimedRequest], bool]:
    """Whether a request failed, or was answered in another region than these."""
    return lambda request: request.failed or regions.get(request.instance, UNKNOWN) not in right


def _traffic(mesh: ObservedMesh) -> ContinuousTraffic:
    return ContinuousTraffic(mesh.view, seconds=whole(_MOST_SECONDS), service=USUAL.service)


def _by_other_ways(mesh: ObservedMesh, gone: str) -> Outcome:
    """Whether requests are answered in the right region where the preference is stated otherwise.

    Args:
        gone: region whose HelloWorld is away; empty for none.
    """
    homes, regions = regions_of_clients(mesh.scenario), regions_of_pods(mesh)

    def asked(way: Way) -> Outcome:
        samples = mesh.view.each(
            lambda kube: requests(
                kube, OTHER_REQUESTS, target=helloworld_url(kube.sample_namespace, way.service)
            )
        )
        return by_other_way(way, gone, homes, regions, samples)

    return combined(
        settle(
            partial(asked, way),
            lambda outcome: not outcome.findings,
            deadline=patient(CONVERGENCE_SECONDS),
            interval=_INTERVAL,
        ).value
        for way in OTHERS
    )


def by_other_way(
    way: Way,
    gone: str,
    homes: Mapping[str, str],
    regions: Mapping[str, str],
    samples: Mapping[str, TrafficSample],
) -> Outcome:
    """Judge requests to a service that states the preference in another way.

    Args:
        gone: region whose HelloWorld is away; empty for none.
        homes: the region of each client.
        regions: the region of each pod of HelloWorld.

    Raises:
        ProbeError: too few requests were sent to tell.
    """
    findings: list[Finding] = []
    for client, sample in samples.items():
        home = homes[client]
        right = {home} if home != gone else set(homes.values()) - {gone}
        counts = Counter(regions.get(each.instance, UNKNOWN) for each in sample.answers)
        if sample.failures or not set(counts) <= right:
            away = f" while that of {gone} is away" if gone else ""
            expected = f"all answers of {way} in {' or '.join(sorted(right))}, and no error{away}"
            errors = [f"{len(sample.failures)} errors: {each}" for each in sample.failures[:1]]
            seen = ", ".join([listed(counts), *errors])
            findings.append(Finding(client, expected, seen, sample.source, Subject((client,))))
        elif sample.sent < CLEAN_REQUESTS:
            raise _too_few(client, sample.sent)
    return Outcome.judged(findings)


def _too_few(client: str, sent: int) -> ProbeError:
    return ProbeError(
        wanted=f"{CLEAN_REQUESTS} requests, to tell where they are answered",
        seen=str(sent),
        where=client,
        remedy="use a less busy machine",
    )


# Failover ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Failover:
    """Requests while HelloWorld of a region was down, and when it was there again.

    Attributes:
        what: was done to it, as in "HelloWorld of region1 ...".
        name: of that, in figures.
        homes: the region of each client.
        regions: the region of each pod of HelloWorld.
        down: when it was done.
        up: when it was undone.
        usable: when the region had a ready HelloWorld again; None when it had none in time.
        return_seconds: from then on until clients must use it again, on this machine.
    """

    region: str
    what: str
    name: str
    homes: Mapping[str, str]
    regions: Mapping[str, str]
    streams: Mapping[str, Stream]
    down: float
    up: float
    usable: float | None
    return_seconds: float

    def judged(self) -> Outcome:
        """Judge the requests.

        Raises:
            ProbeError: too few requests were sent to tell.
        """
        findings: list[Finding] = []
        measured: dict[str, Figure] = {}
        if self.usable is None:
            clusters = tuple(name for name, home in self.homes.items() if home == self.region)
            expected = f"HelloWorld of {self.region} to be ready again within "
            expected += f"{patient(READY_SECONDS):g} s"
            findings.append(Finding(clusters[0], expected, "none", about=Subject(clusters)))
        for client, stream in self.streams.items():
            found, figures_of = (
                self._failed_over(stream)
                if self.homes[client] == self.region
                else self._undisturbed(stream)
            )
            findings += found
            measured |= figures_of
        return judged(self.streams, findings, measured)

    def _failed_over(self, stream: Stream) -> tuple[list[Finding], dict[str, Figure]]:
        """What became of a client in the region."""
        name = f"{self.region}.{self.name}"
        findings: list[Finding] = []
        others = set(self.homes.values()) - {self.region}
        away = aftermath(stream.requests, self.down, self.up, is_bad=_not_by(others, self.regions))
        measured = figures(f"{name}.{stream.cluster}", away)
        convergence = patient(CONVERGENCE_SECONDS)
        expected = (
            f"all answers of another region, {convergence:g} s after {self.what} at the latest"
        )
        findings += overdue(stream, away, convergence, expected)
        failures = aftermath(stream.requests, self.down)
        budget = whole(ERRORED_SECONDS)
        measured[f"{name}.{stream.cluster}.errored_seconds"] = failures.errored_seconds
        measured[f"{name}.{stream.cluster}.errored_seconds_allowed"] = budget
        if failures.errored_seconds > budget:
            expected = f"at most {budget} errored seconds after {self.what}"
            seen = f"{failures.errored_seconds}: {failures}"
            findings.append(Finding(stream.cluster, expected, seen, stream.source))
        if self.usable is not None:
            back = aftermath(
                stream.requests, self.usable, is_bad=_not_by({self.region}, self.regions)
            )
            measured |= figures(f"{name}.back.{stream.cluster}", back)
            seconds = self.return_seconds
            expected = (
                f"all answers of {self.region} again, {seconds:g} s after its HelloWorld is well "
                "again at the latest"
            )
            findings += overdue(stream, back, seconds, expected)
        return findings, measured

    def _undisturbed(self, stream: Stream) -> tuple[list[Finding], dict[str, Figure]]:
        """What became of a client in another region."""
        home = self.homes[stream.cluster]
        seen = aftermath(stream.requests, self.down, is_bad=_not_by({home}, self.regions))
        measured = figures(f"{self.region}.{self.name}.{stream.cluster}", seen)
        if not seen.bad:
            return [], measured
        expected = f"all answers of {home} and no error, although {self.what}"
        return [Finding(stream.cluster, expected, str(seen), stream.source)], measured


def _without(mesh: ObservedMesh, disruption: Disruption, region: str) -> Outcome:
    """Take HelloWorld of a region away, and bring it back."""
    clusters = [each.name for each in mesh.scenario.clusters_in(region)]
    regions = regions_of_pods(mesh)
    gone = frozenset(regions)
    convergence = patient(CONVERGENCE_SECONDS)
    with _traffic(mesh) as traffic:
        begin(traffic)

        down = now()
        for cluster in clusters:
            kube = mesh.view.kube[cluster]
            for each in kube.list(DEPLOYMENTS, kube.sample_namespace, HELLOWORLD):
                disruption.scale(cluster, each, 0)
        _await_others(mesh, traffic, region, regions, down)
        by_others = _by_other_ways(mesh, region)

        up = now()
        disruption.scale_back()
        usable = _await_first_answer(traffic, gone)
        regions |= regions_of_pods(mesh)
        if usable is not None:
            _await_return(mesh, traffic, region, regions, usable, convergence)
        streams = traffic.stop()
    usual = Failover(
        region,
        f"HelloWorld of {region} went away",
        "away",
        regions_of_clients(mesh.scenario),
        regions,
        streams,
        down,
        up,
        usable,
        convergence,
    )
    return combined([usual.judged(), by_others])


def _failing(mesh: ObservedMesh, disruption: Disruption, region: str) -> Outcome:
    """Let HelloWorld of a region answer each request with an error for a while, although its pods
    are ready.
    """
    scenario = mesh.scenario
    chosen = [nowhere(scenario, cluster) for cluster in scenario.clusters_in(region)]
    if not all(chosen):
        note = (
            f"HelloWorld of {region} cannot be made to fail alone: clusters of other regions that "
            "share its istiod run the same version"
        )
        return Outcome.judged((), {}, [note])
    regions = regions_of_pods(mesh)
    with _traffic(mesh) as traffic:
        begin(traffic)

        down = now()
        undoing = [
            _apply(mesh, disruption, _config_cluster(scenario, cluster.name), sidecar)
            for cluster, sidecar in zip(scenario.clusters_in(region), chosen, strict=True)
            if sidecar is not None
        ]
        _await_others(mesh, traffic, region, regions, down)

        up = now()
        for undo in undoing:
            undo()
        _await_return(mesh, traffic, region, regions, up, patient(RETURN_SECONDS))
        streams = traffic.stop()
    return Failover(
        region,
        f"HelloWorld of {region} began to fail",
        "failing",
        regions_of_clients(scenario),
        regions,
        streams,
        down,
        up,
        up,
        patient(RETURN_SECONDS),
    ).judged()


def _config_cluster(scenario: Scenario, cluster: str) -> str:
    """Where a cluster's istiod takes configuration from."""
    return scenario.config_cluster_of(scenario.control_plane_of(cluster))


def nowhere(scenario: Scenario, cluster: ClusterSpec) -> Mapping[str, Any] | None:
    """A Sidecar by which the proxies of a cluster's HelloWorld pass requests on to nobody; None
    where it would concern another region's, too (source: Istio, Sidecar, IstioIngressListener).
    """
    control_plane = scenario.control_plane_of(cluster.name)
    for other in scenario.data_planes:
        if (
            other.region != cluster.region
            and other.helloworld == cluster.helloworld
            and scenario.control_plane_of(other.name) == control_plane
        ):
            return None
    labels = {"app": "helloworld", "version": cluster.helloworld}
    port = {"number": PORT, "protocol": "HTTP", "name": "http"}
    return {
        "apiVersion": SIDECARS.api,
        "kind": SIDECARS.kind,
        "metadata": {"name": f"{USUAL.service}-{cluster.helloworld}"},
        "spec": {
            "workloadSelector": {"labels": labels},
            "ingress": [{"port": port, "defaultEndpoint": NOWHERE}],
        },
    }


def _apply(
    mesh: ObservedMesh, disruption: Disruption, cluster: str, item: Mapping[str, Any]
) -> Callable[[], None]:
    """Create an object; returns what deletes it."""
    editor, name = disruption.editor(cluster), item["metadata"]["name"]
    namespace = mesh.view.kube[cluster].sample_namespace

    def undo() -> None:
        editor.delete(SIDECARS, namespace, name)

    disruption.undo_by(f"delete {SIDECARS.kind} {namespace}/{name} of {cluster}", undo)
    editor.create(item, namespace)
    return undo


def _await_others(
    mesh: ObservedMesh,
    traffic: ContinuousTraffic,
    region: str,
    regions: Mapping[str, str],
    down: float,
) -> None:
    """Return when clients of a region get answers of others alone, or the time is over."""
    others = set(mesh.scenario.regions) - {region}
    seconds = patient(CONVERGENCE_SECONDS + SLOWEST_SECONDS)
    watch(traffic, down, seconds, _not_by(others, regions), _clients_in(mesh, region))


def _await_return(
    mesh: ObservedMesh,
    traffic: ContinuousTraffic,
    region: str,
    regions: Mapping[str, str],
    usable: float,
    return_seconds: float,
) -> None:
    """Return when clients of a region get answers of it alone again, or the time is over."""
    seconds = return_seconds + patient(SLOWEST_SECONDS)
    watch(traffic, usable, seconds, _not_by({region}, regions), _clients_in(mesh, region))


def _clients_in(mesh: ObservedMesh, region: str) -> frozenset[str]:
    return frozenset(each.name for each in mesh.scenario.clusters_in(region))


def _await_first_answer(traffic: ContinuousTraffic, known: frozenset[str]) -> float | None:
    """When a pod that was not known before first answered any client."""
    return settle(
        lambda: min(
            (
                request.ended
                for requests in traffic.so_far().values()
                for request in requests
                if request.instance and request.instance not in known
            ),
            default=None,
        ),
        lambda at: at is not None,
        deadline=patient(READY_SECONDS),
        interval=_INTERVAL,
    ).value


REQUIREMENT = Requirement(
    id="LOCALITY-1",
    level="extended",
    title=(
        "Where a DestinationRule or the Service prefers localities, HelloWorld of a client's own "
        "region gives all answers; while it is away, or fails where that is detected, that of "
        "another region does; then its own again."
    ),
    judge=judge,
    section="Locality Load Balancing: Locality failover",
    url=f"{URL}/failover/",
    needs="sample",
    rests_on=("TRAFFIC-1",),
    features=("locality",),
    seconds=1200,
    disruptive=True,
)
