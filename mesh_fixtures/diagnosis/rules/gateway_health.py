"""East-west gateways: there, running, with an address that other clusters reach.

Source: Istio, Install Multi-Primary on different networks (east-west gateway).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from mesh_fixtures.addresses import with_port
from mesh_fixtures.diagnosis.cause import Case, Cause, Evidence, Kind, Layer, get, listed
from mesh_fixtures.diagnosis.facts import (
    GATEWAY,
    ClusterFacts,
    Configuration,
    Deployment,
    Path,
    Service,
)
from mesh_fixtures.diagnosis.rules import cluster_health, network_policies
from mesh_fixtures.diagnosis.rules.attachment import is_address
from mesh_fixtures.install import ids
from mesh_fixtures.install.names import NETWORK_LABEL
from mesh_fixtures.scenario import ISTIOD_PORTS, SERVICES_PORT, STATUS_PORT, ClusterSpec
from mesh_fixtures.verdict.findings import Subject

_BROKEN = ("GATEWAY-1",)
_UNATTACHED = (
    "control-plane-annotation-missing",
    "control-plane-annotation-wrong",
    "control-plane-annotation-late",
    "injection-path-wrong",
    "discovery-address-wrong",
    "remote-secret-missing",
    "remote-secret-wrong-cluster",
    "remote-secret-loopback-server",
    "remote-secret-unreachable-server",
    "remote-secret-unauthorized",
    "istiod-not-running",
    "istiod-access-denied",
)
"""By which a remote gets no proxies, its gateway's included."""

MISSING = Kind("gateway-missing", Layer.GATEWAY, _BROKEN)
SCALED = Kind("gateway-scaled-to-zero", Layer.GATEWAY, _BROKEN)
NOT_READY = Kind("gateway-not-ready", Layer.GATEWAY, _BROKEN, (*_UNATTACHED, "remote-not-attached"))
PENDING = Kind(
    "gateway-address-pending", Layer.GATEWAY, _BROKEN, (cluster_health.LOAD_BALANCER.id,)
)
SHARED = Kind("gateway-address-shared", Layer.GATEWAY, _BROKEN)
_NOT_SERVING = (
    *(NOT_READY.id, SCALED.id, SHARED.id, cluster_health.LOAD_BALANCER.id),
    *("services-not-exposed", "istiod-not-exposed", "services-exposed-wrongly"),
    *("gateway-selector-mismatch", "gateway-not-listening"),
    *("gateway-port-missing", "gateway-target-port-wrong", network_policies.CLOSED.id),
)
UNREACHABLE = Kind(
    "gateway-unreachable",
    Layer.GATEWAY,
    (*_BROKEN, "TRAFFIC-1"),
    (*_NOT_SERVING, "packet-loss", "gateway-connection-resets"),
)
NOT_ANSWERING = Kind(
    "gateway-not-answering",
    Layer.GATEWAY,
    (*_BROKEN, "TRAFFIC-1"),
    (*_NOT_SERVING, "packet-loss", "gateway-connection-resets"),
)
STALE = Kind(
    "gateway-address-stale",
    Layer.GATEWAY,
    (*_BROKEN, "TRAFFIC-1"),
    (NOT_READY.id, SCALED.id, cluster_health.LOAD_BALANCER.id),
)

_SHOW = "services,deployments,pods"
_PRUNED = (
    "if it went when Istio was installed once more: `istioctl install` of an IstioOperator without "
    "metadata.name removes gateways of its revision and version that it does not list; give it one"
)
"""Source: Istio, istioctl install (pruning by the labels `install.operator.istio.io/`)."""


def missing(case: Case) -> Iterator[Cause]:
    for spec, facts in _needed(case):
        if facts.services is None or facts.deployments is None or facts.pods is None:
            continue
        label = f"{NETWORK_LABEL}={spec.network}"
        step = ids.gateway(spec.name)
        exposing = _exposing_in_vain(facts)
        left = f"; {listed(exposing)} exposes what nothing serves" if exposing else ""
        again = f"; {_PRUNED}" if exposing else ""
        if not facts.gateway_services and spec.network not in {
            each.network for each in case.advertised
        }:
            yield Cause(
                MISSING,
                (spec.name,),
                f"{spec.name} has no east-west gateway: no Service has the label {label}, or leads "
                f"from outside to a gateway's proxy{left}",
                (
                    Evidence("no such Service", get(spec.name, f"services -A -l {NETWORK_LABEL}")),
                    *_in_vain(facts, exposing),
                ),
                f"install it (step {step} of the plan){again}",
                step=step,
            )
        for service in facts.gateway_services:
            runs = facts.gateway_deployments or facts.pods_of(service)
            if service.selector and not runs and not _answers(case, service):
                wanted = ", ".join(f"{key}={value}" for key, value in service.selector.items())
                yield Cause(
                    MISSING,
                    (spec.name,),
                    f"{spec.name} has no east-west gateway: nothing runs behind {service}, which "
                    f"selects {wanted}",
                    (
                        Evidence("no such pod", _shown(spec.name, service.namespace)),
                        *_in_vain(facts, exposing),
                    ),
                    f"install it (step {step} of the plan)",
                    step=step,
                )


