"""MCS-1: what a cluster exports is known in all others, and what it does not export in none.

Each cluster exports a service that all of them have. Of that, clients in other clusters have to get
answers of the exporting cluster, by Kubernetes' name and by that in the cluster set, and none of a
third one. Those of a client's own cluster that it does not export are a case apart: Kubernetes'
name stands for them in any mode, and by that in the cluster set istiod lets clients reach them,
too, where KEP-1645 would not. The latter is not judged.

Source: Istio, pilot-discovery (environment variables; all of it is experimental) and the tests of
that; KEP-1645, Multi-Cluster Services API.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Final

from mesh_fixtures.addresses import families
from mesh_fixtures.errors import ProbeError
from mesh_fixtures.install.names import MCS_DISCOVERY, MCS_HOST
from mesh_fixtures.kube import KubeClient
from mesh_fixtures.kube.resources import SERVICE_EXPORTS, SERVICE_IMPORTS
from mesh_fixtures.probe.envoy import Endpoints, endpoints
from mesh_fixtures.probe.gateways import NetworkGateway, advertised
from mesh_fixtures.probe.mcs import CLUSTER_SET, MCSSettings, mcs_settings
from mesh_fixtures.probe.name_lookups import AskedNames, ask_names
from mesh_fixtures.probe.traffic import Answer, Failure
from mesh_fixtures.probe.view import MeshView
from mesh_fixtures.probe.workloads import SLEEP, Workload, workloads
from mesh_fixtures.requirements.exported_services import ExportedServices, exported_services
from mesh_fixtures.requirements.observed import ObservedMesh
from mesh_fixtures.requirements.requirement import Figure, Outcome, Requirement
from mesh_fixtures.verdict.convergence import settle
from mesh_fixtures.verdict.expectations import (
    Backend,
    backends,
    destinations,
    gateways_for,
)
from mesh_fixtures.verdict.findings import Finding, Subject
from mesh_fixtures.verdict.statistics import rounds_to_see_all
from mesh_fixtures.workloads import PORT, host

SETTLING_SECONDS: Final = 20.0
"""For services, exports and imports to be known to clients and gateways."""

LEAST_ROUNDS: Final = 6
MOST_ROUNDS: Final = 24
"""Of requests: each of two servers of equal weight is missed by all with 1 in 8 million. Where more
have to answer, there are more rounds."""

_NOT_RESOLVED: Final = 6  # of curl


def held(kube: KubeClient, hosts: Collection[str]) -> Mapping[str, Endpoints]:
    """What Sleep's proxy knows of hosts, by host."""
    pod = kube.pod_of(kube.sample_namespace, SLEEP)
    return {each: endpoints(kube, pod, f"outbound|{PORT}||{each}") for each in hosts}


def exporting(kube: KubeClient, services: Collection[str]) -> frozenset[str]:
    """Which of some services are exported from a cluster."""
    return frozenset(
        each for each in services if kube.get(SERVICE_EXPORTS, kube.sample_namespace, each)
    )


def undefined(kube: KubeClient) -> tuple[str, ...]:
    """Kinds of Multi-Cluster Services that a cluster does not know."""
    kinds = (SERVICE_EXPORTS, SERVICE_IMPORTS)
    return tuple(each.kind for each in kinds if not kube.defines(each))


def made(view: MeshView, imported: bool) -> AbstractContextManager[ExportedServices]:
    return exported_services(view, imported=imported)


@dataclass(frozen=True)
class Probes:
    """How the mesh is observed."""

    settings: Callable[[KubeClient], Mapping[str, MCSSettings]] = mcs_settings
    undefined: Callable[[KubeClient], tuple[str, ...]] = undefined
    made: Callable[[MeshView, bool], AbstractContextManager[ExportedServices]] = made
    exporting: Callable[[KubeClient, Collection[str]], frozenset[str]] = exporting
    workloads: Callable[[KubeClient], Sequence[Workload]] = workloads
    advertised: Callable[[KubeClient], tuple[NetworkGateway, ...]] = advertised
    held: Callable[[KubeClient, Collection[str]], Mapping[str, Endpoints]] = held
    ask: Callable[[KubeClient, Sequence[str]], AskedNames] = ask_names


