"""What gateways' proxies are told that keeps them from passing services on, though they listen and
istiod advertises them.

Source: Istio, ProxyConfig (gatewayTopology); chart gateway (networkGateway).
"""

from __future__ import annotations

from collections.abc import Iterator

from mesh_fixtures.addresses import target_host
from mesh_fixtures.diagnosis.cause import Case, Cause, Evidence, Kind, Layer, get, listed
from mesh_fixtures.diagnosis.facts import ClusterFacts
from mesh_fixtures.diagnosis.rules.gateway_exposure import wanted_ports
from mesh_fixtures.install.names import NETWORK_VIEW
from mesh_fixtures.scenario import ClusterSpec
from mesh_fixtures.verdict.findings import Subject

PROXY_PROTOCOL = Kind("gateway-wants-proxy-protocol", Layer.EXPOSURE, ("GATEWAY-1", "TRAFFIC-1"))
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
    return any(
        each.connections - each.failed > 0
        for traffic in case.facts.traffic
        for each in traffic.endpoints
        if target_host(each.target) in facts.gateway_addresses
    )


RULES = (view_of_gateway, proxy_protocol)
