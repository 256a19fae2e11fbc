"""What a client's proxy must know of HelloWorld, and where its requests must go: pure functions of
the scenario and of what runs; and which answers come so late that users take it for an outage, told
from a machine that is slow.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from statistics import median
from typing import Final

from mesh_fixtures.addresses import is_of, with_port
from mesh_fixtures.probe.envoy import Endpoint, Endpoints
from mesh_fixtures.probe.gateways import NetworkGateway
from mesh_fixtures.probe.traffic import Answer
from mesh_fixtures.probe.workloads import Workload
from mesh_fixtures.scenario import Scenario
from mesh_fixtures.workloads import PORT

SLOW_SECONDS: Final = 1.0
"""HelloWorld answers within a hundredth of that; where the first packet of a connection is lost,
the second is sent after that time (source: RFC 6298, initial retransmission timeout)."""


@dataclass(frozen=True)
class Backend:
    """A pod of HelloWorld that serves."""

    cluster: str
    version: str
    pod: str
    address: str


@dataclass(frozen=True)
class Destination:
    """Where a client's proxy can send a request, as far as the proxy itself can tell apart.

    Pods that it reaches directly are told apart; behind another network's gateways are all the pods
    of that network, and only their sum depends on the client.

    Attributes:
        name: unique for a client, e.g. `v1`, or `v2 (network2)` behind gateways.
        instances: pods that answer.
        targets: `address:port` of the endpoints that lead there; empty when there is no gateway.
        cross_network: whether it is on another network than the client.
        further: those that lead there, too, and that not every istiod sends: addresses of a family
            that the client has none of.
    """

    name: str
    versions: frozenset[str]
    instances: frozenset[str]
    targets: frozenset[str]
    cross_network: bool = False
    further: frozenset[str] = frozenset()

    @property
    def all_targets(self) -> frozenset[str]:
        return self.targets | self.further


@dataclass(frozen=True)
class EndpointsVerdict:
    """How a client's endpoints differ from what they must be.

    Attributes:
        missing: targets that are not there, or destinations that have none.
        unexpected: targets that lead nowhere known.
        unhealthy: endpoints that the proxy does not use.
    """

    missing: tuple[str, ...]
    unexpected: tuple[str, ...]
    unhealthy: tuple[Endpoint, ...]

    @property
    def complete(self) -> bool:
        return not (self.missing or self.unexpected or self.unhealthy)

    def __str__(self) -> str:
        differences = {
            "missing": self.missing,
            "unexpected": self.unexpected,
            "not healthy": tuple(map(str, self.unhealthy)),
        }
        parts = [f"{name} {', '.join(values)}" for name, values in differences.items() if values]
        return "; ".join(parts) or "complete"


def backends(workloads: Iterable[Workload]) -> tuple[Backend, ...]:
    """The pods of HelloWorld that serve."""
    return tuple(
        Backend(each.cluster, each.version, each.pod.name, each.pod.ip)
        for each in workloads
        if each.version and each.pod.serving
    )


def gateways_for(
    scenario: Scenario, client: str, advertised: Mapping[str, Sequence[NetworkGateway]]
) -> tuple[NetworkGateway, ...]:
    """The gateways that lead a client in a cluster to other networks, each address once: as its own
    istiod advertises them, and those of clusters of which that one knows none, as others do.

    Where each cluster of a network has a gateway of its own, no client uses those that the mesh
    configuration names for the network (source: Istio, `pilot/pkg/model/network.go`).

    Args:
        client: name of the client's cluster.
        advertised: what the istiods of each primary advertise.
    """
    primary = scenario.control_plane_of(client)
    own = advertised.get(primary, ())
    known = {(each.network, each.cluster) for each in own}
    others = [
        each
        for name, those in advertised.items()
        for each in those
        if name != primary and (each.network, each.cluster) not in known
    ]
    found = {(each.network, each.cluster, each.target): each for each in (*others, *own)}
    having = {each.cluster for each in found.values()}
    lacking = {each.network for each in scenario.data_planes if each.name not in having}
    away = scenario.cluster(client).network
    return tuple(
        each
        for _, each in sorted(found.items())
        if each.network != away and (each.cluster or each.network in lacking)
    )


def without_gateway(
    scenario: Scenario, advertised: Mapping[str, Sequence[NetworkGateway]]
) -> tuple[str, ...]:
    """Networks into which no istiod of the mesh advertises a way, in the scenario's order.

    Args:
        advertised: what the istiods of each primary advertise.
    """
    ways = {each.network for those in advertised.values() for each in those}
    return tuple(each.name for each in scenario.mesh_networks if each.name not in ways)


def within_reach(
    gateways: Sequence[NetworkGateway], families: Collection[int]
) -> tuple[NetworkGateway, ...]:
    """Those that a client needs: all but those of a family that it has no address of, where others
    lead to the same pods.

    Args:
        gateways: of other networks, as `gateways_for`.
        families: versions of IP of the client's own addresses.
    """
    return tuple(
        gateway
        for gateway in gateways
        if gateway
        in _of_families(
            [
                each
                for each in gateways
                if each.network == gateway.network and gateway.cluster in ("", each.cluster)
            ],
            families,
        )
    )


def _of_families(
    chosen: Sequence[NetworkGateway], families: Collection[int]
) -> Sequence[NetworkGateway]:
    """Of the gateways that lead to a pod, those of a client's families; all, where there is none:
    the client gets none then, and what it lacks is to be named.

    Older istiods send all (source: Istio, `pilot/pkg/xds/endpoints/ep_filters.go`,
    filterGatewaysByIPFamily).
    """
    return [each for each in chosen if is_of(each.address, families)] or chosen


def destinations(
    scenario: Scenario,
    client: str,
    pods: Sequence[Backend],
    gateways: Sequence[NetworkGateway],
    families: Collection[int],
    *,
    routed: bool = False,
) -> tuple[Destination, ...]:
    """Where the requests of a client in a cluster go, in the scenario's order.

    A pod on another network is reached through the gateways of its own cluster, or where that has
    none, through any gateway of its network. Source: Istio, Deployment Models (multiple networks).

    Args:
        client: name of the client's cluster.
        gateways: of other networks, as `gateways_for`.
        families: versions of IP of the client's own addresses.
        routed: whether pods of a network without a gateway may be reached directly, as istiod has
            it (source: Istio, `EndpointsByNetworkFilter`).
    """
    found: list[Destination] = []
    own = scenario.cluster(client).network
    ways = {each.network for each in gateways}
    for network in [each.name for each in scenario.mesh_networks]:
        here = [pod for pod in pods if scenario.cluster(pod.cluster).network == network]
        if network == own or (routed and network not in ways):
            found += _direct(here, cross_network=network != own)
        elif here:
            versions = frozenset(pod.version for pod in here)
            chosen = [_chosen(network, pod.cluster, gateways) for pod in here]
            needed = _targets(_of_families(those, families) for those in chosen)
            found.append(
                Destination(
                    name=f"{'+'.join(sorted(versions))} ({network})",
                    versions=versions,
                    instances=frozenset(pod.pod for pod in here),
                    targets=needed,
                    cross_network=True,
                    further=_targets(chosen) - needed,
                )
            )
    return tuple(found)


def _direct(pods: Iterable[Backend], *, cross_network: bool) -> list[Destination]:
    by_version: dict[str, list[Backend]] = {}
    for pod in pods:
        by_version.setdefault(pod.version, []).append(pod)
    return [
        Destination(
            name=version,
            versions=frozenset({version}),
            instances=frozenset(pod.pod for pod in group),
            targets=frozenset(with_port(pod.address, PORT) for pod in group),
            cross_network=cross_network,
        )
        for version, group in by_version.items()
    ]


def _chosen(
    network: str, cluster: str, gateways: Sequence[NetworkGateway]
) -> Sequence[NetworkGateway]:
    """The gateways that lead to a cluster on another network."""
    of_network = [each for each in gateways if each.network == network]
    return [each for each in of_network if each.cluster == cluster] or of_network


def _targets(chosen: Iterable[Iterable[NetworkGateway]]) -> frozenset[str]:
    return frozenset(each.target for those in chosen for each in those)


def judge_endpoints(wanted: Sequence[Destination], seen: Endpoints) -> EndpointsVerdict:
    """Compare a client's endpoints with the destinations that they must lead to, and only to."""
    targets = {target for each in wanted for target in each.targets}
    further = {target for each in wanted for target in each.further} - targets
    present = {each.target for each in seen.endpoints}
    nowhere = [f"a gateway for {each.name}" for each in wanted if not each.targets]
    return EndpointsVerdict(
        missing=(*sorted(targets - present), *nowhere),
        unexpected=tuple(sorted(present - targets - further)),
        unhealthy=tuple(
            each for each in seen.endpoints if not (each.healthy or each.target in further)
        ),
    )