@dataclass(frozen=True)
class ExportedName:
    """A name of a service that some clusters export, and what a client is to get by it.

    Attributes:
        host: full name.
        exporting: clusters that export it.
        must: clusters whose pods have to answer.
        may: those whose pods may answer, too.
        in_set: whether it is that in the cluster set.
    """

    host: str
    exporting: tuple[str, ...]
    must: frozenset[str]
    may: frozenset[str]
    in_set: bool = False

    @property
    def exported(self) -> str:
        """From where it is exported, in words."""
        return f"exported from {' and '.join(self.exporting) or 'no cluster'}"


@dataclass(frozen=True)
class Targets:
    """Where the requests of a client go, as `address:port` by the cluster that they lead to.

    Attributes:
        needed: what a client must have.
        by_cluster: all that it may have.
    """

    needed: Mapping[str, frozenset[str]]
    by_cluster: Mapping[str, frozenset[str]]

    def of(self, clusters: Collection[str]) -> frozenset[str]:
        """All that leads to clusters."""
        return _joined(self.by_cluster, clusters)

    def needed_of(self, clusters: Collection[str]) -> frozenset[str]:
        """What a client must have that leads to clusters."""
        return _joined(self.needed, clusters)

    def named(self, targets: Collection[str]) -> str:
        """Targets with the clusters that they lead to."""
        return ", ".join(f"{target} of {self._cluster(target)}" for target in sorted(targets))

    def _cluster(self, target: str) -> str:
        found = [name for name, targets in self.by_cluster.items() if target in targets]
        return " or ".join(found) or "no cluster of the mesh"


def _joined(targets: Mapping[str, frozenset[str]], clusters: Collection[str]) -> frozenset[str]:
    return frozenset().union(*(targets.get(each, frozenset()) for each in clusters))


@dataclass(frozen=True)
class SeenExportedNames:
    """What clients knew and got, by their cluster.

    Attributes:
        instances: the cluster of each pod of HelloWorld.
        exporting: clusters that export each service, by its name.
    """

    names: Mapping[str, Sequence[ExportedName]]
    targets: Mapping[str, Targets]
    held: Mapping[str, Mapping[str, Endpoints]]
    asked: Mapping[str, AskedNames]
    instances: Mapping[str, str]
    services: ExportedServices
    exporting: Mapping[str, Sequence[str]]

    @property
    def findings(self) -> tuple[Finding, ...]:
        return tuple(
            finding
            for cluster, names in self.names.items()
            for name in names
            for finding in self._of(cluster, name)
        )

    def answered(self, cluster: str, name: ExportedName) -> str:
        """The cluster whose pod answered a client; empty where none of the mesh did."""
        answer = self.asked[cluster].answers.get(name.host)
        return self.instances.get(answer.instance, "") if isinstance(answer, Answer) else ""

    def _of(self, cluster: str, name: ExportedName) -> Iterator[Finding]:
        yield from misdirected(cluster, name, self.targets[cluster], self.held[cluster][name.host])
        asked = self.asked[cluster]
        if name.in_set and asked.table is not None:
            known = asked.table.get(name.host, frozenset())
            wanted = self.services.imports[cluster][name.host.partition(".")[0]]
            if known != frozenset(wanted):
                yield Finding(
                    cluster,
                    f"{name.host} to stand for {', '.join(wanted)}, as its ServiceImport has it",
                    f"{', '.join(sorted(known)) or 'no address'} in its proxy's table of names",
                    asked.source,
                    Subject(name.exporting),
                )
        yield from misanswered(cluster, name, asked, self.instances)


def misdirected(
    cluster: str, name: ExportedName, targets: Targets, held: Endpoints
) -> Iterator[Finding]:
    """Endpoints that a client's proxy does not have and should, and those that it should not.

    Args:
        cluster: of the client.
        held: by its proxy, of that name.
    """
    present = {each.target for each in held.endpoints}
    missing = targets.needed_of(name.must) - present
    if missing or not held.known:
        away = [each for each in sorted(name.must) if targets.of((each,)) & missing]
        yield Finding(
            cluster,
            f"endpoints of {name.host}, {name.exported}, in Sleep's proxy: "
            f"{targets.named(missing) or 'some'}",
            str(held),
            held.source,
            Subject(tuple(away) or name.exporting),
        )
    if beyond := present - targets.of(name.may):
        those = [each for each, own in targets.by_cluster.items() if own & beyond]
        yield Finding(
            cluster,
            f"no endpoint of {name.host}, {name.exported}, but those of "
            f"{' and '.join(sorted(name.may))}",
            targets.named(beyond),
            held.source,
            Subject(tuple(those)),
        )


