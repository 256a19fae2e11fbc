"""CONTROL-2: which istiod configures the proxies, and whether they have accepted it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from math import inf
from typing import Final

from mesh_fixtures.kube import KubeClient, Meta, Pod
from mesh_fixtures.patience import patient
from mesh_fixtures.probe.proxies import Proxy, proxies
from mesh_fixtures.probe.xds import (
    AMBIENT,
    NOT_SENT,
    ROUTER,
    SYNCED,
    XdsClient,
    XdsClients,
    xds_clients,
)
from mesh_fixtures.requirements.observed import ObservedMesh
from mesh_fixtures.requirements.requirement import Outcome, Requirement
from mesh_fixtures.scenario import Scenario
from mesh_fixtures.verdict.convergence import Settled, settle
from mesh_fixtures.verdict.findings import Finding, Subject

SYNC_SECONDS: Final = 15.0
"""For new configuration to arrive, and to be accepted."""

RECONNECTED_SECONDS: Final = 40.0
"""For proxies to be connected to an istiod that was started in place of another one: they ask for
it again after 30 s at most (Envoy's back-off)."""

_REQUESTED_IF_NEEDED: Final = frozenset({"EDS", "RDS"})
"""Kinds that a proxy does not request while none of its listeners or clusters needs them. Those of
the samples do."""

Istiods = Mapping[str, tuple[XdsClients, ...]]
"""By the primary's name."""

Differences = Mapping[tuple[str, str], tuple[Finding, ...]]
"""What was found against each proxy at one time, by its cluster and id."""


@dataclass(frozen=True)
class Probes:
    """How the mesh is observed."""

    proxies: Callable[[KubeClient], tuple[Proxy, ...]] = proxies
    xds_clients: Callable[[KubeClient], tuple[XdsClients, ...]] = xds_clients


@dataclass(frozen=True)
class _Look:
    """What was seen at one time.

    Attributes:
        nothing: findings that are about no proxy.
        differences: against those proxies that were not in sync at any time so far.
        youngest: age of the istiod that was started last, in seconds.
    """

    proxies: Mapping[str, int]
    nothing: tuple[Finding, ...]
    differences: Differences
    youngest: float

    @property
    def findings(self) -> Iterator[Finding]:
        yield from self.nothing
        for those in self.differences.values():
            yield from those


def judge(mesh: ObservedMesh, probes: Probes = Probes()) -> Outcome:
    """Each proxy must be in sync at some time: where something changes all the time, there need not
    be a moment at which all are. Who looks for a moment only waits where istiod has just been
    started, as by an upgrade, until proxies have turned to it.
    """
    view, scenario = mesh.view, mesh.scenario
    primaries = [cluster.name for cluster in scenario.primaries]
    synced: set[tuple[str, str]] = set()

    def look() -> _Look:
        found, istiods = view.each(probes.proxies), view.each(probes.xds_clients, primaries)
        if not mesh.has_samples:
            found = {
                cluster: (*those, *_connected(cluster, those, istiods))
                for cluster, those in found.items()
            }
        differences = {
            (proxy.cluster, proxy.id): tuple(
                _judged(scenario, proxy, istiods, is_sample=mesh.has_samples)
            )
            for those in found.values()
            for proxy in those
        }
        synced.update(proxy for proxy, seen in differences.items() if not seen)
        return _Look(
            {cluster: len(those) for cluster, those in found.items()},
            tuple(_nothing_to_judge(found if mesh.has_samples else {}, istiods)),
            {proxy: seen for proxy, seen in differences.items() if proxy not in synced},
            min((each.age for asked in istiods.values() for each in asked), default=inf),
        )

    def settled_within(seconds: float) -> Settled[_Look]:
        return settle(look, lambda seen: not [*seen.findings], deadline=seconds, interval=0.5)

    settled = settled_within(mesh.patient(SYNC_SECONDS))
    reconnected = patient(RECONNECTED_SECONDS - settled.value.youngest)
    if not mesh.has_samples and not settled.accepted and reconnected > 0:
        settled = settled_within(reconnected)
    return Outcome.judged(
        settled.value.findings,
        {
            **{f"{cluster}.proxies": count for cluster, count in settled.value.proxies.items()},
            "seconds_to_synced": round(settled.seconds, 3),
        },
    )


def _connected(cluster: str, known: Iterable[Proxy], istiods: Istiods) -> Iterator[Proxy]:
    """Proxies of a cluster that are connected to an istiod, but for those that are known, and for
    those of the ambient mode.
    """
    ids = {proxy.id for proxy in known}
    for istiod in (each for asked in istiods.values() for each in asked):
        for client in istiod.clients.values():
            is_judged = client.cluster_id == cluster and client.kind not in AMBIENT
            if is_judged and client.proxy not in ids:
                ids.add(client.proxy)
                name, _, namespace = client.proxy.rpartition(".")
                pod = Pod(Meta(name, namespace), "", "Running", False, True, ())
                yield Proxy(istiod.source, cluster, pod)


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
    scenario: Scenario, proxy: Proxy, istiods: Istiods, *, is_sample: bool
) -> Iterator[Finding]:
    primary = scenario.control_plane_of(proxy.cluster)
    for cluster, asked in istiods.items():
        held = [
            (each, each.clients[proxy.id])
            for each in asked
            if proxy.id in each.clients and each.clients[proxy.id].cluster_id in ("", proxy.cluster)
        ]
        if cluster == primary and asked and not held:
            expected = f"the proxy of {proxy} to be connected to istiod of {primary}"
            yield Finding(proxy.cluster, expected, "no connection", asked[0].source, _of(proxy))
        for each, client in held:
            if cluster != primary:
                expected = f"the proxy of {proxy} to be connected to istiod of {primary} only"
                seen = f"{each.istiod} of {cluster}"
                yield Finding(proxy.cluster, expected, seen, each.source, _of(proxy))
            else:
                yield from _behind(proxy, client, each, _optional(client, is_sample=is_sample))


def _optional(client: XdsClient, *, is_sample: bool) -> Collection[str]:
    """Kinds that a proxy need not have requested. A workload of others may be its own proxy, and
    requests no more than it uses (Istio: gRPC Proxyless Service Mesh).
    """
    if is_sample:
        return _REQUESTED_IF_NEEDED if client.kind == ROUTER else ()
    if any(state != NOT_SENT for state in client.states.values()):
        return client.states
    return _REQUESTED_IF_NEEDED


def _behind(
    proxy: Proxy, client: XdsClient, istiod: XdsClients, optional: Collection[str]
) -> Iterator[Finding]:
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
        "Each proxy that was started is connected to its own control plane's istiod, and has "
        "acknowledged all of its configuration."
    ),
    judge=judge,
    section="Debugging Envoy and Istiod: Get an overview of your mesh",
    url="https://istio.io/latest/docs/ops/diagnostic-tools/proxy-cmd/#get-an-overview-of-your-mesh",
    needs="sample",
    rests_on=("WORKLOAD-1",),
    without_samples=True,
)
