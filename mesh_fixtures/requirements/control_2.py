"""CONTROL-2: which istiod configures the proxies, and whether they have accepted it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from mesh_fixtures.kube import KubeClient
from mesh_fixtures.probe.gateways import Gateway, gateways
from mesh_fixtures.probe.proxies import Proxy, proxies
from mesh_fixtures.probe.xds import NOT_SENT, ROUTER, SYNCED, XdsClient, XdsClients, xds_clients
from mesh_fixtures.requirements.observed import ObservedMesh
from mesh_fixtures.requirements.requirement import Outcome, Requirement
from mesh_fixtures.scenario import Scenario
from mesh_fixtures.verdict.convergence import settle
from mesh_fixtures.verdict.findings import Finding, Subject

SYNC_SECONDS: Final = 15.0
"""For new configuration to arrive, and to be accepted."""

_OPTIONAL_FOR_ROUTERS: Final = frozenset({"EDS", "RDS"})
"""Kinds that a gateway does not request while none of its routes or clusters needs them."""

Istiods = Mapping[str, tuple[XdsClients, ...]]
"""By the primary's name."""


@dataclass(frozen=True)
class Probes:
    """How the mesh is observed."""

    proxies: Callable[[KubeClient], tuple[Proxy, ...]] = proxies
    xds_clients: Callable[[KubeClient], tuple[XdsClients, ...]] = xds_clients
    gateways: Callable[[KubeClient], tuple[Gateway, ...]] = gateways


def judge(mesh: ObservedMesh, probes: Probes = Probes()) -> Outcome:
    view, scenario = mesh.view, mesh.scenario
    primaries = [cluster.name for cluster in scenario.primaries]
    gateway_ips = {
        cluster: _ips(found) for cluster, found in view.each(probes.gateways, primaries).items()
    }

    def looked() -> tuple[dict[str, tuple[Proxy, ...]], list[Finding]]:
        found, istiods = view.each(probes.proxies), view.each(probes.xds_clients, primaries)
        return found, [
            *_nothing_to_judge(found, istiods),
            *(
                finding
                for those in found.values()
                for proxy in those
                for finding in _judged(scenario, proxy, istiods, gateway_ips)
            ),
        ]

    settled = settle(
        looked, lambda seen: not seen[1], deadline=mesh.patient(SYNC_SECONDS), interval=0.5
    )
    found, findings = settled.value
    return Outcome.judged(
        findings,
        {
            **{f"{cluster}.proxies": len(those) for cluster, those in found.items()},
            "seconds_to_synced": round(settled.seconds, 3),
        },
    )


def _ips(gateways: Iterable[Gateway]) -> frozenset[str]:
    return frozenset(pod.ip for gateway in gateways for pod in gateway.pods)


def _nothing_to_judge(
    found: Mapping[str, tuple[Proxy, ...]], istiods: Istiods
) -> Iterator[Finding]:
    for cluster, those in found.items():
        if not those:
            yield Finding(cluster, "a running proxy", "none", about=Subject((cluster,)))
    for primary, asked in istiods.items():
        if not asked:
            yield Finding(primary, "a ready istiod to ask", "none", about=Subject((primary,)))


def _judged(
    scenario: Scenario, proxy: Proxy, istiods: Istiods, gateway_ips: Mapping[str, frozenset[str]]
) -> Iterator[Finding]:
    primary = scenario.control_plane_of(proxy.cluster)
    for cluster, asked in istiods.items():
        held = [each for each in asked if proxy.id in each.clients]
        if cluster == primary and asked and not held:
            expected = f"the proxy of {proxy} to be connected to istiod of {primary}"
            yield Finding(proxy.cluster, expected, "no connection", asked[0].source, _of(proxy))
        elif cluster != primary:
            for each in held:
                expected = f"the proxy of {proxy} to be connected to istiod of {primary} only"
                seen = f"{each.istiod} of {cluster}"
                yield Finding(proxy.cluster, expected, seen, each.source, _of(proxy))
        else:
            for each in held:
                client = each.clients[proxy.id]
                yield from _astray(proxy, client, each, gateway_ips[primary])
                yield from _behind(proxy, client, each)


def _astray(
    proxy: Proxy, client: XdsClient, istiod: XdsClients, gateway_ips: frozenset[str]
) -> Iterator[Finding]:
    """The connection of a remote's proxy comes from its primary's gateway, others directly."""
    is_remote = istiod.cluster != proxy.cluster
    wanted = gateway_ips if is_remote else frozenset({proxy.pod.ip})
    if not client.peers or not client.peers <= wanted:
        way = f"through the east-west gateway of {istiod.cluster}, " if is_remote else ""
        expected = (
            f"the connection of {proxy} to reach istiod {way}"
            f"from {', '.join(sorted(wanted)) or 'a missing gateway'}"
        )
        seen = ", ".join(sorted(client.peers)) or "no connection"
        yield Finding(proxy.cluster, expected, seen, istiod.source, _of(proxy))


def _behind(proxy: Proxy, client: XdsClient, istiod: XdsClients) -> Iterator[Finding]:
    optional = _OPTIONAL_FOR_ROUTERS if client.kind == ROUTER else frozenset()
    for kind, state in client.states.items():
        if state != SYNCED and not (state == NOT_SENT and kind in optional):
            expected = f"the proxy of {proxy} to have accepted istiod's configuration by {kind}"
            yield Finding(proxy.cluster, expected, state, istiod.source, _of(proxy))


def _of(proxy: Proxy) -> Subject:
    return Subject((proxy.cluster,))


REQUIREMENT = Requirement(
    id="CONTROL-2",
    level="core",
    title=(
        "Each proxy is connected to its own control plane's istiod (a remote's through the "
        "east-west gateway) and has acknowledged all of its configuration."
    ),
    judge=judge,
    section="Debugging Envoy and Istiod: Get an overview of your mesh",
    url="https://istio.io/latest/docs/ops/diagnostic-tools/proxy-cmd/#get-an-overview-of-your-mesh",
    needs="sample",
    rests_on=("WORKLOAD-1",),
)
