"""What istiods hold of HelloWorld, and of other services, in clusters that they say they read,
against what these have; and what these have, against their pods.

Source: Istio, `/debug/endpointShardz` and `/debug/clusterz`; Kubernetes, EndpointSlice.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from mesh_fixtures.diagnosis.cause import (
    Case,
    Cause,
    CauseReach,
    Certainty,
    Evidence,
    Kind,
    Layer,
    asked,
    get,
    listed,
)
from mesh_fixtures.diagnosis.facts import ClusterFacts, Istiod, LostServices
from mesh_fixtures.diagnosis.rules.cluster_access import SYNCED, WRONG_CLUSTER
from mesh_fixtures.probe.lost_services import in_short
from mesh_fixtures.probe.shards import PATH, SERVICE_LABEL, difference
from mesh_fixtures.workloads import SERVICE

STALE = Kind(
    "endpoints-stale",
    Layer.ACCESS,
    ("DISCOVERY-2", "RESILIENCE-1", "RESILIENCE-4"),
    (WRONG_CLUSTER.id,),
)

NO_POD = Kind(
    "endpoints-without-pod",
    Layer.WORKLOAD,
    ("DISCOVERY-2", "TRAFFIC-1", "RESILIENCE-1", "RESILIENCE-4"),
)

_OF_ALL_SERVICES = "DISCOVERY-3"
"""The requirement that services of others than a run's fail."""


def stale(case: Case) -> Iterator[Cause]:
    """A cluster that is said to be synced, whose endpoints are gone or old: a watch that died, or
    what was read by a remote secret's former token was lost with it.
    """
    for _, facts in case.primaries:
        for istiod in facts.istiods or ():
            for cluster, state in sorted((istiod.clusters or {}).items()):
                has = case.facts.clusters.get(cluster)
                if state == SYNCED and has is not None:
                    yield from _stale(case, facts, istiod, has)


def lost(case: Case) -> Iterator[Cause]:
    """Services of which istiod holds nothing in a cluster that it says is synced, and that a
    requirement has missed for longer than endpoints take to arrive.
    """
    if _OF_ALL_SERVICES in case.failures:
        yield from (_lost(case, each) for each in case.facts.lost)


def without_pod(case: Case) -> Iterator[Cause]:
    """Addresses of an EndpointSlice that nobody keeps up to date: made by hand, or left behind."""
    for spec, facts in case.clusters:
        if facts.helloworld is None or facts.pods is None:
            continue
        addresses = {pod.ip for pod in facts.pods_in(case.samples, {})}
        orphans = [each for each in facts.helloworld.ready if each not in addresses]
        if orphans:
            yield Cause(
                NO_POD,
                (spec.name,),
                f"EndpointSlices of HelloWorld in {spec.name} have {listed(orphans)} as ready, "
                "which no pod there has",
                (
                    Evidence(
                        f"ready: {listed(facts.helloworld.ready)}",
                        _slices_of(spec.name, f"{case.samples}/{SERVICE}"),
                    ),
                    Evidence(
                        f"pods: {listed(sorted(addresses - {''}))}",
                        get(spec.name, "pods -o wide", case.samples),
                    ),
                ),
                "delete the EndpointSlice that Kubernetes does not manage (its label "
                "endpointslice.kubernetes.io/managed-by is another or missing)",
            )


RULES = (stale, lost, without_pod)


def _stale(
    case: Case, reader: ClusterFacts, istiod: Istiod, cluster: ClusterFacts
) -> Iterator[Cause]:
    primary, slices = reader.name, cluster.helloworld
    if istiod.helloworld is None or slices is None:
        return
    held = istiod.held(cluster.name)
    differs = difference(held, slices.ready, slices.not_ready)
    if not differs:
        return
    is_own = cluster.name == primary
    yield Cause(
        replace(STALE, reach=CauseReach.INVOLVED) if is_own else STALE,
        (primary,) if is_own else (primary, cluster.name),
        f"istiod of {primary} says that {cluster.name} is synced, and what it holds of HelloWorld "
        f"there {differs}: its clients get that",
        (
            Evidence(
                f"{istiod.pod} holds {listed(sorted(held), 'nothing')} of {cluster.name}",
                asked(case, primary, istiod, PATH),
            ),
            Evidence(
                f"EndpointSlices of {cluster.name}: {listed(slices.ready, 'nothing')} ready",
                _slices_of(cluster.name, f"{slices.namespace}/{SERVICE}"),
            ),
            Evidence(
                f"{istiod.pod}: {cluster.name} {SYNCED}",
                f"istioctl --context={primary} remote-clusters",
            ),
        ),
        _restart(case, primary),
        certainty="certain" if is_own else _certainty(reader),
    )


def _lost(case: Case, each: LostServices) -> Cause:
    return Cause(
        replace(STALE, breaks=(_OF_ALL_SERVICES,)),
        (each.reader, each.cluster),
        f"istiod of {each.reader} says that {each.cluster} is synced, and holds no endpoint there "
        f"of {in_short(each.services)}: its clients do not reach these pods",
        (
            Evidence(
                f"{each.istiod} holds nothing of {each.cluster} for {in_short(each.services)}",
                each.source,
            ),
            *(
                Evidence(
                    f"{service} has pods in {each.cluster} that take traffic",
                    _slices_of(each.cluster, service),
                )
                for service in each.services[:1]
            ),
            Evidence(
                f"{each.istiod}: {each.cluster} {SYNCED}",
                f"istioctl --context={each.reader} remote-clusters",
            ),
        ),
        _restart(case, each.reader),
        certainty=_certainty(case.facts.clusters[each.reader]),
    )


def _certainty(reader: ClusterFacts) -> Certainty:
    """A remote secret that leads elsewhere looks the same."""
    return "likely" if reader.remote_secrets is None else "certain"


def _slices_of(cluster: str, service: str) -> str:
    namespace, _, name = service.partition("/")
    return get(cluster, f"endpointslices -l {SERVICE_LABEL}={name}", namespace)


def _restart(case: Case, primary: str) -> str:
    return (
        f"restart istiod of {primary}: kubectl --context={primary} -n {case.system_namespace} "
        "rollout restart deployment -l app=istiod; then look for its version among Istio's issues: "
        "builds without the fixes of istio/istio #60612, #60920 and #61043 lose endpoints when "
        "remote secrets are rotated"
    )