def _answers(case: Case, service: Service) -> bool:
    """Whether an address of a Service is reached, by whatever is behind it."""
    return any(
        path.is_open and path.address in service.external for path in case.facts.paths_of(GATEWAY)
    )


def _exposing_in_vain(facts: ClusterFacts) -> list[Configuration]:
    """Gateways of Istio that expose services or istiod at pods to which no Service leads."""
    pods = facts.gateway_pods
    return [
        each
        for each in facts.configured("Gateway")
        if (selector := each.spec.get("selector"))
        and {*_ports(each)} & {SERVICES_PORT, *ISTIOD_PORTS}
        and not any(selector.items() <= pod.labels.items() for pod in pods)
    ]


def _in_vain(facts: ClusterFacts, exposing: Sequence[Configuration]) -> Iterator[Evidence]:
    for each in exposing:
        selector = listed([f"{key}: {value}" for key, value in each.spec["selector"].items()])
        yield Evidence(
            f"{each} exposes {listed(_ports(each))} at pods with {selector}, to which no Service "
            "leads from outside",
            get(facts.name, f"gateways.networking.istio.io {each.name} -o yaml", each.namespace),
        )


def _ports(gateway: Configuration) -> list[int]:
    return [
        int((server.get("port") or {}).get("number", 0))
        for server in gateway.spec.get("servers") or ()
    ]


def not_running(case: Case) -> Iterator[Cause]:
    for spec, facts in _needed(case):
        for each in facts.gateway_deployments:
            if each.wanted == 0 and _others_serve(facts, each):
                continue
            if each.wanted == 0:
                yield Cause(
                    SCALED,
                    (spec.name,),
                    f"{spec.name}'s east-west gateway is scaled to 0",
                    (Evidence(str(each), _shown(spec.name, each.namespace)),),
                    f"kubectl --context={spec.name} -n {each.namespace} scale "
                    f"deployment/{each.name} --replicas=1",
                )
            elif each.ready < each.wanted:
                yield _not_ready(spec, facts, each)


def _others_serve(facts: ClusterFacts, gateway: Deployment) -> bool:
    """Whether pods of another Deployment serve behind each Service of a gateway, as while it is
    replaced by another.
    """
    services = [
        each
        for each in facts.gateway_services
        if each.selects(gateway.namespace, gateway.pod_labels)
    ]
    return all(any(pod.serving for pod in facts.pods_of(each)) for each in services)


def _not_ready(spec: ClusterSpec, facts: ClusterFacts, gateway: Deployment) -> Cause:
    namespace = gateway.namespace
    pods = [
        each
        for each in facts.pods_in(namespace, gateway.pod_labels)
        if not each.serving and gateway.pod_labels
    ]
    warnings = [
        each
        for each in facts.warned(namespace, "FailedCreate", "BackOff", "Failed", "Unhealthy")
        if gateway.name in each.about
    ]
    why = warnings[0].message if warnings and not pods else listed(pods, "no pod")
    return Cause(
        NOT_READY.following("istiod-not-running") if spec.is_primary else NOT_READY,
        (spec.name,),
        f"{spec.name}'s east-west gateway is not ready: {why}",
        (
            Evidence(str(gateway), _shown(spec.name, namespace)),
            *(Evidence(f"pod {pod}", _shown(spec.name, namespace)) for pod in pods),
            *(Evidence(str(each), get(spec.name, "events", namespace)) for each in warnings[:2]),
        ),
        f"fix what its pods and events say: kubectl --context={spec.name} -n {namespace} "
        f"describe deployment/{gateway.name}",
        certainty="likely",
        step=ids.gateway(spec.name),
    )


