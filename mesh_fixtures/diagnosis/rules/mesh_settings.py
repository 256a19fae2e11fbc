"""Settings of the mesh as a whole by which its clusters do not share their services, or not all
namespaces are in it.

Source: Istio, Global Mesh Options (ServiceSettings, discoverySelectors, defaultServiceExportTo);
Multi-cluster Traffic Management (clusterLocal). An istiod applies its own settings to the proxies
that it configures.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from mesh_fixtures.addresses import target_host
from mesh_fixtures.diagnosis.cause import (
    Case,
    Cause,
    CauseReach,
    Evidence,
    Kind,
    Layer,
    asked,
    listed,
)
from mesh_fixtures.diagnosis.facts import ClusterFacts, Istiod
from mesh_fixtures.install.names import EXPORT_TO
from mesh_fixtures.kube.objects import NAME_LABEL
from mesh_fixtures.probe.istiod import MESH_PATH
from mesh_fixtures.probe.service_scopes import (
    EXPORT_OBJECT,
    deciding,
    differing,
    host_object,
    keeps,
    known_where,
    with_defaults,
)
from mesh_fixtures.verdict.findings import Subject

CLUSTER_LOCAL = Kind("services-cluster-local", Layer.ROUTING, ("DISCOVERY-2", "TRAFFIC-1"))

SCOPES_DIFFER = Kind(
    "cluster-local-differs", Layer.ROUTING, ("SCOPE-1",), reach=CauseReach.INVOLVED
)

EXPORTS_DIFFER = Kind(
    "service-export-differs", Layer.ROUTING, ("SCOPE-1",), reach=CauseReach.INVOLVED
)

NOT_SELECTED = Kind(
    "namespace-not-selected",
    Layer.CONTROL_PLANE,
    ("GATEWAY-1", "DISCOVERY-2", "WORKLOAD-1"),
)


def not_selected(case: Case) -> Iterator[Cause]:
    """Namespaces of gateways or samples that an istiod does not look at, in whatever cluster: it
    knows neither the gateways there, nor what exposes services at them.
    """
    for spec, facts in case.primaries:
        istiods = facts.istiods or ()
        if not istiods or not all(each.selectors for each in istiods):
            continue
        selecting = istiods[0]
        left_out = {
            name: found
            for name, each in case.facts.clusters.items()
            if (found := _left_out(case, each, istiods))
        }
        if not left_out:
            continue
        wanted = "; or ".join(map(str, selecting.selectors))
        what = "; ".join(f"{listed(found)} of {name}" for name, found in left_out.items())
        yield Cause(
            NOT_SELECTED,
            tuple(dict.fromkeys((spec.name, *left_out))),
            f"istiod of {spec.name} looks at namespaces with {wanted} only, by discoverySelectors "
            f"of its mesh configuration, and so not at {what}",
            (
                Evidence(
                    f"discoverySelectors: {wanted}",
                    asked(case, spec.name, selecting, MESH_PATH),
                ),
                *(
                    Evidence(
                        f"{namespace} of {name} has {_labels(case, name, namespace)}",
                        f"kubectl --context={name} get namespace {namespace} --show-labels",
                    )
                    for name, found in left_out.items()
                    for namespace in found
                ),
            ),
            "label these namespaces as the selectors want, that of istiod and those of gateways "
            "too, or add a selector for them to meshConfig.discoverySelectors",
            about=Subject(tuple(left_out)),
        )


def _left_out(case: Case, facts: ClusterFacts, istiods: Sequence[Istiod]) -> list[str]:
    """Namespaces of a cluster's gateways and samples that none of some istiods looks at."""
    gateways = [each.namespace for each in facts.gateway_services if each.network]
    wanted = dict.fromkeys((*gateways, *([case.samples] if case.samples else [])))
    known = (facts.namespace(name) for name in wanted)
    return [
        each.name
        for each in known
        if each is not None
        and not any(
            selector.matches({NAME_LABEL: each.name, **each.labels})
            for istiod in istiods
            for selector in istiod.selectors
        )
    ]


