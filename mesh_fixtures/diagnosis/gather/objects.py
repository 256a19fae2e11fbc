"""Kubernetes' and Istio's objects of every cluster, as facts."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any, Final

from mesh_fixtures.diagnosis import facts
from mesh_fixtures.diagnosis.facts import EAST_WEST, ClusterFacts
from mesh_fixtures.diagnosis.gather.batch import Batch, Query
from mesh_fixtures.diagnosis.gather.remote_secrets import read_remote_secrets
from mesh_fixtures.diagnosis.gather.trust import (
    ROOT_BUNDLE,
    own_authorities,
    read_authority,
    read_root_bundles,
)
from mesh_fixtures.diagnosis.redaction import redacted
from mesh_fixtures.install.names import GATEWAY, SYSTEM_NAMESPACE
from mesh_fixtures.kube import KubeClient, Pod, WebhookConfiguration
from mesh_fixtures.kube.objects import Json, texts
from mesh_fixtures.lab.provider import EndedService
from mesh_fixtures.probe.view import MeshView
from mesh_fixtures.probe.workloads import injection_of

_CORE: Final = "/api/v1"
_ISTIO: Final = {
    "networking.istio.io/v1": (
        ("Gateway", "gateways"),
        ("VirtualService", "virtualservices"),
        ("DestinationRule", "destinationrules"),
        ("Sidecar", "sidecars"),
        ("EnvoyFilter", "envoyfilters"),
    ),
    "security.istio.io/v1": (
        ("PeerAuthentication", "peerauthentications"),
        ("AuthorizationPolicy", "authorizationpolicies"),
    ),
}
_ALPHA: Final = {"envoyfilters": "networking.istio.io/v1alpha3"}

_OF_TOOLS: Final = (
    *("app.kubernetes.io/", "helm.sh/", "install.operator.istio.io/", "operator.istio.io/"),
    *("chart", "heritage", "release", "service.istio.io/"),
)
_OWN: Final = ("istiod", GATEWAY)
_OF_LAB: Final = ("kube-system", "metallb-system")
_TEXT_KEPT: Final = 400
_WARNINGS_KEPT: Final = 20
_REGION: Final = "topology.kubernetes.io/region"
_ZONE: Final = "topology.kubernetes.io/zone"
_PREFERENCE: Final = "networking.istio.io/traffic-distribution"

Read = Callable[[KubeClient], Any]


def read(batch: Batch, view: MeshView) -> dict[str, ClusterFacts]:
    """What the API server of each cluster tells."""
    authorities = {name: own_authorities(kube) for name, kube in view.kube.items()}
    queries: dict[tuple[str, str], Query[Any]] = {}
    for name, kube in view.kube.items():
        for part, source, ask in _queries(view, kube, authorities):
            queries[name, part] = Query(name, source, partial(ask, kube))
    answers = batch.all(queries)
    parts: dict[str, dict[str, Any]] = {name: {} for name in view.kube}
    for (name, part), answer in answers.items():
        parts[name][part] = answer
    for name, ends in view.lab.ended_services.items():
        if name in parts:
            parts[name]["ended"] = tuple(map(_ended, ends))
    return {
        name: replace(
            ClusterFacts(
                name=name,
                api_server=view.kube[name].cluster.api_server or "",
                pool=str(view.kube[name].cluster.load_balancer_pool or ""),
            ),
            **parts[name],
        )
        for name in view.kube
    }


def _queries(
    view: MeshView, kube: KubeClient, authorities: Mapping[str, frozenset[str]]
) -> list[tuple[str, str, Read]]:
    """Field of `ClusterFacts`, how a person would ask, and how it is read."""
    both = (SYSTEM_NAMESPACE, view.lab.sample_namespace)
    where = f"kubectl --context={kube.name} get"
    apps = "/apis/apps/v1"

    def in_both(api: str, kind: str, made: Callable[[Json], Any]) -> Read:
        return lambda kube: tuple(
            made(item)
            for each in both
            for item in _list(kube, api, kind, each)
            if each != SYSTEM_NAMESPACE or _is_istio(item)
        )

    ours = [] if view.lab.is_foreign else [("parts", f"{where} pods -A", _parts)]
    return [
        *ours,
        ("namespaces", f"{where} namespaces -o yaml", partial(_namespaces, both)),
        ("authority", f"{where} secret cacerts -n {SYSTEM_NAMESPACE}", read_authority),
        ("root_bundles", f"{where} configmap {ROOT_BUNDLE} -A", partial(read_root_bundles, both)),
        (
            "remote_secrets",
            f"{where} secrets -n {SYSTEM_NAMESPACE} -l istio/multiCluster=true",
            lambda kube: read_remote_secrets(kube, view, authorities),
        ),
        ("webhooks", f"{where} mutatingwebhookconfigurations", _webhooks),
        ("nodes", f"{where} nodes --show-labels", _nodes),
        ("pods", f"{where} pods -A", in_both(_CORE, "pods", _pod)),
        ("deployments", f"{where} deployments -A", in_both(apps, "deployments", _deployment)),
        ("services", f"{where} services -A", in_both(_CORE, "services", _service)),
        ("warnings", f"{where} events -A --field-selector=type=Warning", partial(_warnings, both)),
        ("discovery", f"{where} endpointslices -n {SYSTEM_NAMESPACE}", _discovery),
        ("configuration", f"{where} {_istio_kinds()} -A", _configuration),
    ]


def _istio_kinds() -> str:
    return ",".join(kind for kinds in _ISTIO.values() for _, kind in kinds)


def _is_istio(item: Json) -> bool:
    """Whether an object of istio-system is istiod's or an east-west gateway's."""
    labels = texts(item["metadata"].get("labels"))
    name = str(item["metadata"]["name"])
    return (
        labels.get("app") == "istiod"
        or EAST_WEST.items() <= labels.items()
        or name.startswith(_OWN)
    )


def _labels(item: Json) -> Mapping[str, str]:
    """Those that may decide on something, and not what installed it."""
    return {
        key: value
        for key, value in texts(item["metadata"].get("labels")).items()
        if not key.startswith(_OF_TOOLS)
    }


def _list(kube: KubeClient, api: str, kind: str, namespace: str = "") -> list[Json]:
    within = f"/namespaces/{namespace}" if namespace else ""
    found = kube.read(kube.source(kind, namespace), f"{api}{within}/{kind}")
    items: list[Json] = (found or {}).get("items") or []
    return items


def _namespaces(wanted: tuple[str, ...], kube: KubeClient) -> tuple[facts.Namespace, ...]:
    found = []
    for name in wanted:
        item = kube.read(kube.source("namespaces", "", name), f"{_CORE}/namespaces/{name}")
        if item is not None:
            meta = item["metadata"]
            found.append(
                facts.Namespace(
                    name,
                    texts(meta.get("labels")),
                    texts(meta.get("annotations")),
                    _annotated(meta),
                )
            )
    return tuple(found)


def _annotated(meta: Json) -> str:
    """When somebody last set annotations, as the API server remembers it."""
    times = [
        each.get("time", "")
        for each in meta.get("managedFields") or ()
        if "f:annotations" in ((each.get("fieldsV1") or {}).get("f:metadata") or {})
    ]
    return max(times, default="")


def _webhooks(kube: KubeClient) -> tuple[WebhookConfiguration, ...]:
    """Those of injection, with no more of their metadata than the name."""
    return tuple(
        replace(each, meta=replace(each.meta, labels={}, annotations={}))
        for each in kube.mutating_webhooks()
        if any(webhook.path.startswith("/inject") for webhook in each.webhooks)
    )


def _nodes(kube: KubeClient) -> tuple[facts.Node, ...]:
    return tuple(
        facts.Node(
            name=item["metadata"]["name"],
            region=texts(item["metadata"].get("labels")).get(_REGION, ""),
            zone=texts(item["metadata"].get("labels")).get(_ZONE, ""),
            ready=any(
                each["type"] == "Ready" and each["status"] == "True"
                for each in item["status"].get("conditions") or ()
            ),
        )
        for item in _list(kube, _CORE, "nodes")
    )


def _pod(item: Json) -> facts.Pod:
    pod = Pod.read(item)
    told = injection_of(pod)
    return facts.Pod(
        namespace=pod.meta.namespace,
        name=pod.name,
        labels=_labels(item),
        ip=pod.ip,
        state=pod.state,
        serving=pod.serving,
        trouble=_trouble(pod),
        told=None
        if told is None
        else {
            "cluster": told.cluster_id,
            "network": told.network,
            "mesh": told.mesh_id,
            "discovery": told.discovery,
        },
    )


def _trouble(pod: Pod) -> str:
    """Why a pod does not run, as far as its status says."""
    waiting = [f"{each.name}: {each.waiting}" for each in pod.containers if each.waiting]
    return _short("; ".join([*([pod.unscheduled] if pod.unscheduled else []), *waiting]))


def _parts(kube: KubeClient) -> tuple[facts.Part, ...]:
    return tuple(
        _part(item) for namespace in _OF_LAB for item in _list(kube, _CORE, "pods", namespace)
    )


def _part(item: Json) -> facts.Part:
    pod = Pod.read(item)
    return facts.Part(
        namespace=pod.meta.namespace,
        name=pod.name,
        state=pod.state,
        serving=pod.serving,
        restarts=sum(each.restarts for each in pod.containers),
        restarted=max((each.restarted for each in pod.containers), default=""),
        trouble=_trouble(pod),
    )


def _ended(service: EndedService) -> facts.Part:
    return facts.Part(
        namespace="",
        name=f"{service.name} on {service.node}",
        state=service.how,
        serving=True,
        restarts=1,
        restarted=service.at,
    )


def _deployment(item: Json) -> facts.Deployment:
    meta = item["metadata"]
    return facts.Deployment(
        namespace=meta["namespace"],
        name=meta["name"],
        labels=_labels(item),
        wanted=int(item["spec"].get("replicas", 1)),
        ready=int(item.get("status", {}).get("readyReplicas", 0)),
    )


def _service(item: Json) -> facts.Service:
    meta, spec = item["metadata"], item["spec"]
    ingress = item.get("status", {}).get("loadBalancer", {}).get("ingress") or ()
    external = [each.get("ip") or each.get("hostname", "") for each in ingress]
    external.append(spec.get("externalName", ""))
    annotated = texts(meta.get("annotations")).get(_PREFERENCE, "")
    return facts.Service(
        namespace=meta["namespace"],
        name=meta["name"],
        kind=spec.get("type", "ClusterIP"),
        labels=_labels(item),
        selector=texts(spec.get("selector")),
        ports=tuple(
            facts.ServicePort(each["port"], each.get("name", ""), each.get("appProtocol", ""))
            for each in spec.get("ports") or ()
        ),
        external=tuple(each for each in external if each),
        preference=spec.get("trafficDistribution") or annotated,
    )


def _warnings(wanted: tuple[str, ...], kube: KubeClient) -> tuple[facts.WarningEvent, ...]:
    found: dict[tuple[str, str, str, str], facts.WarningEvent] = {}
    for namespace in wanted:
        for item in _list(kube, _CORE, "events", namespace):
            if item.get("type") != "Warning":
                continue
            about = item["involvedObject"]
            warning = facts.WarningEvent(
                namespace=namespace,
                about=f"{about.get('kind', '')}/{about.get('name', '')}",
                reason=item.get("reason") or "",
                message=_short(item.get("message") or ""),
                last=item.get("lastTimestamp") or item.get("eventTime") or "",
            )
            key = (namespace, warning.about, warning.reason, warning.message)
            if key not in found or found[key].last < warning.last:
                found[key] = warning
    newest = sorted(found.values(), key=lambda each: each.last, reverse=True)[:_WARNINGS_KEPT]
    return tuple(reversed(newest))


def _discovery(kube: KubeClient) -> tuple[str, ...]:
    """What is behind the Service by which proxies find istiod, or what that stands for."""
    slices = kube.endpoint_slices(SYSTEM_NAMESPACE, "istiod")
    service = kube.service(SYSTEM_NAMESPACE, "istiod")
    found = [address for each in slices for address in each.addresses]
    named = service.external if service is not None and service.kind == "ExternalName" else ()
    return tuple(sorted({*found, *named}))


def _configuration(kube: KubeClient) -> tuple[facts.Configuration, ...]:
    return tuple(
        facts.Configuration(
            kind, item["metadata"]["namespace"], item["metadata"]["name"], item.get("spec") or {}
        )
        for api, kinds in _ISTIO.items()
        for kind, plural in kinds
        for item in _list(kube, f"/apis/{_ALPHA.get(plural, api)}", plural)
    )


def _short(text: str) -> str:
    said = redacted(" ".join(text.split()))
    return said if len(said) <= _TEXT_KEPT else f"{said[:_TEXT_KEPT]}..."