def address_pending(case: Case) -> Iterator[Cause]:
    for spec, facts in _needed(case):
        for service in facts.gateway_services:
            if service.external:
                continue
            if any(each.cluster == spec.name for each in case.advertised):
                continue  # another Service of the cluster has what this one lacks
            if service.kind != "LoadBalancer":
                yield _of_type_within(spec, service)
                continue
            about = f"Service/{service.name}"
            warnings = [
                each
                for each in facts.warnings or ()
                if each.namespace == service.namespace and each.about == about
            ]
            why = f": {warnings[-1].message}" if warnings else ""
            yield Cause(
                PENDING,
                (spec.name,),
                f"{spec.name}'s east-west gateway has no external address{why}",
                (
                    Evidence(f"{service}: pending", _shown(spec.name, service.namespace)),
                    *(
                        Evidence(str(each), get(spec.name, "events", service.namespace))
                        for each in warnings[-2:]
                    ),
                ),
                "give the cluster's load balancer addresses to hand out (MetalLB: an IPAddressPool "
                "with a free address, and an L2Advertisement)",
                step=ids.gateway_address(spec.name),
            )


def _of_type_within(spec: ClusterSpec, service: Service) -> Cause:
    """A gateway whose Service is of a type that has no address outside of its cluster. Of one at
    its nodes, istiod advertises those that have an ExternalIP, if an annotation selects them
    (Istio: Resource Annotations, traffic.istio.io/nodeSelector).
    """
    nodes = (
        ", or to advertise nodes that have an ExternalIP, select them by the annotation "
        "traffic.istio.io/nodeSelector"
    )
    return Cause(
        PENDING,
        (spec.name,),
        f"{spec.name}'s east-west gateway has no external address: {service} is of the type "
        f"{service.kind}",
        (Evidence(f"{service}: {service.kind}", _shown(spec.name, service.namespace)),),
        f"make {service} one of the type LoadBalancer, or give it externalIPs that lead to the "
        f"cluster's nodes{nodes if service.kind == 'NodePort' else ''}",
        step=ids.gateway(spec.name),
    )


def address_shared(case: Case) -> Iterator[Cause]:
    """Of gateways of different networks: those of one network may share a load balancer, and one
    load balancer may have a port for each.
    """
    owners: dict[tuple[str, int], ClusterSpec] = {}
    for spec, facts in _needed(case):
        ways = {(each, one.gateway_port) for one in facts.gateway_services for each in one.external}
        for address, port in sorted(ways):
            owner = owners.setdefault((address, port), spec)
            if owner.network != spec.network:
                yield Cause(
                    SHARED,
                    (spec.name, owner.name),
                    f"the east-west gateways of {owner.name} and {spec.name} have the same address "
                    f"{address}",
                    (
                        Evidence(f"{owner.name}: {address}", get(owner.name, "services -A")),
                        Evidence(f"{spec.name}: {address}", get(spec.name, "services -A")),
                    ),
                    "give their load balancers pools that do not overlap",
                )


def unreachable(case: Case) -> Iterator[Cause]:
    """Addresses of gateways at which clients of other clusters find a port closed.

    The same port tried from the gateway's own cluster tells the gateway from what is on the way.
    Host names are istiod's to resolve: clients get addresses.
    """
    for spec, _ in _needed(case):
        tried: dict[str, list[Path]] = {}
        for path in case.facts.paths_of(GATEWAY, server=spec.name):
            if path.unresolved < path.attempts:
                tried.setdefault(path.address, []).append(path)
        for address, paths in tried.items():
            closed = [each for each in paths if each.is_closed and each.client != spec.name]
            if all(each.port == STATUS_PORT for each in closed):
                continue  # nobody but load balancers needs it
            inside = [each for each in paths if each.client == spec.name]
            dead = {each.port for each in inside if each.is_closed}
            for client in sorted({each.client for each in closed}):
                cut_off = [each for each in closed if each.client == client]
                if on_the_way := [each for each in cut_off if each.port not in dead]:
                    yield _cut_off(case, client, spec.name, on_the_way, inside)
            if silent := [each for each in closed if each.port in dead]:
                naming = _naming(case, spec, address)
                if naming:
                    yield _stale(case, spec, address, silent, inside, naming)
                else:
                    yield _not_answering(case, spec.name, address, silent, inside)


def _cut_off(
    case: Case, client: str, server: str, closed: Sequence[Path], inside: Sequence[Path]
) -> Cause:
    address = closed[0].address
    ports = sorted({each.port for each in closed})
    own = [each for each in inside if each.port in ports and each.is_open]
    within = f", though {server} itself reaches it there" if own else ""
    return Cause(
        UNREACHABLE,
        (server, client),
        f"{client} cannot reach the east-west gateway of {server} at {address}, port "
        f"{listed(ports)}: {_outcomes(closed)}{within}",
        (*_seen(closed), *_seen(own), *_failed_connections(case, client, address, ports)),
        f"let nodes and pods of {client} reach {address}, port {listed(ports)}: firewall rules, "
        "security groups, routes, announcement of the address",
        certainty="certain" if {each.port for each in own} >= {*ports} else "likely",
        about=Subject((server,), addresses=(address,), clients=(client,)),
    )