def _labels(case: Case, cluster: str, name: str) -> str:
    namespace = case.facts.clusters[cluster].namespace(name)
    labels = namespace.labels if namespace is not None else {}
    return listed([f"{key}={value}" for key, value in labels.items()], "no labels")


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
            source = asked(case, spec.name, istiod, MESH_PATH)
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


def scopes_differ(case: Case) -> Iterator[Cause]:
    """Some primaries keep a host within each cluster, and others do not: it leaves the clusters
    of the latter, and is asked for from there.
    """
    istiods = {
        spec.name: each
        for spec, facts in case.primaries
        for each in (facts.istiods or ())
        if each.cluster_local is not None
    }
    domain = case.facts.names.cluster_domain
    configured = {name: each.cluster_local or {} for name, each in istiods.items()}
    settings = {name: with_defaults(each, domain) for name, each in configured.items()}
    patterns = {pattern for each in configured.values() for pattern in each}
    for pattern, decided in differing(settings, patterns).items():
        without = [name for name, local in decided.items() if not local]
        keeping = [name for name, local in decided.items() if local]
        yield Cause(
            SCOPES_DIFFER,
            tuple(without),
            f"the mesh configuration of {listed(keeping)} keeps {pattern} within each cluster, "
            f"that of {listed(without)} does not: each istiod decides for its own clients only",
            tuple(
                Evidence(
                    f"{name}: serviceSettings: {_in_words(settings[name], pattern)}",
                    asked(case, name, istiods[name], MESH_PATH),
                )
                for name in decided
            ),
            f"give meshConfig.serviceSettings of {listed(without)} the hosts {pattern} with "
            f"clusterLocal: true, as that of {listed(keeping)} has it; or remove them there",
            about=Subject(objects=(host_object(pattern),)),
        )


def exports_differ(case: Case) -> Iterator[Cause]:
    """Primaries do not agree on where services are known that do not say it themselves."""
    istiods = {
        spec.name: each
        for spec, facts in case.primaries
        for each in (facts.istiods or ())
        if each.exported_to is not None
    }
    exported = {name: each.exported_to or () for name, each in istiods.items()}
    if len({*exported.values()}) < 2:
        return
    (first, reference), *others = exported.items()
    yield Cause(
        EXPORTS_DIFFER,
        tuple(name for name, each in others if each != reference),
        "services without exportTo are known "
        + ", ".join(f"{known_where(each)} by istiod of {name}" for name, each in exported.items())
        + ": clients and gateways of one know what those of the other do not",
        tuple(
            Evidence(
                f"{name}: defaultServiceExportTo {', '.join(each)}",
                asked(case, name, istiods[name], MESH_PATH),
            )
            for name, each in exported.items()
        ),
        "give the mesh configuration of all primaries the same meshConfig.defaultServiceExportTo, "
        f"as that of {first} has it or as the others; or annotate what is to be known elsewhere "
        f'with {EXPORT_TO}: "*"',
        about=Subject(objects=(EXPORT_OBJECT,)),
    )


RULES = (cluster_local, scopes_differ, exports_differ, not_selected)


def _in_words(settings: Mapping[str, bool], pattern: str) -> str:
    by = deciding(settings, pattern)
    local = str(keeps(settings, pattern)).lower()
    return f"clusterLocal {local} for hosts {by}" if by else f"nothing for {pattern}"


def _knows_others(case: Case, cluster: str) -> bool:
    """Whether clients in a cluster know HelloWorld of another one, by its pods or a gateway."""
    facts = case.facts.clusters[cluster]
    known = (facts.client.endpoints or ()) if facts.client else ()
    own = {pod.ip for pod in facts.pods_in(case.samples, {"app": "helloworld"})}
    return any(target_host(each.target) not in own for each in known)
