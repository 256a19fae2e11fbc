"""SCOPE-1: hosts that the mesh configuration keeps within each cluster do not leave it, and all
primaries mean the same hosts.

What is local is what istiods say, so that any mesh is judged by the configuration that it has. An
istiod decides for the clients that it configures; where others decide otherwise, the host is left
out of their clusters' scope. In an existing mesh, that may be on purpose. The same holds for
services that do not say to which namespaces they are exported. HelloWorld says it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final

from mesh_fixtures.addresses import target_host
from mesh_fixtures.errors import ProbeError
from mesh_fixtures.install.names import EXPORT_TO
from mesh_fixtures.kube import KubeClient
from mesh_fixtures.probe.envoy import host_of
from mesh_fixtures.probe.gateways import NetworkGateway, advertised
from mesh_fixtures.probe.proxies import ProxyAnswers, ask_each
from mesh_fixtures.probe.service_scopes import (
    EVERYWHERE,
    EXPORT_OBJECT,
    HeldHosts,
    ServiceScopes,
    Settings,
    deciding,
    differing,
    held_hosts,
    host_object,
    keeps,
    known_where,
    service_scopes,
)
from mesh_fixtures.probe.traffic import TrafficSample
from mesh_fixtures.requirements.observed import ObservedMesh
from mesh_fixtures.requirements.requirement import Figure, Outcome, Requirement
from mesh_fixtures.scenario import Scenario
from mesh_fixtures.verdict.convergence import settle
from mesh_fixtures.verdict.findings import Finding, Subject
from mesh_fixtures.wording import first_of

SETTLING_SECONDS: Final = 15.0
"""For endpoints that change to be the same in istiods and proxies."""

_SHOWN: Final = 3


def held(kube: KubeClient, patterns: Collection[str]) -> ProxyAnswers[HeldHosts]:
    return ask_each(kube, partial(held_hosts, patterns=patterns))


@dataclass(frozen=True)
class Probes:
    """How the mesh is observed."""

    scopes: Callable[[KubeClient], tuple[ServiceScopes, ...]] = service_scopes
    held: Callable[[KubeClient, Collection[str]], ProxyAnswers[HeldHosts]] = held
    advertised: Callable[[KubeClient], tuple[NetworkGateway, ...]] = advertised


@dataclass(frozen=True)
class Scope:
    """What clients in a cluster must not know.

    Attributes:
        cluster: of the clients.
        istiods: of the control plane that configures them; at least one.
        gateways: `address:port` of those of other networks.
    """

    cluster: str
    istiods: Sequence[ServiceScopes]
    gateways: frozenset[str]

    @property
    def patterns(self) -> frozenset[str]:
        """Of hosts that all these istiods may keep."""
        return frozenset.intersection(*(each.patterns for each in self.istiods))

    def keeps(self, host: str) -> bool:
        """Whether all these istiods keep a host within the cluster."""
        return all(each.keeps(host) for each in self.istiods)

    @property
    def exposed(self) -> tuple[str, ...]:
        """Hosts that are to be kept, and that other clusters have endpoints of, too."""
        hosts = {host for each in self.istiods for host in each.addresses}
        return tuple(host for host in sorted(hosts) if self.keeps(host) and self._others(host))

    def unknown_to(self, held: ProxyAnswers[HeldHosts]) -> tuple[str, ...]:
        """Those of `exposed` that the mesh configuration names, and of which none of these proxies
        knows anything: a Sidecar or `exportTo` may leave them out.
        """
        known = {host for _, hosts in held.answered for host in hosts.targets}
        return tuple(
            host
            for host in self.exposed
            if host not in known and any(keeps(each.configured, host) for each in self.istiods)
        )

    def outside(self, host: str, targets: Collection[str]) -> tuple[str, ...]:
        """Which endpoints of a host are of other clusters, with the cluster's name."""
        own, others = self._own(host), self._others(host)
        return tuple(
            f"{target} of {others.get(address, 'another network')}"
            for target in sorted(targets)
            if (address := target_host(target)) not in own
            and (address in others or target in self.gateways)
        )

    def _own(self, host: str) -> frozenset[str]:
        held = (each.addresses.get(host, {}) for each in self.istiods)
        return frozenset(address for one in held for address in one.get(self.cluster, ()))

    def _others(self, host: str) -> Mapping[str, str]:
        """The cluster of each address that is in others only."""
        own = self._own(host)
        return {
            address: cluster
            for each in self.istiods
            for cluster, addresses in each.addresses.get(host, {}).items()
            for address in addresses - own
        }


