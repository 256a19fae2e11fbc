"""Networks that do not carry what they must, or carry what they must not."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import ip_address, ip_network
from itertools import combinations, product

from mesh_fixtures.addresses import target_host, with_port
from mesh_fixtures.diagnosis.cause import Case, Cause, CauseReach, Evidence, Kind, Layer, get
from mesh_fixtures.diagnosis.facts import GATEWAY, ClusterFacts, Path, Pod, Traffic
from mesh_fixtures.diagnosis.rules.network_policies import CLOSED

OVERLAP = Kind(
    "pod-addresses-overlap",
    Layer.UNDERLAY,
    ("NETWORK-1", "TRAFFIC-1"),
    reach=CauseReach.BETWEEN,
)
ROUTE_MISSING = Kind(
    "pod-route-missing",
    Layer.UNDERLAY,
    ("NETWORK-1",),
    (CLOSED.id, OVERLAP.id),
    reach=CauseReach.BETWEEN,
)
NOT_ISOLATED = Kind(
    "networks-not-isolated",
    Layer.UNDERLAY,
    ("NETWORK-1", "TRAFFIC-3"),
    alone=True,
    reach=CauseReach.BETWEEN,
)
LOSS = Kind(
    "packet-loss",
    Layer.UNDERLAY,
    ("NETWORK-1", "GATEWAY-1", "TRAFFIC-1"),
    reach=CauseReach.BETWEEN,
)
SIZES = Kind(
    "large-packets-lost",
    Layer.UNDERLAY,
    ("TRAFFIC-1", "CONTROL-2", "WORKLOAD-1"),
    reach=CauseReach.BETWEEN,
)
RESETS = Kind(
    "gateway-connection-resets",
    Layer.CONNECTIONS,
    ("TRAFFIC-1", "GATEWAY-1"),
    (LOSS.id, SIZES.id),
    reach=CauseReach.SERVERS,
)

_HEADERS = 40
"""Bytes of IPv4 and TCP, which a segment comes in addition to."""

_FEWEST_ATTEMPTS = 10
_FEWEST_LOST = 2
"""Of that many attempts; a single one may have been a machine that was busy."""


def overlaps(case: Case) -> Iterator[Cause]:
    """Clusters on one network that give their pods the same addresses, of which the network leads
    to one pod only. A node's range of addresses counts where its cluster uses it.
    """
    for pair in combinations([each.name for each in case.scenario.data_planes], 2):
        if not case.scenario.same_network(*pair):
            continue
        one, other = (case.facts.clusters[name] for name in pair)
        shared = (*_twins(one, other), *_within(one, other), *_within(other, one))
        if shared:
            network = case.scenario.cluster(one.name).network or "the one without a name"
            yield Cause(
                OVERLAP,
                pair,
                f"{one.name} and {other.name} are on one network, {network}, and give their pods "
                f"the same addresses: {shared[0].seen}",
                shared,
                "give the pods of each cluster on a network a range of their own; or declare that "
                "the clusters are on different networks, and give each a gateway",
            )


def _twins(one: ClusterFacts, other: ClusterFacts) -> Iterator[Evidence]:
    """Pods of two clusters with the same address."""
    for pod, twin in product(_addressed(one), _addressed(other)):
        if pod.ip == twin.ip:
            yield Evidence(
                f"{pod.ip} is the address of {pod.namespace}/{pod.name} of {one.name} and of "
                f"{twin.namespace}/{twin.name} of {other.name}",
                get(other.name, f"pod {twin.name} -o wide", twin.namespace),
            )


def _within(cluster: ClusterFacts, other: ClusterFacts) -> Iterator[Evidence]:
    """Pods of another cluster with addresses of a node's range, in which its own pods are, too."""
    for node in cluster.nodes or ():
        for each in map(ip_network, node.pod_ranges):
            own = [pod for pod in _addressed(cluster) if ip_address(pod.ip) in each]
            others = [pod for pod in _addressed(other) if ip_address(pod.ip) in each]
            if own and others:
                yield Evidence(
                    f"{others[0].namespace}/{others[0].name} of {other.name} has {others[0].ip}, "
                    f"and {own[0].namespace}/{own[0].name} of {cluster.name} has {own[0].ip}, both "
                    f"of the range {each} of the node {node.name} of {cluster.name}",
                    get(cluster.name, f"node {node.name} -o jsonpath={{.spec.podCIDRs}}"),
                )


def _addressed(cluster: ClusterFacts) -> list[Pod]:
    """Pods that have addresses of their own."""
    return [each for each in cluster.pods or () if each.ip and not each.host_network]


def pod_routes(case: Case) -> Iterator[Cause]:
    """One network means that pods reach each other; pods that nobody reaches say nothing of it."""
    for path in case.facts.paths_of("pod"):
        if path.client == path.server or not _near(case, path) or not path.is_closed:
            continue
        own = case.facts.paths_of("pod", path.server, path.server)
        if not any(each.is_open and each.address == path.address for each in own):
            continue
        yield Cause(
            ROUTE_MISSING,
            (path.client, path.server),
            f"pods of {path.client} do not reach pods of {path.server} directly, though both are "
            f"on {case.scenario.cluster(path.server).network}: {path.message or path}",
            (
                Evidence(f"from {path.client}: {path}", path.source),
                *(Evidence(f"from {each.client}: {each}", each.source) for each in own),
            ),
            f"let the nodes of {path.client} and {path.server} route each other's pod addresses, "
            "and no filter drop them",
        )


