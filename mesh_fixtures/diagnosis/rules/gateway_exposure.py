"""What east-west gateways are configured to pass: services at 15443, istiod at 15012 and 15017.

Source: Istio, Install Multicluster (Expose services; Expose the control plane); Gateway.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from mesh_fixtures.diagnosis.cause import Case, Cause, Evidence, Kind, Layer, get, listed
from mesh_fixtures.diagnosis.facts import EAST_WEST, ClusterFacts, Configuration
from mesh_fixtures.diagnosis.rules.gateway_health import NOT_READY as GATEWAY_NOT_READY
from mesh_fixtures.install import ids
from mesh_fixtures.install.exposure import ISTIOD_FILE, SERVICES_FILE
from mesh_fixtures.install.names import SYSTEM_NAMESPACE
from mesh_fixtures.scenario import ISTIOD_PORTS, SERVICES_PORT, ClusterSpec
from mesh_fixtures.verdict.findings import Subject

_BROKEN = ("GATEWAY-1",)
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
    ),
)

_AUTO_PASSTHROUGH = "AUTO_PASSTHROUGH"
_PASSTHROUGH = "PASSTHROUGH"
_SHOW = "gateways.networking.istio.io"


def services(case: Case) -> Iterator[Cause]:
    for spec, facts in case.primaries:
        if not case.scenario.exposes_services(spec.name) or facts.configuration is None:
            continue
        found = _serving(facts, (SERVICES_PORT,))
        step = ids.expose_services(spec.name)
        if not found:
            yield _absent(SERVICES, spec, facts, (SERVICES_PORT,), SERVICES_FILE, step)
            continue
        selecting = _selecting(case, spec, found)
        if not selecting:
            yield _mismatch(case, spec, found, SERVICES_FILE, step)
        elif not any(_passes_services(each) for each in selecting):
            yield Cause(
                WRONG,
                (spec.name,),
                f"in {spec.name}, {listed(selecting)} opens {SERVICES_PORT} otherwise than by "
                f"{_AUTO_PASSTHROUGH} for *.local",
                tuple(
                    Evidence(f"{each}: {_modes(each, SERVICES_PORT)}", _shown(spec.name))
                    for each in selecting
                ),
                f"apply {SERVICES_FILE} in {spec.name} (step {step} of the plan)",
                step=step,
            )


def istiod(case: Case) -> Iterator[Cause]:
    for spec, facts in case.primaries:
        if not case.scenario.exposes_istiod(spec.name) or facts.configuration is None:
            continue
        found = _serving(facts, ISTIOD_PORTS)
        step = ids.expose_istiod(spec.name)
        missing = [port for port in ISTIOD_PORTS if not _serving(facts, (port,))]
        if missing:
            yield _absent(ISTIOD, spec, facts, missing, ISTIOD_FILE, step)
        elif not _selecting(case, spec, found):
            yield _mismatch(case, spec, found, ISTIOD_FILE, step)
        else:
            yield from _unrouted(spec, facts, step)


def _unrouted(spec: ClusterSpec, facts: ClusterFacts, step: str) -> Iterator[Cause]:
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
            f"apply {ISTIOD_FILE} in {spec.name} (step {step} of the plan)",
            step=step,
        )


def not_listening(case: Case) -> Iterator[Cause]:
    """Gateways that do not do what they are configured to."""
    for spec, facts in case.clusters:
        wanted = case.scenario.gateway_ports(spec.name)
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
                f"istioctl --context={primary} proxy-status; then its proxy's log: kubectl "
                f"--context={spec.name} -n {SYSTEM_NAMESPACE} logs {seen.pod}",
                certainty="likely",
                step=ids.expose_services(primary)
                if SERVICES_PORT in missing
                else ids.expose_istiod(primary),
                about=Subject((spec.name,)),
            )


RULES = (services, istiod, not_listening)

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
    facts = case.facts.clusters[spec.name]
    pods = facts.pods_in(SYSTEM_NAMESPACE, EAST_WEST)
    if not pods:
        return list(found)
    return [
        each
        for each in found
        if any((each.spec.get("selector") or {}).items() <= pod.labels.items() for pod in pods)
    ]


def _passes_services(gateway: Configuration) -> bool:
    return any(
        _port(server) == SERVICES_PORT
        and (server.get("tls") or {}).get("mode") == _AUTO_PASSTHROUGH
        and {"*.local", "*"} & {host.rpartition("/")[2] for host in server.get("hosts") or ()}
        for server in _servers(gateway)
    )


def _modes(gateway: Configuration, port: int) -> str:
    return "; ".join(
        f"mode {(server.get('tls') or {}).get('mode', 'none')}, hosts "
        f"{listed(server.get('hosts') or ())}"
        for server in _servers(gateway)
        if _port(server) == port
    )


def _selector(gateway: Configuration) -> str:
    selector: Mapping[str, str] = gateway.spec.get("selector") or {}
    return ", ".join(f"{key}: {value}" for key, value in selector.items()) or "nothing"


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
        f"{what} not exposed in {spec.name}: no Gateway opens {listed(ports)} at its east-west "
        "gateway",
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


def _mismatch(
    case: Case, spec: ClusterSpec, found: Sequence[Configuration], file: str, step: str
) -> Cause:
    facts = case.facts.clusters[spec.name]
    pods = facts.pods_in(SYSTEM_NAMESPACE, EAST_WEST)
    ports = sorted({_port(server) for each in found for server in _servers(each)})
    return Cause(
        MISMATCH,
        (spec.name,),
        f"{spec.name}'s east-west gateway does not listen at {listed(ports)}: "
        f"{listed(found)} selects {' and '.join(_selector(each) for each in found)}, and no "
        "gateway has that",
        (
            *(Evidence(f"{each} selects {_selector(each)}", _shown(spec.name)) for each in found),
            *(
                Evidence(
                    f"pod {pod.name} has istio: {pod.labels.get('istio', 'nothing')}",
                    get(spec.name, "pods --show-labels -l istio=eastwestgateway", SYSTEM_NAMESPACE),
                )
                for pod in pods
            ),
        ),
        f"apply {file} in {spec.name}, which selects istio: eastwestgateway (step {step} of the "
        "plan)",
        step=step,
    )


def _shown(cluster: str) -> str:
    return get(cluster, f"{_SHOW} -A")
