"""Whether istiod takes a Service for a gateway, and what that is configured to pass: services, by
default at 15443, and istiod at 15012 and 15017.

Source: Istio, Install Multicluster (Expose services; Expose the control plane); Gateway; Resource
Labels (topology.istio.io/network, networking.istio.io/gatewayPort).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from mesh_fixtures.diagnosis.cause import Case, Cause, Evidence, Kind, Layer, get, listed
from mesh_fixtures.diagnosis.facts import (
    GATEWAY,
    ISTIOD_TLS,
    ClusterFacts,
    Configuration,
    Service,
)
from mesh_fixtures.diagnosis.rules.attachment import is_address
from mesh_fixtures.diagnosis.rules.gateway_health import NOT_READY as GATEWAY_NOT_READY
from mesh_fixtures.install import external, gateway_api, ids
from mesh_fixtures.install.exposure import ISTIOD_FILE, SERVICES_FILE, every_service
from mesh_fixtures.install.names import GATEWAY_PORT_LABEL, NETWORK_LABEL
from mesh_fixtures.probe.gateways import AUTO_PASSTHROUGH, PassingGateway, passes_on
from mesh_fixtures.scenario import ISTIOD_PORTS, SERVICES_PORT, STATUS_PORT, ClusterSpec
from mesh_fixtures.verdict.findings import Subject

OWN_PORTS = frozenset({15020, STATUS_PORT, 15090})
"""Ports that every proxy serves for its kubelet and for metrics (Istio: Ports used by Istio)."""

_BROKEN = ("GATEWAY-1",)
UNLABELLED = Kind("gateway-network-label-missing", Layer.GATEWAY, _BROKEN)
MISLABELLED = Kind("gateway-network-label-wrong", Layer.GATEWAY, _BROKEN)
PORTLESS = Kind("gateway-port-missing", Layer.GATEWAY, _BROKEN)
MISDIRECTED = Kind("gateway-target-port-wrong", Layer.GATEWAY, _BROKEN)
UNRESOLVED = Kind("gateway-host-name-unresolved", Layer.GATEWAY, _BROKEN)
SERVICES = Kind("services-not-exposed", Layer.EXPOSURE, _BROKEN)
ISTIOD = Kind("istiod-not-exposed", Layer.EXPOSURE, _BROKEN)
MISMATCH = Kind("gateway-selector-mismatch", Layer.EXPOSURE, _BROKEN)
WRONG = Kind("services-exposed-wrongly", Layer.EXPOSURE, _BROKEN)
NOT_LISTENING = Kind(
    "gateway-not-listening",
    Layer.EXPOSURE,
    _BROKEN,
    (
        *GATEWAY_NOT_READY.follows,
        SERVICES.id,
        ISTIOD.id,
        MISMATCH.id,
        WRONG.id,
        GATEWAY_NOT_READY.id,
        "namespace-not-selected",
    ),
)

_SHOW = "gateways.networking.istio.io"


def network_of_gateway(case: Case) -> Iterator[Cause]:
    """Services that pass services on, but that istiod takes for no gateway, or for one of another
    network.
    """
    for spec, facts in case.clusters:
        if not case.scenario.is_multi_network or _is_advertised(case, spec):
            continue
        for service in facts.gateway_services:
            label = f"{NETWORK_LABEL}={spec.network}"
            shown = get(spec.name, f"service {service.name} --show-labels", service.namespace)
            labelled, more = (
                (f"{gateway_api.KIND}/{service.deployed_for}", "")
                if service.deployed_for
                else (f"service/{service.name}", f" (Helm: networkGateway={spec.network})")
            )
            fix = (
                f"kubectl --context={spec.name} -n {service.namespace} label --overwrite "
                f"{labelled} {label}{more}"
            )
            if service.network not in ("", spec.network):
                yield Cause(
                    MISLABELLED,
                    (spec.name,),
                    f"the gateway {service} of {spec.name} has the label {NETWORK_LABEL}="
                    f"{service.network}, but {spec.name} is on {spec.network}: istiod knows no way "
                    f"into {spec.network}",
                    (Evidence(f"{NETWORK_LABEL}: {service.network}", shown),),
                    fix,
                )
            elif not service.network and (exposing := _exposing(facts, service)):
                yield Cause(
                    UNLABELLED,
                    (spec.name,),
                    f"{service} of {spec.name} has no label {label}: istiod does not take it for a "
                    "gateway",
                    (
                        Evidence(f"{service} has {_labels(service.labels)}", shown),
                        Evidence(f"{exposing} passes services on at its pods", _shown(spec.name)),
                    ),
                    fix,
                )


def ports_of_gateway(case: Case) -> Iterator[Cause]:
    """Services that are gateways of their network, but without the port, or with a wrong target."""
    for spec, facts in case.clusters:
        if not case.scenario.is_multi_network:
            continue
        for service in facts.gateway_services:
            if service.network != spec.network:
                continue
            number = service.gateway_port
            port = service.port(number)
            shown = get(spec.name, f"service {service.name} -o yaml", service.namespace)
            if port is None:
                if not _is_advertised(case, spec) and not _deployed([service]):
                    ports = listed([each.number for each in service.ports], "none")
                    yield Cause(
                        PORTLESS,
                        (spec.name,),
                        f"the gateway {service} of {spec.name} has no port {number}: istiod does "
                        "not advertise it",
                        (Evidence(f"ports: {ports}", shown),),
                        f"add port {number} to it, or name another of its ports by the label "
                        f"{GATEWAY_PORT_LABEL}",
                    )
                continue
            heard = {number for each in facts.gateways or () for number in each.ports}
            target = service.gateway_target
            known = target is not None and bool(port.target and heard)
            if known and (target in OWN_PORTS or target not in heard):
                yield Cause(
                    MISDIRECTED,
                    (spec.name,),
                    f"the gateway {service} of {spec.name} sends port {number} to {target} of its "
                    "pods, where nobody listens for services",
                    (
                        Evidence(f"port {number}: targetPort {target}", shown),
                        *(
                            Evidence(f"{each.pod} listens at {listed(each.ports)}", each.source)
                            for each in facts.gateways or ()
                        ),
                    ),
                    f"let its targetPort be {number}",
                )


def host_name_of_gateway(case: Case) -> Iterator[Cause]:
    """Gateways behind host names alone, of which istiod advertises no address: it resolves them
    where it is.
    """
    for spec, facts in case.clusters:
        if not case.scenario.is_multi_network or _is_advertised(case, spec):
            continue
        for service in facts.gateway_services:
            sound = service.network == spec.network and service.port(service.gateway_port)
            if not sound or not service.external or any(map(is_address, service.external)):
                continue
            names = listed(service.external)
            yield Cause(
                UNRESOLVED,
                (spec.name,),
                f"the gateway {service} of {spec.name} has the host name {names}, of which no "
                "istiod advertises an address: none of them can resolve it",
                (
                    Evidence(
                        f"{service}: {names}",
                        get(spec.name, f"service {service.name} -o yaml", service.namespace),
                    ),
                    *(
                        Evidence(f"from {path.client}: {path} {path.message}".rstrip(), path.source)
                        for path in case.facts.paths_of(GATEWAY, server=spec.name)
                        if path.address in service.external and path.unresolved
                    ),
                    *(
                        Evidence(f"istiod of {name}: {line}")
                        for name, others in case.facts.clusters.items()
                        for istiod in others.istiods or ()
                        for line in istiod.log or ()
                        if any(host in line for host in service.external)
                    ),
                ),
                f"let the name servers that istiods ask know {names}, or give the load balancer an "
                "IP address",
                certainty="likely",
            )


def services(case: Case) -> Iterator[Cause]:
    for spec, facts in case.configured:
        if not case.scenario.exposes_services(spec.name) or facts.configuration is None:
            continue
        ports = _targets(facts)
        found = _serving(facts, ports)
        step = ids.expose_services(spec.name)
        listens = any({*ports} & {*seen.ports} for seen in facts.gateways or ())
        selecting = _selecting(case, spec, found)
        if listens and not selecting:
            continue  # by objects of the Gateway API
        if not found and (deployed := _deployed(facts.gateway_services)):
            yield _without_listener(case, SERVICES, spec, facts, deployed[0], ports)
        elif not found:
            yield _absent(SERVICES, spec, facts, ports, SERVICES_FILE, step)
        elif not selecting:
            yield _mismatch(case, spec, found, SERVICES_FILE, step)
        elif not any(_passes_helloworld(case, each, ports) for each in selecting):
            yield Cause(
                WRONG,
                (spec.name,),
                f"in {spec.name}, {listed(selecting)} opens {listed(ports)} otherwise than by "
                f"{AUTO_PASSTHROUGH} for HelloWorld's name, so that its TLS does not get through",
                tuple(
                    Evidence(f"{each}: {_modes(each, ports)}", _shown(spec.name))
                    for each in selecting
                ),
                f"apply {SERVICES_FILE} in {spec.name} (step {step} of the plan)",
                step=step,
            )


def istiod(case: Case) -> Iterator[Cause]:
    for spec, facts in case.primaries:
        if not case.scenario.exposes_istiod(spec.name) or facts.configuration is None:
            continue
        if _serves_remotes(case, spec):
            continue
        found = _serving(facts, ISTIOD_PORTS)
        step = ids.expose_istiod(spec.name)
        file = external.EXPOSURE_FILE if spec.is_external else ISTIOD_FILE
        missing = [port for port in ISTIOD_PORTS if not _serving(facts, (port,))]
        if not found and (deployed := _deployed(facts.gateway_services)):
            heard = {port for each in facts.gateways or () for port in each.ports}
            if unheard := [port for port in ISTIOD_PORTS if port not in heard]:
                yield _without_listener(case, ISTIOD, spec, facts, deployed[0], unheard)
        elif missing:
            yield _absent(ISTIOD, spec, facts, missing, file, step)
        elif not _selecting(case, spec, found):
            yield _mismatch(case, spec, found, file, step)
        else:
            yield from _unrouted(spec, facts, file, step)
            yield from _misrouted(case, spec, facts, step)


def _serves_remotes(case: Case, spec: ClusterSpec) -> bool:
    """Whether pods of each remote agree on TLS with a primary's istiod, wherever they find it."""
    remotes = [
        each.name
        for each, _ in case.remotes
        if case.scenario.control_plane_of(each.name) == spec.name
    ]
    return all(
        any(path.is_open for path in case.facts.paths_of(ISTIOD_TLS, name)) for name in remotes
    )