def misanswered(
    cluster: str, name: ExportedName, asked: AskedNames, instances: Mapping[str, str]
) -> Iterator[Finding]:
    """What is wrong with the answer that a client got.

    Args:
        instances: the cluster of each pod of HelloWorld.
    """
    answer = asked.answers.get(name.host)
    if answer is None:
        return
    by = instances.get(answer.instance, "") if isinstance(answer, Answer) else ""
    if by in name.may:
        return
    yield Finding(
        cluster,
        f"an answer of {' or '.join(sorted(name.may))} by {name.host}, {name.exported}",
        f"an answer of {answer.instance} in {by or 'no cluster of the mesh'}"
        if isinstance(answer, Answer)
        else str(answer).partition(": ")[2],
        asked.source,
        Subject((by,) if by else name.exporting),
    )


def expected_names(
    scenario_clusters: Sequence[str],
    client: str,
    settings: MCSSettings,
    hosts: Mapping[tuple[str, str], Collection[str]],
    in_set: Collection[str],
) -> tuple[ExportedName, ...]:
    """What a client is to get of services that some clusters export.

    Args:
        scenario_clusters: names of all clusters, which all have the services.
        client: its cluster.
        settings: of the istiod that configures it.
        hosts: clusters that export a service, by Kubernetes' name of it and that in the set.
        in_set: clusters whose istiods know names in the cluster set.
    """
    everywhere = frozenset(scenario_clusters)
    found = []
    for (name, name_in_set), clusters in hosts.items():
        exporting = tuple(each for each in scenario_clusters if each in clusters)
        both = frozenset({client, *exporting})
        if not settings.discovery:
            must = everywhere
        elif settings.cluster_local:
            must = frozenset({client})
        else:
            must = both
        found.append(ExportedName(name, exporting, must, must))
        if settings.host and {*exporting} <= {*in_set}:
            only = frozenset(exporting)
            found.append(ExportedName(name_in_set, exporting, only, both, in_set=True))
    return tuple(found)


def judge(mesh: ObservedMesh, probes: Probes = Probes()) -> Outcome:
    view, scenario = mesh.view, mesh.scenario
    missing = {name: kinds for name, kinds in view.each(probes.undefined).items() if kinds}
    if missing:
        return Outcome.judged(_without_kinds(name, kinds) for name, kinds in missing.items())
    primaries = [each.name for each in scenario.primaries]
    found = {name: dict(each) for name, each in view.each(probes.settings, primaries).items()}
    if silent := [name for name, each in found.items() if not each]:
        raise ProbeError(
            wanted="an istiod that says whether services are exported",
            seen="none is ready",
            where=", ".join(silent),
            remedy="see CONTROL-1 first",
        )
    findings: list[Finding] = []
    notes: list[str] = []
    wanted = _wanted(mesh, found)
    for finding in _differing(found, wanted):
        if view.lab.external:
            notes.append(f"{finding.cluster}: {finding.seen}")
        else:
            findings.append(finding)
    expected = _expected(mesh, found, wanted)
    imported = any(each.host for each in expected.values())
    with probes.made(view, imported) as services:
        settled = settle(
            lambda: _look(mesh, probes, expected, services),
            lambda seen: not seen.findings,
            deadline=mesh.patient(SETTLING_SECONDS),
            interval=0.5,
        )
        seen = settled.value
        findings += seen.findings
        rounds = 1
        if not findings:
            unanswered, rounds = _ask_all(mesh, probes, seen)
            findings += unanswered
    for cluster, service in services.names.items():
        if beyond := [each for each in seen.exporting[service] if each != cluster]:
            notes.append(f"{service} is exported from {' and '.join(beyond)}, too, by istiod")
    if services.made_here:
        notes.append(
            "nothing makes ServiceImports of what is exported: those of the services that were "
            "asked for were made by this run"
        )
    figures: dict[str, Figure] = {"seconds_to_names": round(settled.seconds, 3), "rounds": rounds}
    for cluster, those in seen.names.items():
        figures[f"{cluster}.names"] = len(those)
    notes += _unresolved(seen)
    return Outcome.judged(findings, figures, notes)


