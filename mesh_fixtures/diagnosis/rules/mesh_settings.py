"""Settings of the mesh as a whole by which its clusters do not share their services.

Source: Istio, Global Mesh Options (ServiceSettings); Multi-cluster Traffic Management
(clusterLocal). An istiod applies its own settings to the proxies that it configures.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from mesh_fixtures.diagnosis.cause import Case, Cause, Evidence, Kind, Layer
from mesh_fixtures.verdict.findings import Subject

CLUSTER_LOCAL = Kind("services-cluster-local", Layer.ROUTING, ("DISCOVERY-2", "TRAFFIC-1"))


def cluster_local(case: Case) -> Iterator[Cause]:
    """HelloWorld is declared to be local to each cluster; refuted by a client's proxy that knows
    endpoints of it in other clusters.
    """
    host = case.host
    for spec, facts in case.primaries:
        for istiod in facts.istiods or ():
            settings = istiod.cluster_local or {}
            pattern = deciding(settings, host)
            if not pattern or not settings[pattern]:
                continue
            governed = tuple(
                each.name
                for each, _ in case.clusters
                if case.scenario.control_plane_of(each.name) == spec.name
                and not _knows_others(case, each.name)
            )
            if not governed:
                continue
            source = (
                f"kubectl --context={spec.name} -n {case.system_namespace} exec {istiod.pod} -- "
                "pilot-discovery request GET /debug/mesh"
            )
            yield Cause(
                CLUSTER_LOCAL,
                (spec.name,),
                f"the mesh configuration of {spec.name} declares {pattern} local to each cluster: "
                f"serviceSettings has clusterLocal for it, so clients of {host} are given no "
                "endpoint of another cluster",
                (Evidence(f"serviceSettings: clusterLocal true for hosts {pattern}", source),),
                f"remove clusterLocal for {pattern} from serviceSettings of the mesh configuration "
                f"of {spec.name} (meshConfig.serviceSettings of its installation; ConfigMap istio "
                f"in {case.system_namespace}), or set it to false for {host}",
                about=Subject(governed),
            )
            break


RULES = (cluster_local,)


def deciding(settings: Mapping[str, object], host: str) -> str:
    """The pattern that decides on a host: the most specific that matches it; empty for none."""
    matching = [
        pattern
        for pattern in settings
        if pattern == host or (pattern.startswith("*") and host.endswith(pattern[1:]))
    ]
    return max(matching, key=lambda each: (each == host, len(each)), default="")


def _knows_others(case: Case, cluster: str) -> bool:
    """Whether clients in a cluster know HelloWorld of another one, by its pods or a gateway."""
    facts = case.facts.clusters[cluster]
    known = (facts.client.endpoints or ()) if facts.client else ()
    own = {pod.ip for pod in facts.pods_in(case.samples, {"app": "helloworld"})}
    return any(each.target.rpartition(":")[0] not in own for each in known)