def _unrouted(spec: ClusterSpec, facts: ClusterFacts, file: str, step: str) -> Iterator[Cause]:
    routes = [
        match.get("port")
        for service in facts.configured("VirtualService")
        for route in service.spec.get("tls") or ()
        for match in route.get("match") or ()
    ]
    missing = [port for port in ISTIOD_PORTS if port not in routes]
    if missing:
        yield Cause(
            ISTIOD,
            (spec.name,),
            f"istiod of {spec.name} is not exposed to its remotes: no VirtualService passes "
            f"{listed(missing)} to it",
            (
                Evidence(
                    f"VirtualServices: {listed(list(facts.configured('VirtualService')))}",
                    get(spec.name, "virtualservices -A"),
                ),
            ),
            f"apply {file} in {spec.name} (step {step} of the plan)",
            step=step,
        )


def _misrouted(case: Case, spec: ClusterSpec, facts: ClusterFacts, step: str) -> Iterator[Cause]:
    """Routes to istiod that end at a Service of it that is gone, as that of an old revision."""
    present = [
        each.name for each in facts.services or () if each.namespace == case.system_namespace
    ]
    for route in facts.configured("VirtualService") if facts.services is not None else ():
        for port, host in _destinations(route):
            name, _, following = host.partition(".")
            namespace = following.partition(".")[0] or route.namespace
            is_own = namespace == case.system_namespace and name.startswith("istiod")
            if port in ISTIOD_PORTS and is_own and name not in present:
                yield Cause(
                    ISTIOD,
                    (spec.name,),
                    f"{route} of {spec.name} passes {port} to {host}, and there is no such Service",
                    (
                        Evidence(
                            f"{route}: {port} to {host}",
                            get(spec.name, f"virtualservice {route.name} -o yaml", route.namespace),
                        ),
                        Evidence(
                            f"Services of istiod: {listed(sorted(present))}",
                            get(spec.name, "services -l app=istiod", namespace),
                        ),
                    ),
                    f"name a Service of istiod that is there (step {step} of the plan)",
                    step=step,
                )
                return


