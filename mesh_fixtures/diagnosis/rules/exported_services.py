"""Services that other clusters do not know, as they would have to be exported, or as an istiod has
missed that they are.

Source: Istio, pilot-discovery (environment variables), `pilot/pkg/serviceregistry/kube/controller`;
KEP-1645, Multi-Cluster Services API.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import product

from mesh_fixtures.addresses import parsed, target_host
from mesh_fixtures.diagnosis.cause import (
    Case,
    Cause,
    CauseReach,
    Evidence,
    Kind,
    Layer,
    asked,
    get,
    listed,
)
from mesh_fixtures.diagnosis.facts import ClusterFacts, Deployment, Istiod
from mesh_fixtures.diagnosis.rules.mesh_settings import CLUSTER_LOCAL
from mesh_fixtures.install.names import MCS_CLUSTER_LOCAL, MCS_DISCOVERY, MCS_HOST
from mesh_fixtures.kube.resources import SERVICE_EXPORTS
from mesh_fixtures.probe.mcs import MCSSettings
from mesh_fixtures.probe.service_scopes import keeps
from mesh_fixtures.probe.shards import PATH
from mesh_fixtures.scenario import ClusterSpec
from mesh_fixtures.verdict.findings import Subject
from mesh_fixtures.workloads import SERVICE

OFF = Kind("mcs-off", Layer.ROUTING, ("MCS-1",), reach=CauseReach.INVOLVED)

NOT_EXPORTED = Kind(
    "service-not-exported", Layer.ROUTING, ("DISCOVERY-2", "TRAFFIC-1"), reach=CauseReach.SERVERS
)

MISSED = Kind("export-missed", Layer.ACCESS, ("DISCOVERY-2", "TRAFFIC-1", "MCS-1", "RESILIENCE-1"))


def off(case: Case) -> Iterator[Cause]:
    """An istiod takes no notice of exports, in a mesh where services are exported."""
    found = {spec.name: _istiods(case, facts) for spec, facts in case.primaries}
    has_hosts = any(each.host for those in found.values() for each in those.values())
    for spec, facts in case.primaries if case.scenario.mcs else ():
        # an existing mesh may do without names in the cluster set
        host_wanted = has_hosts or facts.parts is not None
        for istiod, settings in found[spec.name].items():
            on = {MCS_DISCOVERY: settings.discovery, MCS_HOST: settings.host or not host_wanted}
            missing = [name for name, is_on in on.items() if not is_on]
            if not missing:
                continue
            wanted = [f"{name}=true" for name in missing]
            yield Cause(
                OFF,
                (spec.name,),
                f"istiod of {spec.name} does not have {listed(wanted)}: its proxies do not know "
                "services as they are exported, and those of other clusters by other rules",
                (
                    Evidence(
                        f"{istiod} has {listed(missing)} not true",
                        get(spec.name, f"deployment {istiod} -o yaml", case.system_namespace),
                    ),
                ),
                f"kubectl --context={spec.name} -n {case.system_namespace} set env "
                f"deployment/{istiod} {' '.join(wanted)}, and set values.pilot.env of its "
                "installation, so that it stays",
                about=Subject((spec.name,)),
            )


def not_exported(case: Case) -> Iterator[Cause]:
    """HelloWorld is not exported from a cluster, so that no client elsewhere knows its pods."""
    for spec, facts in case.clusters if case.scenario.mcs and case.samples else ():
        if facts.exported is not False or not _heeds(case, spec.name):
            continue
        kind = SERVICE_EXPORTS.full_name
        yield Cause(
            NOT_EXPORTED,
            (spec.name,),
            f"{SERVICE} is not exported from {spec.name}: there is no ServiceExport "
            f"{case.samples}/{SERVICE}, so that clients in other clusters get no endpoint of it",
            (
                Evidence(
                    f"no ServiceExport {SERVICE} in {case.samples}",
                    get(spec.name, kind, case.samples),
                ),
            ),
            f"apply a ServiceExport {SERVICE} in the namespace {case.samples} of {spec.name}; "
            f"where the kind is not defined there, define it first (step mcs-api/{spec.name} of "
            "the plan)",
            step=f"helloworld-service/{spec.name}",
            about=Subject((spec.name,)),
        )


def missed(case: Case) -> Iterator[Cause]:
    """An istiod that holds the endpoints of an exported service and gives clients in other clusters
    none of them, although it knows how these get there.

    One that learns of EndpointSlices and ServiceExports before their Service, as it starts, takes
    the endpoints for those of a service that is not exported, and does not look again.
    """
    for primary, facts in case.primaries:
        settings = _istiods(case, facts).values()
        if not all(each.discovery and not each.cluster_local for each in settings):
            continue
        for istiod, (server, serving) in product(facts.istiods or (), case.clusters):
            if not serving.exported or serving.helloworld is None:
                continue
            held = istiod.held(server.name)
            if held & {*serving.helloworld.ready}:
                yield from _missed(case, primary.name, istiod, server, sorted(held))


def _missed(
    case: Case, reader: str, istiod: Istiod, server: ClusterSpec, held: Sequence[str]
) -> Iterator[Cause]:
    for spec, facts in case.clusters:
        client = facts.client
        if spec.name == server.name or client is None or not client.endpoints:
            continue
        if not _is_up_to_date(istiod, f"{spec.name}/{client.pod}.{case.samples}"):
            continue
        ways = _ways(case, istiod, spec, server, held)
        if not ways or ways & {target_host(each.target) for each in client.endpoints}:
            continue
        kind = SERVICE_EXPORTS.full_name
        export = get(server.name, f"{kind} {SERVICE} -o yaml", case.samples)
        is_own = server.name == reader
        yield Cause(
            replace(MISSED, reach=CauseReach.INVOLVED) if is_own else MISSED,
            (reader,) if is_own else (reader, server.name),
            f"istiod of {reader} has missed that {SERVICE} is exported from {server.name}: it "
            f"holds the endpoints there, and gives its clients in {spec.name} none of them",
            (
                Evidence(f"ServiceExport {case.samples}/{SERVICE} is in {server.name}", export),
                Evidence(
                    f"{istiod.pod} holds {listed(held)} of {server.name}",
                    asked(case, reader, istiod, PATH),
                ),
                Evidence(
                    f"Sleep's proxy in {spec.name} knows "
                    f"{listed([each.target for each in client.endpoints])}, and nothing at "
                    f"{listed(sorted(ways))}",
                    client.source,
                ),
            ),
            f"replace the ServiceExport, upon which istiod looks again: {export} | kubectl "
            f"--context={server.name} replace --force -f -; a restart of istiod may do, too, but "
            "can bring it back: it happens where istiod, as it starts, learns of EndpointSlices "
            "and ServiceExports before Services",
        )
        return


def cluster_local(case: Case) -> Iterator[Cause]:
    """An istiod keeps Kubernetes' names within each cluster, whatever is exported."""
    for spec, facts in case.primaries:
        for istiod, settings in _istiods(case, facts).items():
            if not settings.cluster_local:
                continue
            yield Cause(
                CLUSTER_LOCAL,
                (spec.name,),
                f"istiod of {spec.name} keeps every service within each cluster: by "
                f"{MCS_CLUSTER_LOCAL}, only names in clusterset.local stand for endpoints of other "
                f"clusters, and {case.host} is none",
                (
                    Evidence(
                        f"{istiod} has {MCS_CLUSTER_LOCAL}=true",
                        get(spec.name, f"deployment {istiod} -o yaml", case.system_namespace),
                    ),
                ),
                f"remove {MCS_CLUSTER_LOCAL} from values.pilot.env of {spec.name}; or ask by names "
                "in clusterset.local only, and expect the guide's check to fail",
                about=Subject(
                    tuple(
                        each.name
                        for each in case.scenario.clusters
                        if case.scenario.control_plane_of(each.name) == spec.name
                    )
                ),
            )
            break