@dataclass(frozen=True)
class HeldScopes:
    """What istiods and proxies held at about the same time."""

    scopes: Mapping[str, Scope]
    held: Mapping[str, ProxyAnswers[HeldHosts]]

    def endpoints(self, cluster: str) -> int:
        """How many endpoints of hosts that are to be kept the proxies of a cluster hold, in all."""
        return sum(
            len(targets)
            for _, hosts in self.held[cluster].answered
            for host, targets in hosts.targets.items()
            if self.scopes[cluster].keeps(host)
        )

    @property
    def outside(self) -> tuple[Finding, ...]:
        return tuple(
            finding
            for cluster, scope in self.scopes.items()
            for finding in _outside(scope, self.held[cluster])
        )


def judge(mesh: ObservedMesh, probes: Probes = Probes()) -> Outcome:
    scenario = mesh.scenario
    settled = settle(
        lambda: _look(mesh, probes),
        lambda seen: not seen.outside,
        deadline=mesh.patient(SETTLING_SECONDS),
        interval=0.5,
    )
    seen = settled.value
    findings = [*seen.outside]
    notes = [*_restricted(scenario, seen.scopes), *_not_looked_at(seen)]
    for finding in (*_differing(scenario, seen.scopes), *_exporting(scenario, seen.scopes)):
        if mesh.view.lab.external:
            notes.append(f"{finding.cluster}: {finding.seen}")
        else:
            findings.append(finding)
    kept = [
        cluster
        for cluster, scope in seen.scopes.items()
        if scope.keeps(host_of(mesh.view.kube[cluster]))
    ]
    traffic = mesh.traffic if kept else {}
    for cluster in kept:
        findings += _answered_outside(mesh, traffic[cluster])
        notes.append(f"{cluster}: its clients are to reach HelloWorld in their own cluster only")
    figures: dict[str, Figure] = {}
    for cluster, scope in seen.scopes.items():
        figures[f"{cluster}.cluster_local_hosts"] = len(scope.exposed)
        figures[f"{cluster}.cluster_local_endpoints"] = seen.endpoints(cluster)
        figures[f"{cluster}.proxies"] = len(seen.held[cluster].answered)
    silent = [error for answers in seen.held.values() for _, error in answers.silent]
    if silent and not findings:
        return Outcome.inconclusive(silent[0], figures)
    return Outcome.judged(findings, figures, notes)


def _look(mesh: ObservedMesh, probes: Probes) -> HeldScopes:
    view, scenario = mesh.view, mesh.scenario
    primaries = [each.name for each in scenario.primaries]
    istiods = view.each(probes.scopes, primaries)
    for primary, found in istiods.items():
        if not found:
            raise ProbeError(
                wanted="an istiod that says which hosts it keeps within clusters",
                seen="none is ready",
                where=primary,
                remedy="see CONTROL-1 first",
            )
    known = view.each(probes.advertised, primaries) if scenario.is_multi_network else {}
    scopes = {
        each.name: Scope(
            each.name,
            istiods[scenario.control_plane_of(each.name)],
            frozenset(
                gateway.target
                for those in known.values()
                for gateway in those
                if gateway.network != each.network
            ),
        )
        for each in scenario.data_planes
    }
    return HeldScopes(scopes, view.each(lambda kube: probes.held(kube, scopes[kube.name].patterns)))


def _outside(scope: Scope, held: ProxyAnswers[HeldHosts]) -> Iterator[Finding]:
    for proxy, hosts in held.answered:
        for host, targets in sorted(hosts.targets.items()):
            found = scope.outside(host, targets) if scope.keeps(host) else ()
            if found:
                yield Finding(
                    scope.cluster,
                    f"no endpoint of {host} but those of {scope.cluster} in the proxy of {proxy}",
                    first_of(found, _SHOWN, ", "),
                    hosts.source,
                    Subject((scope.cluster,), objects=(host_object(host),)),
                )