def _destinations(route: Configuration) -> Iterator[tuple[int, str]]:
    """Ports and hosts to which they are passed on by their SNI."""
    for each in route.spec.get("tls") or ():
        for match in each.get("match") or ():
            for way in each.get("route") or ():
                yield int(match.get("port") or 0), str((way.get("destination") or {}).get("host"))


def not_listening(case: Case) -> Iterator[Cause]:
    """Gateways that do not do what they are configured to."""
    for spec, facts in case.clusters:
        wanted = wanted_ports(case, spec, facts)
        for seen in facts.gateways or ():
            missing = sorted(wanted - {*seen.ports})
            if not missing:
                continue
            primary = case.scenario.control_plane_of(spec.name)
            connected = _connected(case, primary, seen.pod)
            state = "" if connected is None else _STATES[connected].format(primary)
            yield Cause(
                NOT_LISTENING,
                (spec.name, primary),
                f"{spec.name}'s east-west gateway does not listen at {listed(missing)}{state}",
                (
                    Evidence(f"{seen.pod} listens at {listed(seen.ports)}", seen.source),
                    *(
                        Evidence(f"istiod's log: {line}")
                        for each in case.facts.clusters[primary].istiods or ()
                        for line in [line for line in each.log or () if seen.pod in line][-1:]
                    ),
                ),
                f"istioctl --context={primary} proxy-status; then the log of the gateway's pod "
                f"{seen.pod} in {spec.name}",
                certainty="likely",
                step=_exposing_step(case, primary, missing),
                about=Subject((spec.name,)),
            )