def _without_kinds(cluster: str, kinds: Sequence[str]) -> Finding:
    return Finding(
        cluster,
        "the kinds ServiceExport and ServiceImport to be defined",
        f"no {' and no '.join(kinds)}",
        about=Subject((cluster,)),
    )


def _wanted(mesh: ObservedMesh, found: Mapping[str, Mapping[str, MCSSettings]]) -> MCSSettings:
    """What all istiods are to do: a lab's as its scenario says, others as any of them does."""
    each = [one for those in found.values() for one in those.values()]
    ours = not mesh.view.lab.external
    return MCSSettings(
        discovery=ours or any(one.discovery for one in each),
        host=ours or any(one.host for one in each),
        cluster_local=any(one.cluster_local for one in each),
    )


def _differing(
    found: Mapping[str, Mapping[str, MCSSettings]], wanted: MCSSettings
) -> Iterator[Finding]:
    for cluster, istiods in found.items():
        for pod, settings in istiods.items():
            for name, on, to_be in (
                (MCS_DISCOVERY, settings.discovery, wanted.discovery),
                (MCS_HOST, settings.host, wanted.host),
            ):
                if to_be and not on:
                    yield Finding(
                        cluster,
                        f"its istiod to have {name}=true, as the mesh exports services",
                        f"its istiod {pod} does not have {name}=true",
                        about=Subject((cluster,)),
                    )


def _expected(
    mesh: ObservedMesh, found: Mapping[str, Mapping[str, MCSSettings]], wanted: MCSSettings
) -> Mapping[str, MCSSettings]:
    """What is to hold for the clients of each cluster: in an existing mesh, istiods may differ on
    purpose, and each decides for its own.
    """
    own = {name: next(iter(each.values())) for name, each in found.items()}
    scenario = mesh.scenario
    return {
        each.name: own[scenario.control_plane_of(each.name)] if mesh.view.lab.external else wanted
        for each in scenario.data_planes
    }


def _names(
    mesh: ObservedMesh,
    expected: Mapping[str, MCSSettings],
    exporting: Mapping[str, Collection[str]],
) -> Mapping[str, tuple[ExportedName, ...]]:
    """By cluster of the client.

    Args:
        exporting: clusters that export a service, by its name.
    """
    view = mesh.view
    namespace, domain = view.lab.sample_namespace, view.lab.names.cluster_domain
    hosts = {
        (host(namespace, service, domain), host(namespace, service, CLUSTER_SET)): clusters
        for service, clusters in exporting.items()
    }
    in_set = [cluster for cluster, each in expected.items() if each.host]
    return {
        client: expected_names([*view.data_planes], client, expected[client], hosts, in_set)
        for client in view.data_planes
    }


def _look(
    mesh: ObservedMesh,
    probes: Probes,
    expected: Mapping[str, MCSSettings],
    services: ExportedServices,
) -> SeenExportedNames:
    view, scenario = mesh.view, mesh.scenario
    exported = view.each(lambda kube: probes.exporting(kube, [*services.names.values()]))
    exporting = {
        service: tuple(cluster for cluster, those in exported.items() if service in those)
        for service in services.names.values()
    }
    names = _names(mesh, expected, exporting)
    pods = backends(each for those in view.each(probes.workloads).values() for each in those)
    primaries = [each.name for each in scenario.primaries]
    known = view.each(probes.advertised, primaries) if scenario.is_multi_network else {}
    targets = {client: _targets(mesh, client, pods, known) for client in view.data_planes}
    held = view.each(lambda kube: probes.held(kube, [each.host for each in names[kube.name]]))
    asked = view.each(lambda kube: probes.ask(kube, [each.host for each in names[kube.name]]))
    instances = {each.pod: each.cluster for each in pods}
    return SeenExportedNames(
        names,
        targets,
        held,
        {cluster: _resolved(each) for cluster, each in asked.items()},
        instances,
        services,
        exporting,
    )


