"""What keeps gateways from passing services on, though they listen and istiod advertises them: what
their proxies are told, and load balancers in front of them.

Source: Istio, ProxyConfig (gatewayTopology); chart gateway (networkGateway); Install Multicluster
(load balancers must pass TLS through, istio.io#16648).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from mesh_fixtures.addresses import target_host, with_port
from mesh_fixtures.diagnosis.cause import Case, Cause, Evidence, Kind, Layer, get, listed
from mesh_fixtures.diagnosis.facts import (
    GATEWAY,
    GATEWAY_POD,
    ClusterFacts,
    Handshake,
    Path,
)
from mesh_fixtures.diagnosis.rules.gateway_exposure import wanted_ports
from mesh_fixtures.install.names import NETWORK_VIEW
from mesh_fixtures.scenario import ClusterSpec
from mesh_fixtures.verdict.findings import Subject

PROXY_PROTOCOL = Kind("gateway-wants-proxy-protocol", Layer.EXPOSURE, ("GATEWAY-1", "TRAFFIC-1"))
NOT_PASSED_THROUGH = Kind(
    "gateway-tls-not-passed-through", Layer.GATEWAY, ("GATEWAY-1", "TRAFFIC-1")
)
VIEW = Kind("gateway-network-view-wrong", Layer.EXPOSURE, ("TRAFFIC-1", "TRAFFIC-2", "TRAFFIC-3"))


def view_of_gateway(case: Case) -> Iterator[Cause]:
    """Gateways that ask istiod for endpoints of other networks than the one that they are of: they
    have nowhere to pass its services on to, or pass them on to another network again.
    """
    for spec, facts in case.clusters:
        if not case.scenario.is_multi_network:
            continue
        for pod in facts.gateway_pods:
            view = (pod.proxy or {}).get("view")
            if view is None or view == spec.network:
                continue
            yield Cause(
                VIEW,
                (spec.name,),
                f"the gateway {pod.namespace}/{pod.name} of {spec.name} asks istiod for endpoints "
                f"on {view or 'all networks'}, and not on {spec.network} alone, of which it is a "
                "gateway",
                (
                    Evidence(
                        f"{NETWORK_VIEW}: {view or 'not set'}",
                        get(spec.name, f"pod {pod.name} -o yaml", pod.namespace),
                    ),
                ),
                f"set {NETWORK_VIEW}={spec.network} in the environment of the gateway's proxy "
                f"(Helm: networkGateway={spec.network})",
                about=Subject((spec.name, *_passed_on_to(case, spec, view))),
            )
            break


def _passed_on_to(case: Case, spec: ClusterSpec, view: str) -> list[str]:
    """Clusters of other networks whose gateways get what a gateway with such a view passes on."""
    networks = view.split(",")
    return [
        each.name
        for each, _ in case.clusters
        if each.network != spec.network and (not view or each.network in networks)
    ]


def proxy_protocol(case: Case) -> Iterator[Cause]:
    """Gateways that take only connections with a header that nobody adds on the way to them;
    refuted by a client whose connections to one of them open.
    """
    for spec, facts in case.clusters:
        wanted = wanted_ports(case, spec, facts)
        for seen in facts.gateways or ():
            ports = sorted(wanted & {*seen.proxy_protocol})
            if not ports or _is_connected_to(case, facts):
                continue
            topology = "gatewayTopology.proxyProtocol"
            yield Cause(
                PROXY_PROTOCOL,
                (spec.name,),
                f"{spec.name}'s east-west gateway takes only connections that begin with a header "
                f"of the PROXY protocol at {listed(ports)}, and those of other clusters do not",
                (Evidence(f"{seen.pod} wants it at {listed(seen.proxy_protocol)}", seen.source),),
                f"take {topology} out of what configures the gateway (annotation "
                "proxy.istio.io/config of its pods, meshConfig.defaultConfig), or have its load "
                "balancer add the header",
                about=Subject((spec.name,)),
            )


def _is_connected_to(case: Case, facts: ClusterFacts) -> bool:
    """Whether a client has opened a connection to one of a cluster's gateways."""
    return any(target_host(each) in facts.gateway_addresses for each in _opened(case))