RULES = (
    network_of_gateway,
    ports_of_gateway,
    host_name_of_gateway,
    services,
    istiod,
    not_listening,
)

_STATES: Mapping[bool, str] = {
    True: ", though it is connected to istiod of {}",
    False: ": it is not connected to istiod of {}",
}


def _connected(case: Case, primary: str, pod: str) -> bool | None:
    """Whether an istiod of a primary configures a pod; None when none was asked."""
    facts = case.facts.clusters.get(primary)
    asked = [each.connected for each in (facts.istiods or () if facts else ())]
    known = [each for each in asked if each is not None]
    if not known:
        return None
    return any(f"/{pod}." in proxy for each in known for proxy in each)


def _is_advertised(case: Case, spec: ClusterSpec) -> bool:
    """Whether an istiod of the mesh advertises a gateway of a cluster's network."""
    return any(
        gateway.network == spec.network and gateway.cluster in ("", spec.name)
        for gateway in case.advertised
    )


def _targets(facts: ClusterFacts) -> tuple[int, ...]:
    """Ports at which a cluster's gateways must listen for services."""
    found = {each.gateway_target for each in facts.gateway_services if each.network}
    return tuple(sorted(each for each in found if each is not None)) or (SERVICES_PORT,)


def wanted_ports(case: Case, spec: ClusterSpec, facts: ClusterFacts) -> frozenset[int]:
    """Ports at which a cluster's gateways must listen."""
    services = _targets(facts) if case.scenario.is_multi_network else ()
    exposes = case.scenario.exposes_istiod(spec.name) and not _serves_remotes(case, spec)
    istiod = ISTIOD_PORTS if exposes else ()
    return frozenset((*services, *istiod))


def _servers(gateway: Configuration) -> Sequence[Mapping[str, Any]]:
    return gateway.spec.get("servers") or ()


def _port(server: Mapping[str, Any]) -> int:
    return int((server.get("port") or {}).get("number", 0))


def _serving(facts: ClusterFacts, ports: Sequence[int]) -> list[Configuration]:
    """Gateways with a server at one of these ports."""
    return [
        each
        for each in facts.configured("Gateway")
        if any(_port(server) in ports for server in _servers(each))
    ]


def _selecting(
    case: Case, spec: ClusterSpec, found: Sequence[Configuration]
) -> list[Configuration]:
    """Those that select a gateway of the cluster; all, where it has none that could be selected."""
    pods = case.facts.clusters[spec.name].gateway_pods
    if not pods:
        return list(found)
    return [
        each
        for each in found
        if any((each.spec.get("selector") or {}).items() <= pod.labels.items() for pod in pods)
    ]


def _passes_helloworld(case: Case, gateway: Configuration, ports: Sequence[int]) -> bool:
    passing = [each for each in _servers(gateway) if _port(each) in ports and passes_on(each)]
    return PassingGateway.of(str(gateway), passing).passes(case.host)


def _modes(gateway: Configuration, ports: Sequence[int]) -> str:
    return "; ".join(
        f"mode {(server.get('tls') or {}).get('mode', 'none')}, hosts "
        f"{listed(server.get('hosts') or ())}"
        for server in _servers(gateway)
        if _port(server) in ports
    )


def _selector(gateway: Configuration) -> str:
    return _labels(gateway.spec.get("selector") or {})


def _labels(labels: Mapping[str, str]) -> str:
    return ", ".join(f"{key}: {value}" for key, value in labels.items()) or "nothing"


