"""Services that other clusters do not know, as they would have to be exported.

Source: Istio, pilot-discovery (environment variables); KEP-1645, Multi-Cluster Services API.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from mesh_fixtures.diagnosis.cause import (
    Case,
    Cause,
    CauseReach,
    Evidence,
    Kind,
    Layer,
    get,
    listed,
)
from mesh_fixtures.diagnosis.facts import ClusterFacts, Deployment
from mesh_fixtures.diagnosis.rules.mesh_settings import CLUSTER_LOCAL
from mesh_fixtures.install.names import MCS_CLUSTER_LOCAL, MCS_DISCOVERY, MCS_HOST
from mesh_fixtures.kube.resources import SERVICE_EXPORTS
from mesh_fixtures.probe.mcs import MCSSettings
from mesh_fixtures.verdict.findings import Subject
from mesh_fixtures.workloads import SERVICE

OFF = Kind("mcs-off", Layer.ROUTING, ("MCS-1",), reach=CauseReach.INVOLVED)

NOT_EXPORTED = Kind(
    "service-not-exported", Layer.ROUTING, ("DISCOVERY-2", "TRAFFIC-1"), reach=CauseReach.SERVERS
)


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
        kind = f"{SERVICE_EXPORTS.plural}.{SERVICE_EXPORTS.group}"
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


RULES = (off, not_exported, cluster_local)


def _istiods(case: Case, facts: ClusterFacts) -> Mapping[str, MCSSettings]:
    """What istiods are told, by the name of their Deployment."""
    found: list[Deployment] = [
        each
        for each in facts.deployments or ()
        if each.namespace == case.system_namespace and each.labels.get("app") == "istiod"
    ]
    return {each.name: MCSSettings.read(each.settings) for each in found if each.ready}


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