def not_passed_through(case: Case) -> Iterator[Cause]:
    """Addresses of gateways at which something else speaks HTTP, or ends TLS by a certificate of no
    workload: gateways pass TLS on to workloads. Refuted by a gateway's pod that does so too, by a
    workload's certificate at the address, and by a client whose connections to it open.
    """
    for spec, facts in case.clusters:
        own_paths = [
            each for each in case.facts.paths_of(GATEWAY_POD, server=spec.name) if each.is_open
        ]
        own_handshakes = _handshakes(case, spec, GATEWAY_POD)
        speaks_http = any(each.http_status for each in own_paths)
        ends_tls = any(each.is_by_no_workload for each in own_handshakes)
        for address, port in _ways(case, spec):
            seen = [
                each for each in _handshakes(case, spec, GATEWAY) if _is_at(each, address, port)
            ]
            if any(each.workloads for each in seen) or with_port(address, port) in _opened(case):
                continue
            http = [
                path
                for path in case.facts.paths_of(GATEWAY, server=spec.name)
                if path.http_status and path.client != spec.name and _is_at(path, address, port)
            ]
            http = [] if speaks_http else http
            tls = [each for each in seen if each.is_by_no_workload and not ends_tls]
            if http or tls:
                own = [*(own_paths if http else ()), *(own_handshakes if tls else ())]
                yield _not_passed_through(spec, facts, address, port, http, tls, own)


def _ways(case: Case, spec: ClusterSpec) -> list[tuple[str, int]]:
    """Addresses and ports at which istiods advertise a cluster's gateways."""
    return sorted(
        {
            (each.address, each.port)
            for each in case.advertised
            if each.network == spec.network and each.cluster in ("", spec.name)
        }
    )


def _is_at(seen: Path | Handshake, address: str, port: int) -> bool:
    return (seen.address, seen.port) == (address, port)


def _opened(case: Case) -> frozenset[str]:
    """Addresses with ports to which a client's proxy has opened a connection."""
    return frozenset(
        each.target
        for traffic in case.facts.traffic
        for each in traffic.endpoints
        if each.connections > each.failed
    )


def _handshakes(case: Case, spec: ClusterSpec, kind: str) -> list[Handshake]:
    """Those with gateways of a cluster at addresses of a kind."""
    return [each for each in case.facts.handshakes if (each.server, each.kind) == (spec.name, kind)]


def _has_no_gateway(facts: ClusterFacts) -> bool:
    """Whether pods without a proxy are behind the Services of a cluster's gateways, and no others:
    load balancers that run in the cluster.
    """
    services = [each for each in facts.gateway_services if each.network]
    behind = [pod for service in services for pod in facts.pods_of(service)]
    return bool(behind) and all(pod.proxy is None for pod in behind)


def _not_passed_through(
    spec: ClusterSpec,
    facts: ClusterFacts,
    address: str,
    port: int,
    http: Sequence[Path],
    tls: Sequence[Handshake],
    own: Sequence[Path | Handshake],
) -> Cause:
    """The cause.

    Args:
        own: what the gateway's pods did where they were tried.
    """
    target = with_port(address, port)
    does = [
        *([f"answers HTTP ({http[0].http_status})"] if http else []),
        *([f"ends TLS by a certificate of {tls[0].subject or 'nobody'}"] if tls else []),
    ]
    seen: list[Path | Handshake] = [*http[:1], *tls[:1], *own[:1]]
    told = [
        Evidence(
            f"{service}: {name}: {value}",
            get(spec.name, f"service {service.name} -o yaml", service.namespace),
        )
        for service in facts.gateway_services
        for name, value in service.balancing.items()
    ]
    return Cause(
        NOT_PASSED_THROUGH,
        (spec.name,),
        f"what is in front of {spec.name}'s east-west gateway does not pass TLS through to it: "
        f"{target} {' and '.join(does)}{', and its pod does not' if own else ''}",
        (
            *(Evidence(f"from {each.client}: {each}", each.source) for each in seen),
            *told,
        ),
        f"have the load balancer of {target} pass TCP through at {port}, without HTTP and without "
        "a certificate (AWS: listeners of the protocol TCP, annotations "
        "service.beta.kubernetes.io/aws-load-balancer-backend-protocol: tcp and no "
        "aws-load-balancer-ssl-cert for this port)",
        certainty="certain" if own or _has_no_gateway(facts) else "likely",
        about=Subject((spec.name,), addresses=(address,)),
    )


RULES = (view_of_gateway, proxy_protocol, not_passed_through)