def _differing(scenario: Scenario, scopes: Mapping[str, Scope]) -> Iterator[Finding]:
    """Hosts that some control planes keep within clusters and others do not."""
    primaries = _primaries(scenario, scopes)
    settings = {name: each.settings for name, each in primaries.items()}
    patterns = {pattern for each in primaries.values() for pattern in each.configured}
    for pattern, decided in differing(settings, patterns).items():
        keeping = ", ".join(name for name, local in decided.items() if local)
        for name, local in decided.items():
            if not local:
                yield Finding(
                    name,
                    f"its istiod to keep {pattern} within each cluster, as that of {keeping} does",
                    f"its istiod does not keep {pattern} within each cluster, that of {keeping} "
                    f"does ({_deciding(settings[name], pattern)})",
                    primaries[name].source,
                    Subject((name,), objects=(host_object(pattern),)),
                )


def _primaries(scenario: Scenario, scopes: Mapping[str, Scope]) -> Mapping[str, ServiceScopes]:
    """What an istiod of each control plane says."""
    return {scenario.control_plane_of(name): each.istiods[0] for name, each in scopes.items()}


def _exporting(scenario: Scenario, scopes: Mapping[str, Scope]) -> Iterator[Finding]:
    """Control planes by which services without exportTo are known elsewhere than by the first."""
    (first, reference), *others = _primaries(scenario, scopes).items()
    for name, each in others:
        if each.exported_to != reference.exported_to:
            yield Finding(
                name,
                f"its istiod to export services without exportTo as that of {first} does",
                f"its istiod takes services without exportTo to be known "
                f"{known_where(each.exported_to)}, that of {first} "
                f"{known_where(reference.exported_to)} (defaultServiceExportTo)",
                each.source,
                Subject((name,), objects=(EXPORT_OBJECT,)),
            )


def _restricted(scenario: Scenario, scopes: Mapping[str, Scope]) -> Iterator[str]:
    """Gateways pass on services that their own namespace knows."""
    passed = ", also for gateways to pass them on" if scenario.is_multi_network else ""
    for name, each in _primaries(scenario, scopes).items():
        if EVERYWHERE[0] not in each.exported_to:
            yield (
                f"{name}: services without the annotation {EXPORT_TO} are known "
                f"{known_where(each.exported_to)}, by defaultServiceExportTo: to be known "
                f"elsewhere, they need it{passed}"
            )


def _not_looked_at(seen: HeldScopes) -> Iterator[str]:
    for cluster, scope in seen.scopes.items():
        if hosts := scope.unknown_to(seen.held[cluster]):
            yield (
                f"{cluster}: no proxy of the run and no gateway knows "
                f"{first_of(hosts, _SHOWN, ', ')}: whether other proxies keep that within the "
                "cluster is not verified"
            )


def _deciding(settings: Settings, pattern: str) -> str:
    by = deciding(settings, pattern)
    if not by:
        return "serviceSettings has nothing for it"
    return f"serviceSettings: clusterLocal {str(keeps(settings, pattern)).lower()} for {by}"


def _answered_outside(mesh: ObservedMesh, sample: TrafficSample) -> Iterator[Finding]:
    own = mesh.scenario.cluster(sample.cluster).helloworld
    others = {version: count for version, count in sample.versions.items() if version != own}
    if others:
        yield Finding(
            sample.cluster,
            f"answers from {own} only, as HelloWorld is to be kept within each cluster",
            ", ".join(f"{count} from {version}" for version, count in others.items()),
            sample.source,
            Subject(
                tuple(each.name for each in mesh.scenario.data_planes if each.helloworld in others),
                objects=(host_object(host_of(mesh.view.kube[sample.cluster])),),
            ),
        )


REQUIREMENT = Requirement(
    id="SCOPE-1",
    level="extended",
    title=(
        "Hosts that the mesh configuration keeps within each cluster (clusterLocal) have no "
        "endpoints of other clusters in any proxy, and are answered in the client's cluster only; "
        "primaries agree on them, and on where services are known by default."
    ),
    judge=judge,
    section="Multi-cluster Traffic Management: Keeping traffic in-cluster",
    url="https://istio.io/latest/docs/ops/configuration/traffic-management/multicluster/#keeping-traffic-in-cluster",
    needs="sample",
    rests_on=("CONTROL-2", "DISCOVERY-1", "WORKLOAD-1"),
    features=("multi-cluster",),
)
