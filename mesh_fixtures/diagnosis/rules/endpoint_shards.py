"""What istiods hold of HelloWorld in clusters that they say they read, against what these have; and
what these have, against their pods.

Source: Istio, `/debug/endpointShardz` and `/debug/clusterz`; Kubernetes, EndpointSlice.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from mesh_fixtures.diagnosis.cause import Case, Cause, Evidence, Kind, Layer, Reach, get, listed
from mesh_fixtures.diagnosis.facts import ClusterFacts, Istiod
from mesh_fixtures.diagnosis.rules.cluster_access import SYNCED, WRONG_CLUSTER
from mesh_fixtures.probe.shards import difference

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

_SHOW = "endpointslices -l kubernetes.io/service-name=helloworld"


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
                        get(spec.name, _SHOW, case.samples),
                    ),
                    Evidence(
                        f"pods: {listed(sorted(addresses - {''}))}",
                        get(spec.name, "pods -o wide", case.samples),
                    ),
                ),
                "delete the EndpointSlice that Kubernetes does not manage (its label "
                "endpointslice.kubernetes.io/managed-by is another or missing)",
            )


RULES = (stale, without_pod)


def _stale(
    case: Case, reader: ClusterFacts, istiod: Istiod, cluster: ClusterFacts
) -> Iterator[Cause]:
    primary, slices = reader.name, cluster.helloworld
    if istiod.helloworld is None or slices is None:
        return
    held = {each.address for each in istiod.helloworld if each.cluster == cluster.name}
    differs = difference(held, slices.ready, slices.not_ready)
    if not differs:
        return
    is_own = cluster.name == primary
    request = f"kubectl --context={primary} -n {case.system_namespace} exec {istiod.pod} -- "
    yield Cause(
        replace(STALE, reach=Reach.INVOLVED) if is_own else STALE,
        (primary,) if is_own else (primary, cluster.name),
        f"istiod of {primary} says that {cluster.name} is synced, and what it holds of HelloWorld "
        f"there {differs}: its clients get that",
        (
            Evidence(
                f"{istiod.pod} holds {listed(sorted(held), 'nothing')} of {cluster.name}",
                f"{request}pilot-discovery request GET /debug/endpointShardz",
            ),
            Evidence(
                f"EndpointSlices of {cluster.name}: {listed(slices.ready, 'nothing')} ready",
                get(cluster.name, _SHOW, slices.namespace),
            ),
            Evidence(
                f"{istiod.pod}: {cluster.name} {SYNCED}",
                f"istioctl --context={primary} remote-clusters",
            ),
        ),
        f"restart istiod of {primary}: kubectl --context={primary} -n {case.system_namespace} "
        "rollout restart deployment/istiod; then look for its version among Istio's issues",
        # a remote secret that leads elsewhere looks the same
        certainty="likely" if reader.remote_secrets is None and not is_own else "certain",
    )
