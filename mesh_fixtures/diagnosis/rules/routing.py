"""Configuration that sends requests elsewhere than the endpoints' weights say.

Source: Istio, Locality Load Balancing; VirtualService; Kubernetes, Service trafficDistribution.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import combinations
from typing import Any

from mesh_fixtures.diagnosis.cause import Case, Cause, Evidence, Kind, Layer, get, listed
from mesh_fixtures.diagnosis.facts import ClusterFacts, Configuration
from mesh_fixtures.kube.objects import REGION_LABEL
from mesh_fixtures.scenario import ClusterSpec

NODES = Kind("node-region", Layer.ROUTING, ("LOCALITY-1", "LOCALITY-2"))
OUTLIERS = Kind("outlier-detection-changed", Layer.ROUTING, ("LOCALITY-1",))
WEIGHTED = Kind("weighted-route", Layer.ROUTING, ("TRAFFIC-1", "TRAFFIC-2"))
FAULT = Kind("route-fault", Layer.ROUTING, ("TRAFFIC-1",))
ELSEWHERE = Kind("routed-elsewhere", Layer.ROUTING, ("TRAFFIC-1",))
SCOPE = Kind("sidecar-scope", Layer.ROUTING, ("DISCOVERY-2", "TRAFFIC-1"))


def node_regions(case: Case) -> Iterator[Cause]:
    """Nodes that are not in the region that the scenario says: by them, Istio knows of regions.

    Weights go by the names of regions. For a preference it is enough that regions differ; clusters
    that have none are in the same one.
    """
    declared = {spec.name: spec.region for spec, _ in case.clusters if spec.region}
    seen = {
        name: {node.region for node in case.facts.clusters[name].nodes or ()} for name in declared
    }
    wrong = {
        name: [each for each in case.facts.clusters[name].nodes or () if each.region != region]
        for name, region in declared.items()
    }
    moved = tuple(name for name, nodes in wrong.items() if nodes)
    if not moved:
        return
    confused = any(
        seen[one] & seen[other] and declared[one] != declared[other]
        for one, other in combinations(declared, 2)
    )
    everywhere = all(declared[name] not in seen[name] for name in moved)
    what = "; ".join(
        f"{name} in {listed(sorted(each or 'none' for each in seen[name]))}, not {declared[name]}"
        for name in moved
    )
    label = " and ".join(
        f"kubectl --context={name} label nodes --all --overwrite {REGION_LABEL}={declared[name]}"
        for name in moved
    )
    yield Cause(
        NODES if confused else replace(NODES, breaks=("LOCALITY-2",)),
        tuple(declared),
        f"nodes are in other regions than the scenario says: {what}",
        tuple(
            Evidence(
                f"node {node.name} of {name} is in region {node.region or 'none'}",
                get(name, f"nodes -L {REGION_LABEL}"),
            )
            for name in moved
            for node in wrong[name]
        ),
        f"label them ({label}) and replace the pods, or correct the scenario's localities",
        certainty="certain" if everywhere else "likely",
    )


def outliers(case: Case) -> Iterator[Cause]:
    """EnvoyFilters that change when proxies give servers up; what they make of it is not told."""
    for spec, facts in case.configured:
        for each in facts.configured("EnvoyFilter"):
            if each.namespace not in (case.samples, case.root_namespace):
                continue
            values = [
                value[key]
                for patch in each.spec.get("configPatches") or ()
                if isinstance(value := (patch.get("patch") or {}).get("value"), dict)
                for key in ("outlier_detection", "outlierDetection")
                if patch.get("applyTo") == "CLUSTER" and key in value
            ]
            if not values:
                continue
            source = get(spec.name, f"envoyfilter {each.name} -o yaml", each.namespace)
            yield Cause(
                OUTLIERS,
                tuple(
                    client.name
                    for client, _ in case.clusters
                    if case.config_of(client.name) == spec.name
                ),
                f"{each} of {spec.name} changes by which errors clients give servers up, whatever "
                "DestinationRules say",
                tuple(Evidence(f"outlier_detection: {value}", source) for value in values),
                f"remove outlier_detection from {each}, and set outlierDetection in "
                "DestinationRules",
                certainty="likely",
            )


def weighted(case: Case) -> Iterator[Cause]:
    for spec, facts in case.configured:
        for service in _routing(case, facts):
            routes = [
                destination
                for route in service.spec.get("http") or service.spec.get("tcp") or ()
                for destination in route.get("route") or ()
            ]
            if not any(
                each.get("weight") is not None or (each.get("destination") or {}).get("subset")
                for each in routes
            ):
                continue
            shares = "; ".join(_destination(each) for each in routes)
            yield Cause(
                WEIGHTED,
                (spec.name,),
                f"{service} of {spec.name} shares requests to HelloWorld by its own weights: "
                f"{shares}",
                (
                    Evidence(
                        f"{service}: {shares}",
                        get(spec.name, f"virtualservice {service.name} -o yaml", service.namespace),
                    ),
                    *_routes(case, spec),
                ),
                f"remove the weights from {service}, or verify a service without a VirtualService",
            )


def _routes(case: Case, primary: ClusterSpec) -> Iterator[Evidence]:
    for spec, facts in case.clusters:
        if case.config_of(spec.name) == primary.name and facts.client is not None:
            routes = facts.client.routes or {}
            if len(routes) > 1:
                weights = ", ".join(f"{cluster} {weight}" for cluster, weight in routes.items())
                yield Evidence(
                    f"Sleep's proxy in {spec.name} routes to {weights}",
                    f"istioctl --context={spec.name} proxy-config routes "
                    f"{facts.client.pod}.{case.samples} -o json",
                )


def fault(case: Case) -> Iterator[Cause]:
    for spec, facts in case.configured:
        for service in _routing(case, facts):
            faults = [
                str(kind)
                for route in service.spec.get("http") or ()
                for kind in route.get("fault") or {}
            ]
            if faults:
                yield Cause(
                    FAULT,
                    (spec.name,),
                    f"{service} of {spec.name} injects faults into requests to HelloWorld: "
                    f"{listed(faults)}",
                    (
                        Evidence(
                            f"{service}: fault {listed(faults)}",
                            get(
                                spec.name,
                                f"virtualservice {service.name} -o yaml",
                                service.namespace,
                            ),
                        ),
                    ),
                    f"remove fault from {service}",
                )


def elsewhere(case: Case) -> Iterator[Cause]:
    """Routes for all requests to HelloWorld that do not lead to it."""
    for spec, facts in case.configured:
        for service in _routing(case, facts):
            ways = [
                way
                for route in service.spec.get("http") or service.spec.get("tcp") or ()
                if not route.get("match")
                for way in _leading_elsewhere(case, service, route)
            ]
            if ways:
                yield Cause(
                    ELSEWHERE,
                    (spec.name,),
                    f"{service} of {spec.name} does not send requests for HelloWorld to it: "
                    f"{listed(ways)}",
                    (
                        Evidence(
                            f"{service}: hosts {listed(service.spec.get('hosts') or ())}: "
                            f"{listed(ways)}",
                            get(
                                spec.name,
                                f"virtualservice {service.name} -o yaml",
                                service.namespace,
                            ),
                        ),
                    ),
                    f"let {service} have other hosts, or a route to HelloWorld",
                )


def _leading_elsewhere(
    case: Case, service: Configuration, route: Mapping[str, Any]
) -> Iterator[str]:
    """What becomes of requests in place of being sent to HelloWorld, in words."""
    yield from (f"{how} {route[how]}" for how in ("redirect", "directResponse") if route.get(how))
    for each in route.get("route") or ():
        host = str((each.get("destination") or {}).get("host", ""))
        if not is_helloworld(case, service, host):
            yield f"destination {host}"


def sidecar_scope(case: Case) -> Iterator[Cause]:
    """A Sidecar resource whose egress leaves HelloWorld out; refuted where all clients that it is
    for know endpoints of it.
    """
    for spec, facts in case.configured:
        clients = [
            others.client
            for each, others in case.clusters
            if case.config_of(each.name) == spec.name
        ]
        if clients and all(each is not None and each.endpoints for each in clients):
            continue
        for sidecar in _scopes(case, facts):
            hosts = [
                str(host)
                for egress in sidecar.spec.get("egress") or ()
                for host in egress.get("hosts") or ()
            ]
            if hosts and not any(_covers(case, sidecar, host) for host in hosts):
                yield Cause(
                    SCOPE,
                    (spec.name,),
                    f"{sidecar} of {spec.name} lets proxies know {listed(hosts)} only, and not "
                    "HelloWorld",
                    (
                        Evidence(
                            f"{sidecar}: hosts {listed(hosts)}",
                            get(spec.name, f"sidecar {sidecar.name} -o yaml", sidecar.namespace),
                        ),
                    ),
                    f"add {case.samples}/* to the egress hosts of {sidecar}",
                )


def _scopes(case: Case, facts: ClusterFacts) -> Iterator[Configuration]:
    """Sidecars that hold for Sleep: those of its namespace, in whose absence those of the mesh."""
    found: dict[bool, list[Configuration]] = {True: [], False: []}
    for each in facts.configured("Sidecar"):
        labels = (each.spec.get("workloadSelector") or {}).get("labels") or {}
        if labels.get("app", "sleep") == "sleep" and each.namespace in (
            case.samples,
            case.root_namespace,
        ):
            found[each.namespace == case.samples].append(each)
    yield from found[True] or found[False]


def is_looked_up(case: Case, rule: Configuration) -> bool:
    """Whether a DestinationRule is in a namespace where one for the samples is looked for (Istio:
    DestinationRule, exportTo: the client's, the service's and the root namespace).
    """
    return rule.namespace in (case.samples, case.root_namespace) and is_exported(case, rule)


def is_exported(case: Case, item: Configuration) -> bool:
    """Whether an object of Istio's configuration is for proxies in the samples' namespace."""
    exported: Sequence[str] = item.spec.get("exportTo") or ("*",)
    here = item.namespace == case.samples
    return any(each in ("*", case.samples) or (each == "." and here) for each in exported)


def is_helloworld(case: Case, of: Configuration, name: str) -> bool:
    """Whether a host's name, within an object, means HelloWorld (source: Istio, DestinationRule).

    Short names are completed by the object's own namespace, and `*` stands for any beginning.
    """
    full = case.host
    if name.startswith("*"):
        return full.endswith(name[1:])
    if "." not in name:
        return name == "helloworld" and of.namespace == case.samples
    return name == full or full.startswith(f"{name}.")


RULES = (node_regions, outliers, weighted, fault, elsewhere, sidecar_scope)


def _routing(case: Case, facts: ClusterFacts) -> Iterator[Configuration]:
    """VirtualServices of HelloWorld for the mesh's own proxies."""
    for service in facts.configured("VirtualService"):
        bound: Sequence[str] = service.spec.get("gateways") or ("mesh",)
        hosts: Sequence[str] = service.spec.get("hosts") or ()
        if not is_exported(case, service):
            continue
        if "mesh" in bound and any(is_helloworld(case, service, each) for each in hosts):
            yield service


def _destination(route: Mapping[str, Any]) -> str:
    destination = route.get("destination") or {}
    subset = f" {destination['subset']}" if destination.get("subset") else ""
    return f"{destination.get('host', '')}{subset} {route.get('weight', 100)}"


def _covers(case: Case, sidecar: Configuration, egress: str) -> bool:
    namespace, _, name = egress.rpartition("/")
    if namespace not in (".", "", "*", case.samples):
        return False
    return name == "*" or is_helloworld(case, sidecar, name)