def _targets(
    mesh: ObservedMesh,
    client: str,
    pods: Sequence[Backend],
    advertised: Mapping[str, Sequence[NetworkGateway]],
) -> Targets:
    scenario, routed = mesh.scenario, mesh.view.lab.external
    ways = gateways_for(scenario, client, advertised)
    kube = mesh.view.kube[client]
    own = families(kube.pod_of(kube.sample_namespace, SLEEP).addresses)
    found = {
        cluster: destinations(
            scenario,
            client,
            [pod for pod in pods if pod.cluster == cluster],
            ways,
            own,
            routed=routed,
        )
        for cluster in mesh.view.data_planes
    }
    return Targets(
        {
            cluster: frozenset(target for each in those for target in each.targets)
            for cluster, those in found.items()
        },
        {
            cluster: frozenset(target for each in those for target in each.all_targets)
            for cluster, those in found.items()
        },
    )


def _resolved(asked: AskedNames) -> AskedNames:
    """Without what could not be asked for, as nothing resolves names in the cluster set: that is
    for a mesh's DNS proxying, or for an implementation of Multi-Cluster Services.
    """
    if asked.table is not None:
        return asked
    answers = {name: each for name, each in asked.answers.items() if not _is_unresolved(name, each)}
    return AskedNames(asked.source, None, answers)


def _is_unresolved(name: str, answer: Answer | Failure) -> bool:
    return (
        name.endswith(f".{CLUSTER_SET}")
        and isinstance(answer, Failure)
        and answer.curl_exit == _NOT_RESOLVED
    )


def _unresolved(seen: SeenExportedNames) -> Iterator[str]:
    for cluster, names in seen.names.items():
        if any(each.host not in seen.asked[cluster].answers for each in names):
            yield (
                f"{cluster}: nothing resolves names in {CLUSTER_SET}: their endpoints are "
                "verified, and no requests to them"
            )


def _ask_all(
    mesh: ObservedMesh, probes: Probes, seen: SeenExportedNames
) -> tuple[list[Finding], int]:
    """What was not answered as it must be in many rounds of requests, and how many these were."""
    wanted = {
        cluster: [each for each in names if each.host in seen.asked[cluster].answers]
        for cluster, names in seen.names.items()
    }
    used = {
        (cluster, name): _used(seen, cluster, name)
        for cluster, names in wanted.items()
        for name in names
    }
    missed = {
        (cluster, name): those - {seen.answered(cluster, name)}
        for (cluster, name), those in used.items()
    }
    most = rounds_to_see_all(max(map(len, used.values()), default=0), 1, MOST_ROUNDS)
    for count in range(2, most + 1):
        asked = mesh.view.each(
            lambda kube: probes.ask(kube, [each.host for each in wanted[kube.name]])
        )
        findings = [
            finding
            for cluster, names in wanted.items()
            for name in names
            for finding in misanswered(cluster, name, asked[cluster], seen.instances)
        ]
        if findings:
            return findings, count
        for (cluster, name), left in missed.items():
            answer = asked[cluster].answers[name.host]
            if isinstance(answer, Answer):
                missed[cluster, name] = left - {seen.instances[answer.instance]}
        if count >= LEAST_ROUNDS and not any(missed.values()):
            return [], count
    return [
        Finding(
            cluster,
            f"answers of {' and '.join(sorted(name.must))} by {name.host}, {name.exported}",
            f"none of {' and '.join(sorted(left))} among {most}",
            seen.asked[cluster].source,
            Subject(tuple(sorted(left))),
        )
        for (cluster, name), left in missed.items()
        if left
    ], most


def _used(seen: SeenExportedNames, cluster: str, name: ExportedName) -> frozenset[str]:
    """Clusters that have to answer a client, but those that its proxy holds in reserve."""
    used = {each.target for each in seen.held[cluster][name.host].in_use}
    return frozenset(each for each in name.must if seen.targets[cluster].of((each,)) & used)


REQUIREMENT = Requirement(
    id="MCS-1",
    level="extended",
    title=(
        "With Multi-Cluster Services, a service that one cluster exports is answered from there in "
        "every cluster, by Kubernetes' name and by that in clusterset.local; no client gets "
        "endpoints or answers of another cluster that does not export it."
    ),
    judge=judge,
    section="pilot-discovery: Environment variables (ENABLE_MCS_SERVICE_DISCOVERY)",
    url="https://istio.io/latest/docs/reference/commands/pilot-discovery/#envvars",
    needs="sample",
    rests_on=("DISCOVERY-2", "TRAFFIC-1"),
    features=("multi-cluster", "mcs"),
)