def held_in_reserve(wanted: Sequence[Destination], seen: Endpoints) -> frozenset[str]:
    """Versions of which a client's proxy has healthy endpoints that it uses only where others fail.

    Istio makes priorities where a locality is preferred (Istio, Locality Load Balancing).
    """
    used = {each.target for each in seen.in_use}
    healthy = {each.target for each in seen.endpoints if each.healthy}
    return frozenset(
        version
        for each in wanted
        if each.targets and each.targets <= healthy and not each.all_targets & used
        for version in each.versions
    )


def expected_shares(wanted: Sequence[Destination], seen: Endpoints) -> Mapping[str, Fraction]:
    """The share of each destination that the client's own endpoint weights say.

    Endpoints of a lower priority get none while those of the first are healthy, and an endpoint
    that leads nowhere known counts as a separate destination. Weights of localities do not count,
    as Istio leaves them out unless a DestinationRule asks for them.

    Returns:
        Shares that add up to 1; empty when there is no endpoint to use.
    """
    weights: dict[str, int] = {each.name: 0 for each in wanted}
    by_target = {target: each.name for each in wanted for target in each.all_targets}
    for endpoint in seen.in_use:
        name = by_target.get(endpoint.target, f"unexpected {endpoint.target}")
        weights[name] = weights.get(name, 0) + endpoint.weight
    total = sum(weights.values())
    return {name: Fraction(weight, total) for name, weight in weights.items()} if total else {}


