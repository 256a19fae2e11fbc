"""Networks that do not carry what they must, or carry what they must not."""

from __future__ import annotations

from collections.abc import Iterator

from mesh_fixtures.diagnosis.cause import Case, Cause, Evidence, Kind, Layer, Reach
from mesh_fixtures.diagnosis.facts import Path, Traffic

ROUTE_MISSING = Kind("pod-route-missing", Layer.UNDERLAY, ("NETWORK-1",), reach=Reach.BETWEEN)
NOT_ISOLATED = Kind(
    "networks-not-isolated",
    Layer.UNDERLAY,
    ("NETWORK-1", "TRAFFIC-3"),
    alone=True,
    reach=Reach.BETWEEN,
)
LOSS = Kind(
    "packet-loss",
    Layer.UNDERLAY,
    ("NETWORK-1", "GATEWAY-1", "TRAFFIC-1"),
    reach=Reach.BETWEEN,
)
RESETS = Kind(
    "gateway-connection-resets",
    Layer.CONNECTIONS,
    ("TRAFFIC-1", "GATEWAY-1"),
    (LOSS.id,),
    reach=Reach.SERVERS,
)

_FEWEST_ATTEMPTS = 10
_FEWEST_LOST = 2
"""Of that many attempts; a single one may have been a machine that was busy."""


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


def gateway_resets(case: Case) -> Iterator[Cause]:
    """Gateways that refuse or cut some connections, and serve others."""
    for path in case.facts.paths_of("gateway"):
        if path.refused and path.is_open:
            yield _resets(path.client, path.server, str(path), path.source, path.message)
    for client, facts in case.facts.clusters.items():
        failing = [each for each in case.facts.traffic if each.client == client and each.failures]
        for endpoint in facts.client.endpoints or () if facts.client and failing else ():
            server = _gateway_at(case, endpoint.target)
            some = 0 < endpoint.failed < endpoint.connections
            if server and (some or 0 < endpoint.errors < endpoint.requests):
                source = facts.client.source if facts.client else ""
                yield _resets(client, server, str(endpoint), source, _most_frequent(failing))


def _gateway_at(case: Case, target: str) -> str:
    """The cluster whose gateway an endpoint is; empty when it is none's."""
    for name, facts in case.facts.clusters.items():
        if target.rpartition(":")[0] in facts.gateway_addresses:
            return name
    return ""


def _most_frequent(traffic: list[Traffic]) -> str:
    """The message of most of the failed requests."""
    counts = {message: count for each in traffic for message, count in each.failures.items()}
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


RULES = (pod_routes, isolation, packet_loss, gateway_resets)


def _lost(path: Path) -> int:
    return path.slow + path.timed_out


def _near(case: Case, path: Path) -> bool:
    return case.scenario.same_network(path.client, path.server)