def isolation(case: Case) -> Iterator[Cause]:
    for path in case.facts.paths_of("pod"):
        if not _near(case, path) and path.is_open:
            networks = [case.scenario.cluster(each).network for each in (path.client, path.server)]
            yield Cause(
                NOT_ISOLATED,
                (path.client, path.server),
                f"pods of {path.client} reach pods of {path.server} directly, though "
                f"{networks[0]} and {networks[1]} are declared to be apart",
                (Evidence(f"from {path.client}: {path}", path.source),),
                f"remove the routes between the pods of {path.client} and {path.server}, or "
                "declare one network in the scenario",
            )


def packet_loss(case: Case) -> Iterator[Cause]:
    """Connections of which some need a second first packet, or never get an answer.

    A machine that is too busy makes connections slow too, but sends no packet again.
    """
    found: dict[tuple[str, str], list[Path]] = {}
    for path in case.facts.paths:
        enough = path.attempts >= _FEWEST_ATTEMPTS and _lost(path) >= _FEWEST_LOST
        if enough and path.prompt and (path.resent or 0) >= _lost(path):
            found.setdefault((path.client, path.server), []).append(path)
    for (client, server), paths in found.items():
        lost = sum(map(_lost, paths))
        tried = sum(path.attempts for path in paths)
        where = f"within {client}" if client == server else f"between {client} and {server}"
        yield Cause(
            LOSS,
            tuple(dict.fromkeys((client, server))),
            f"packets are lost {where}: of {tried} connections, {lost} were slow to open or did "
            "not open",
            tuple(
                Evidence(
                    f"from {path.client}: {path}; its pod sent {path.resent} first packets again",
                    path.source,
                )
                for path in paths
            ),
            "look for what drops packets on the way: filters, full queues, faulty links (ip -s "
            "link; nft list ruleset, on nodes and routers)",
            certainty="likely",
        )


def large_packets(case: Case) -> Iterator[Cause]:
    """Paths on which small packets arrive and large ones do not.

    Handshakes hang there: certificates fill packets of the largest size, of which nobody reports
    that they are too large.
    """
    for each in case.facts.packet_sizes:
        yield Cause(
            SIZES,
            (each.client, each.server),
            f"packets of {each.lost} bytes or more get lost from {each.client} to {each.server} "
            f"({each.target}), and those of up to {each.carried} bytes arrive",
            (
                Evidence(
                    f"from {each.client}: no answer to any request to {each.target} "
                    f"in IP packets of {each.lost} bytes or more, and answers to all of up to "
                    f"{each.carried} bytes",
                    each.source,
                ),
            ),
            f"let what is between {each.client} and {each.server} report packets that are too "
            "large (ICMP type 3, code 4), or set a smaller MTU for the pods, or clamp the segments "
            f"of TCP to {each.carried - _HEADERS} bytes",
        )


def gateway_resets(case: Case) -> Iterator[Cause]:
    """Gateways that refuse or cut some connections, and serve others."""
    for path in case.facts.paths_of(GATEWAY):
        if path.client != path.server and path.refused and path.is_open:
            yield _resets(path.client, path.server, str(path), path.source, path.message)
    for traffic in case.facts.traffic:
        for endpoint in traffic.endpoints if traffic.failures else ():
            server = _gateway_at(case, endpoint.target)
            cut = min(endpoint.errors, _lost_on_the_way(case, server))
            # One that is still being opened serves nobody.
            some = 0 < endpoint.failed < endpoint.connections and endpoint.requests > 0
            if server and (some or 0 < cut < endpoint.requests):
                yield _resets(
                    traffic.client,
                    server,
                    f"{endpoint.target} ({endpoint.failed} of {endpoint.connections} connections "
                    f"and {cut} of {endpoint.requests} requests failed)",
                    traffic.source,
                    _most_frequent(traffic),
                )


def _lost_on_the_way(case: Case, server: str) -> int:
    """Requests to a cluster's HelloWorld that failed, without those that it failed itself."""
    seen = sum(
        endpoint.errors
        for traffic in case.facts.traffic
        for endpoint in traffic.endpoints
        if server and _leads_to(case, traffic.client, endpoint.target, server)
    )
    own = sum(each.errors for each in case.facts.served if each.server == server)
    return max(0, seen - own)


def _leads_to(case: Case, client: str, target: str, server: str) -> bool:
    """Whether an endpoint of a client is a pod or a gateway of a cluster."""
    if _gateway_at(case, target) == server:
        return True
    pods = {pod.ip for pod in case.facts.clusters[server].pods or ()}
    return case.scenario.same_network(client, server) and target_host(target) in pods


def _gateway_at(case: Case, target: str) -> str:
    """The cluster whose gateway an endpoint is, as istiods advertise it or by the address of its
    Service; empty when it is none's.
    """
    for each in case.advertised:
        if target == with_port(each.address, each.port) and each.cluster in case.facts.clusters:
            return each.cluster
    for name, facts in case.facts.clusters.items():
        if target_host(target) in facts.gateway_addresses:
            return name
    return ""


def _most_frequent(traffic: Traffic) -> str:
    """The message of most of the failed requests."""
    counts = traffic.failures
    return f"; most failures: {max(counts, key=lambda message: counts[message])}"


def _resets(client: str, server: str, seen: str, source: str, message: str) -> Cause:
    return Cause(
        RESETS,
        (server,),
        f"the east-west gateway of {server} resets some connections from {client}, and serves "
        f"others: {seen}",
        (Evidence(f"from {client}: {seen} {message}".rstrip(), source),),
        f"look at the gateway's log and limits, and at what is between {client} and its address "
        "(filters, several gateways behind one address)",
        certainty="likely",
    )


RULES = (overlaps, pod_routes, isolation, packet_loss, large_packets, gateway_resets)


def _lost(path: Path) -> int:
    return path.slow + path.timed_out


def _near(case: Case, path: Path) -> bool:
    return case.scenario.same_network(path.client, path.server)