def _naming(case: Case, spec: ClusterSpec, address: str) -> list[str]:
    """Primaries whose mesh configuration alone makes an address a gateway of a cluster's network,
    where the gateways' Services have others. istiod knows the cluster of each gateway that it has
    from a Service (source: Istio, `pilot/pkg/model/network.go`).
    """
    if not _others(case, spec.name, address):
        return []
    naming = [
        (primary.name, gateway.cluster)
        for primary, facts in case.primaries
        for istiod in facts.istiods or ()
        for gateway in istiod.gateways or ()
        if gateway.address == address
    ]
    if any(cluster for _, cluster in naming):
        return []
    return sorted({primary for primary, _ in naming})


def _others(case: Case, server: str, address: str) -> tuple[str, ...]:
    """Addresses of the gateways' Services of a cluster, where none of them has this one; nothing
    where some are host names, which may stand for it.
    """
    known = case.facts.clusters[server].gateway_addresses
    return () if address in known or not all(map(is_address, known)) else known


def _stale(
    case: Case,
    spec: ClusterSpec,
    address: str,
    closed: Sequence[Path],
    inside: Sequence[Path],
    naming: Sequence[str],
) -> Cause:
    ports = sorted({each.port for each in closed})
    known = case.facts.clusters[spec.name].gateway_addresses
    return Cause(
        STALE,
        (*naming, spec.name),
        f"meshNetworks in the mesh configuration of {listed(naming)} names {address}, port "
        f"{listed(ports)}, for {spec.network}, where nothing answers: {_outcomes(closed)}; the "
        f"gateways' Services of {spec.name} have {listed(known)}",
        (*_seen(closed), *_seen([each for each in inside if each.port in ports])),
        f"name {listed(known)} in its place, or no address: istiod knows that of a Service with "
        f"the label {NETWORK_LABEL}; where {address} is that of something in front of the gateway, "
        "see that it passes the port on",
        about=Subject((spec.name,), addresses=(address,)),
    )


def _not_answering(
    case: Case, server: str, address: str, closed: Sequence[Path], inside: Sequence[Path]
) -> Cause:
    clients = sorted({each.client for each in closed})
    ports = sorted({each.port for each in closed})
    others = _others(case, server, address)
    nowhere = f"; the gateways' Services there have {listed(others)}" if others else ""
    return Cause(
        NOT_ANSWERING,
        (server,),
        f"{server}'s east-west gateway does not answer at {address}, port {listed(ports)}, from "
        f"{listed(clients)} nor within {server}: {_outcomes(closed)}{nowhere}",
        (
            *_seen([each for each in inside if each.port in ports]),
            *_seen(closed),
            *(
                Evidence(f"{each.pod} listens at {listed(each.ports)}", each.source)
                for each in case.facts.clusters[server].gateways or ()
            ),
        ),
        f"see that the Service of {address} has port {listed(ports)}, that its target is a port "
        f"at which the gateway's pods listen, and that nothing in {server} filters it (network "
        "policies, firewalls)"
        + (", or correct meshNetworks in the mesh configuration" if others else ""),
        certainty="likely",
        about=Subject((server,), addresses=(address,)),
    )


def _seen(paths: Sequence[Path]) -> Iterator[Evidence]:
    for path in paths:
        yield Evidence(f"from {path.client}: {path} {path.message}".rstrip(), path.source)


def _outcomes(paths: Sequence[Path]) -> str:
    """What became of the attempts."""
    counts = {
        "timed out": sum(path.timed_out for path in paths),
        "refused": sum(path.refused for path in paths),
        "unreachable": sum(path.unreachable for path in paths),
        "name not resolved": sum(path.unresolved for path in paths),
    }
    return listed([what for what, count in counts.items() if count], "no answer")


def _failed_connections(
    case: Case, cluster: str, address: str, ports: Sequence[int]
) -> Iterator[Evidence]:
    """The same, as the client's own proxy saw it."""
    client = case.facts.clusters[cluster].client
    for each in (client.endpoints or ()) if client else ():
        if client and each.failed and each.target in {with_port(address, port) for port in ports}:
            yield Evidence(f"Sleep's proxy in {cluster}: {each}", client.source)


RULES = (missing, not_running, address_pending, address_shared, unreachable)


def _needed(case: Case) -> Iterator[tuple[ClusterSpec, ClusterFacts]]:
    return (each for each in case.clusters if case.scenario.needs_gateway(each[0].name))


def _shown(cluster: str, namespace: str) -> str:
    return get(cluster, _SHOW, namespace)