RULES = (off, not_exported, missed, cluster_local)


def _istiods(case: Case, facts: ClusterFacts) -> Mapping[str, MCSSettings]:
    """What istiods are told, by the name of their Deployment."""
    found: list[Deployment] = [
        each
        for each in facts.deployments or ()
        if each.namespace == case.system_namespace and each.labels.get("app") == "istiod"
    ]
    return {each.name: MCSSettings.read(each.settings) for each in found if each.ready}


def _is_up_to_date(istiod: Istiod, proxy: str) -> bool:
    """Whether istiod configures a proxy, and that has rejected nothing and is behind with nothing
    but endpoints, as it always may be by what istiod says.
    """
    waiting = [each for each in istiod.unsynced if each.startswith(f"{proxy} ")]
    return proxy in (istiod.connected or ()) and all(
        each == f"{proxy} EDS stale" for each in waiting
    )


def _ways(
    case: Case, istiod: Istiod, client: ClusterSpec, server: ClusterSpec, held: Sequence[str]
) -> frozenset[str]:
    """Addresses by which Sleep's proxy gets to a server's pods; none where istiod keeps the service
    within clusters, and where the proxy asks for endpoints of other networks only.
    """
    clients = case.facts.clusters[client.name].pods_in(case.samples, {"app": "sleep"})
    views = [view.split(",") for pod in clients if (view := (pod.proxy or {}).get("view"))]
    unwanted = any(server.network not in each for each in views)
    if unwanted or keeps(istiod.cluster_local or {}, case.host):
        return frozenset()
    if case.scenario.same_network(client.name, server.name):
        return frozenset(held)
    return frozenset(
        each.address
        for each in istiod.gateways or ()
        if each.network == server.network and parsed(each.address) is not None
    )


def _heeds(case: Case, exporting: str) -> bool:
    """Whether an istiod of clients in other clusters gives them what is exported only."""
    controlling = {
        case.scenario.control_plane_of(each.name)
        for each in case.scenario.clusters
        if each.name != exporting
    }
    return any(
        settings.discovery
        for spec, facts in case.primaries
        if spec.name in controlling
        for settings in _istiods(case, facts).values()
    )
