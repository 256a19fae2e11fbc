"""What istiods hold of HelloWorld in clusters that they say they read, against what these have.

Source: Istio, `/debug/endpointShardz` and `/debug/clusterz`; Kubernetes, EndpointSlice.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from mesh_fixtures.diagnosis.cause import Case, Cause, Evidence, Kind, Layer, Reach, get, listed
from mesh_fixtures.diagnosis.facts import ClusterFacts, Istiod
from mesh_fixtures.diagnosis.rules.cluster_access import SYNCED
from mesh_fixtures.install.names import SYSTEM_NAMESPACE
from mesh_fixtures.probe.shards import difference

STALE = Kind("endpoints-stale", Layer.ACCESS, ("DISCOVERY-2", "RESILIENCE-1", "RESILIENCE-4"))


def stale(case: Case) -> Iterator[Cause]:
    """A cluster that is said to be synced, whose endpoints are gone or old: a watch that died, or
    what was read by a remote secret's former token was lost with it.
    """
    for spec, facts in case.primaries:
        for istiod in facts.istiods or ():
            for cluster, state in sorted((istiod.clusters or {}).items()):
                has = case.facts.clusters.get(cluster)
                if state == SYNCED and has is not None:
                    yield from _stale(spec.name, istiod, has)


RULES = (stale,)


def _stale(primary: str, istiod: Istiod, cluster: ClusterFacts) -> Iterator[Cause]:
    slices = cluster.helloworld
    if istiod.helloworld is None or slices is None:
        return
    held = {each.address for each in istiod.helloworld if each.cluster == cluster.name}
    differs = difference(held, slices.ready, slices.not_ready)
    if not differs:
        return
    is_own = cluster.name == primary
    request = f"kubectl --context={primary} -n {SYSTEM_NAMESPACE} exec {istiod.pod} -- "
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
                get(
                    cluster.name,
                    "endpointslices -l kubernetes.io/service-name=helloworld",
                    slices.namespace,
                ),
            ),
            Evidence(
                f"{istiod.pod}: {cluster.name} {SYNCED}",
                f"istioctl --context={primary} remote-clusters",
            ),
        ),
        f"restart istiod of {primary}: kubectl --context={primary} -n {SYSTEM_NAMESPACE} rollout "
        "restart deployment/istiod; then look for its version among Istio's issues",
    )