def _absent(
    kind: Kind,
    spec: ClusterSpec,
    facts: ClusterFacts,
    ports: Sequence[int],
    file: str,
    step: str,
) -> Cause:
    what = "services are" if kind is SERVICES else "istiod is"
    return Cause(
        kind,
        (spec.name,),
        f"{what} not exposed in {spec.name}: no Gateway opens {listed(ports)} at its "
        f"{_gateway(spec)}",
        (
            Evidence(f"Gateways: {listed(list(facts.configured('Gateway')))}", _shown(spec.name)),
            *(
                Evidence(f"{each.pod} listens at {listed(each.ports)}", each.source)
                for each in facts.gateways or ()
            ),
        ),
        f"apply {file} in {spec.name} (step {step} of the plan)",
        step=step,
    )


def _gateway(spec: ClusterSpec) -> str:
    return "ingress gateway" if spec.is_external else "east-west gateway"


def _exposing(facts: ClusterFacts, service: Service) -> str:
    """What passes services on at the pods of a Service; empty for nothing."""
    if service.deployed_for and service.port(service.gateway_port):
        return _gateway_of(service)
    return listed(list(facts.exposing(service)), "")


def _deployed(services: Sequence[Service]) -> list[Service]:
    """Those that istiod made for Gateways of the Gateway API, with the ports of their listeners."""
    return [each for each in services if each.deployed_for]


def _gateway_of(service: Service) -> str:
    return f"the Gateway {service.namespace}/{service.deployed_for} of the Gateway API"


def _exposing_step(case: Case, primary: str, ports: Sequence[int]) -> str:
    """The step of the plan that has gateways listen at some ports."""
    if {*ports} <= {*ISTIOD_PORTS}:
        return ids.expose_istiod(primary)
    facts = case.facts.clusters.get(primary)
    by_gateway_api = facts is not None and _deployed(facts.gateway_services)
    return ids.gateway(primary) if by_gateway_api else ids.expose_services(primary)


def _without_listener(
    case: Case,
    kind: Kind,
    spec: ClusterSpec,
    facts: ClusterFacts,
    service: Service,
    ports: Sequence[int],
) -> Cause:
    """A gateway that was deployed for a Gateway of the Gateway API, which has it listen nowhere."""
    cluster, gateway = spec.name, _gateway_of(service)
    what = "services are" if kind is SERVICES else "istiod is"
    listener = f"give {gateway} a TLS listener of the mode Passthrough at {listed(ports)}"
    if kind is SERVICES:
        step = ids.gateway(cluster)
        option = f"{gateway_api.LISTENER_OPTION}: {gateway_api.AUTO_PASSTHROUGH}"
        remedy = f"{listener} for the hostname {every_service(case.host)}, with the option {option}"
    else:
        step = ids.expose_istiod(cluster)
        remedy = f"{listener}, and apply {gateway_api.ROUTES_FILE}, which passes it to istiod"
    shown = get(cluster, f"{gateway_api.KIND} {service.deployed_for} -o yaml", service.namespace)
    numbers = listed([each.number for each in service.ports])
    return Cause(
        kind,
        (cluster,),
        f"{what} not exposed in {cluster}: {gateway}, for which its east-west gateway was "
        f"deployed, has it listen at no port {listed(ports)}",
        (
            Evidence(f"{service} was deployed for it with the ports {numbers}", shown),
            *(
                Evidence(f"{each.pod} listens at {listed(each.ports)}", each.source)
                for each in facts.gateways or ()
            ),
        ),
        f"{remedy} (step {step} of the plan)",
        step=step,
    )


def _mismatch(
    case: Case, spec: ClusterSpec, found: Sequence[Configuration], file: str, step: str
) -> Cause:
    pods = case.facts.clusters[spec.name].gateway_pods
    ports = sorted({_port(server) for each in found for server in _servers(each)})
    return Cause(
        MISMATCH,
        (spec.name,),
        f"{spec.name}'s {_gateway(spec)} does not listen at {listed(ports)}: "
        f"{listed(found)} selects {' and '.join(_selector(each) for each in found)}, and no "
        "gateway has that",
        (
            *(Evidence(f"{each} selects {_selector(each)}", _shown(spec.name)) for each in found),
            *(
                Evidence(
                    f"pod {pod.namespace}/{pod.name} has {_labels(pod.labels)}",
                    get(spec.name, "pods --show-labels", pod.namespace),
                )
                for pod in pods
            ),
        ),
        f"let it select labels of the gateway's pods, or apply {file} in {spec.name} where the "
        f"gateway is that of the guide (step {step} of the plan)",
        step=step,
    )


def _shown(cluster: str) -> str:
    return get(cluster, f"{_SHOW} -A")