def count_by_destination(
    wanted: Sequence[Destination], instances: Mapping[str, int]
) -> Mapping[str, int]:
    """Answers by destination; those of a pod that is in none count by the pod's name.

    Args:
        instances: answers by pod.
    """
    by_instance = {pod: each.name for each in wanted for pod in each.instances}
    counts: dict[str, int] = {each.name: 0 for each in wanted}
    for pod, count in instances.items():
        name = by_instance.get(pod, f"unexpected {pod}")
        counts[name] = counts.get(name, 0) + count
    return counts


@dataclass(frozen=True)
class Waiting:
    """Answers of a destination.

    Attributes:
        seconds: their median.
    """

    destination: Destination
    answers: int
    seconds: float

    def __str__(self) -> str:
        targets = ", ".join(sorted(self.destination.targets)) or "no address"
        what = f"{self.answers} answers of {self.destination.name} by {targets}"
        return f"{what} took {self.seconds:.1f} s each (median)"


def waiting(wanted: Iterable[Destination], answers: Sequence[Answer]) -> tuple[Waiting, ...]:
    """How long destinations that answered took for it."""
    found = []
    for destination in wanted:
        times = [each.seconds for each in answers if each.instance in destination.instances]
        if times:
            found.append(Waiting(destination, len(times), median(times)))
    return tuple(found)


def late(seen: Sequence[Waiting], seconds: float) -> tuple[Waiting, ...]:
    """Destinations whose answers are late where others' are not: on a slow machine all are late.

    Args:
        seconds: above which an answer is late.
    """
    found = tuple(each for each in seen if each.seconds > seconds)
    return found if len(found) < len(seen) else ()
