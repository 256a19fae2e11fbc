"""Kubernetes' and Istio's objects of every cluster, as facts."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any, Final, TypeVar

from mesh_fixtures.contract import EndedService
from mesh_fixtures.diagnosis import facts
from mesh_fixtures.diagnosis.facts import (
    IGNORED_RESOURCES,
    INCLUDED_RESOURCES,
    XDS_AUTHENTICATION,
    ClusterFacts,
)
from mesh_fixtures.diagnosis.gather.batch import Batch, Query
from mesh_fixtures.diagnosis.redaction import redacted
from mesh_fixtures.install.certificates import CACERTS
from mesh_fixtures.install.names import (
    MCS_CLUSTER_LOCAL,
    MCS_DISCOVERY,
    MCS_HOST,
    NETWORK_LABEL,
)
from mesh_fixtures.kube import (
    Configuration,
    Container,
    Deployment,
    KubeClient,
    Meta,
    Pod,
    Resource,
    Service,
    Webhook,
    WebhookConfiguration,
    resources,
)
from mesh_fixtures.kube.pod_isolation import FURTHER_KINDS, further_kinds
from mesh_fixtures.kube.resources import (
    CONFIG_MAPS,
    DEPLOYMENTS,
    EVENTS,
    NAMESPACES,
    NETWORK_POLICIES,
    NODES,
    PODS,
    SERVICE_EXPORTS,
    SERVICES,
    VALIDATING_WEBHOOKS,
)
from mesh_fixtures.probe.certificates import ROOT_BUNDLE, Certificate, authority, root_bundle
from mesh_fixtures.probe.envoy import PROXY
from mesh_fixtures.probe.injectors import mesh_injectors
from mesh_fixtures.probe.istiod import CONTAINER
from mesh_fixtures.probe.remote_secrets import own_authorities, remote_secrets
from mesh_fixtures.probe.view import MeshView
from mesh_fixtures.probe.workloads import (
    TEMPLATES,
    discovery,
    injection_of,
    is_served_elsewhere,
    redirections,
    usual_discovery,
)
from mesh_fixtures.workloads import SERVICE

_ISTIO: Final = (
    *(resources.GATEWAYS, resources.VIRTUAL_SERVICES, resources.DESTINATION_RULES),
    *(resources.SIDECARS, resources.ENVOY_FILTERS),
    *(resources.PEER_AUTHENTICATIONS, resources.AUTHORIZATION_POLICIES),
)
_ISTIO_API: Final = resources.DESTINATION_RULES.group
_OF_TOOLS: Final = (
    *("app.kubernetes.io/", "helm.sh/", "install.operator.istio.io/", "operator.istio.io/"),
    *("chart", "heritage", "release", "service.istio.io/"),
)
_SETTINGS: Final = (
    *(XDS_AUTHENTICATION, IGNORED_RESOURCES, INCLUDED_RESOURCES),
    *(MCS_DISCOVERY, MCS_HOST, MCS_CLUSTER_LOCAL),
)
_CHART_LABEL: Final = "helm.sh/chart"
_BALANCING: Final = re.compile("protocol|ssl|tls|cert")
"""In names of annotations by which clouds' load balancers are told of protocols and certificates,
e.g. `service.beta.kubernetes.io/aws-load-balancer-backend-protocol` (AWS),
`.../do-loadbalancer-tls-ports` (DigitalOcean), `.../oci-load-balancer-ssl-ports` (Oracle)."""

_OF_LAB: Final = ("kube-system", "metallb-system")
_TEXT_KEPT: Final = 400
_ANNOTATION_KEPT: Final = 120
_WARNINGS_KEPT: Final = 20

Named = TypeVar("Named", Pod, Deployment, Service)
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
                pool=", ".join(map(str, view.kube[name].cluster.pools)),
                clock=view.kube[name].clock,
            ),
            **parts[name],
        )
        for name in view.kube
    }


def _queries(
    view: MeshView, kube: KubeClient, authorities: Mapping[str, frozenset[str]]
) -> list[tuple[str, str, Read]]:
    """Field of `ClusterFacts`, how a person would ask, and how it is read."""
    system = kube.names.system_namespace
    both = (system, view.lab.sample_namespace)
    where = f"kubectl --context={kube.name} get"

    def of_mesh(resource: Resource[Named], made: Callable[[Named], Any]) -> Read:
        return lambda kube: tuple(map(made, _of_mesh(kube, both, resource)))

    ours = [] if view.lab.external else [("parts", f"{where} pods -A", _parts)]
    exports = f"{where} serviceexports -n {view.lab.sample_namespace}"
    of_mcs = [("exported", exports, _exported)] if view.scenario.mcs else []
    return [
        *ours,
        *of_mcs,
        ("namespaces", f"{where} namespaces -o yaml", partial(_namespaces, both)),
        ("authority", f"{where} secret cacerts -n {system}", read_authority),
        ("root_bundles", f"{where} configmap {ROOT_BUNDLE} -A", partial(read_root_bundles, both)),
        (
            "remote_secrets",
            f"{where} secrets -n {system} -l istio/multiCluster=true",
            lambda kube: remote_secrets(kube, view, authorities),
        ),
        ("webhooks", f"{where} mutatingwebhookconfigurations", _webhooks),
        ("validators", f"{where} validatingwebhookconfigurations", _validators),
        ("injectors", f"{where} configmaps -n {system}", _injectors),
        ("nodes", f"{where} nodes --show-labels", lambda kube: kube.list(NODES)),
        ("pods", f"{where} pods -A", of_mesh(PODS, _pod)),
        ("deployments", f"{where} deployments -A", of_mesh(DEPLOYMENTS, _deployment)),
        ("services", f"{where} services -A", of_mesh(SERVICES, _service)),
        ("warnings", f"{where} events -A --field-selector=type=Warning", partial(_warnings, both)),
        ("discovery", f"{where} endpointslices -n {system}", _discovery),
        ("configuration", f"{where} {_istio_kinds()} -A", _configuration),
        ("network_policies", f"{where} networkpolicies -A", partial(_network_policies, both)),
        ("cni_policies", f"{where} {FURTHER_KINDS} -A", partial(_cni_policies, both)),
    ]


def _exported(kube: KubeClient) -> bool:
    return kube.get(SERVICE_EXPORTS, kube.sample_namespace, SERVICE) is not None


def _istio_kinds() -> str:
    return ",".join(each.plural for each in _ISTIO)


def _of_mesh(
    kube: KubeClient, namespaces: tuple[str, ...], resource: Resource[Named]
) -> tuple[Named, ...]:
    """Objects of the samples, of istiod, and of what leads into the cluster from outside, in
    whatever namespace.
    """
    ways: list[Service] = [each for each in kube.list(SERVICES) if _is_way(each)]
    found = {
        (item.meta.namespace, item.meta.name): item
        for namespace in dict.fromkeys((*namespaces, *(way.meta.namespace for way in ways)))
        for item in kube.list(resource, namespace)
        if (
            namespace in namespaces
            and (namespace != kube.names.system_namespace or _is_istiod(item.meta))
        )
        or any(_belongs(way, item) for way in ways)
    }
    return tuple(found.values())


def _belongs(way: Service, item: Pod | Deployment | Service) -> bool:
    """Whether an object is a Service that leads into the cluster, or proxies that it sends to."""
    if isinstance(item, Service):
        return str(way.meta) == str(item.meta)
    return item.container(PROXY) is not None and way.selects(item.meta.namespace, _of(item))


def _of(item: Pod | Deployment | Service) -> Mapping[str, str]:
    """Labels by which others select it, or its pods."""
    return item.pod_labels if isinstance(item, Deployment) else item.meta.labels


def _is_istiod(meta: Meta) -> bool:
    """Whether an object of the system namespace is istiod's."""
    return meta.labels.get("app") == "istiod" or meta.name.startswith("istiod")


def _labels(meta: Meta) -> Mapping[str, str]:
    """Those that may decide on something, and not what installed it."""
    return {key: value for key, value in meta.labels.items() if not key.startswith(_OF_TOOLS)}


def _namespaces(wanted: tuple[str, ...], kube: KubeClient) -> tuple[facts.Namespace, ...]:
    """Those of the samples, of istiod and of gateways."""
    gateways = (each.meta.namespace for each in kube.list(SERVICES) if NETWORK_LABEL in _of(each))
    found = [kube.get(NAMESPACES, "", name) for name in dict.fromkeys((*wanted, *gateways))]
    return tuple(
        facts.Namespace(each.meta.name, each.meta.labels, each.meta.annotations, each.annotated)
        for each in found
        if each is not None
    )


def _webhooks(kube: KubeClient) -> tuple[WebhookConfiguration, ...]:
    """Those by which the mesh injects proxies, with no more of their metadata than the name. Others
    inject what is theirs, at paths like Istio's, too (Datadog: `/injectconfig`), as does another
    control plane.
    """
    found: dict[str, list[Webhook]] = {}
    for each in mesh_injectors(kube):
        found.setdefault(each.configuration, []).append(each.webhook)
    return tuple(WebhookConfiguration(Meta(name), tuple(own)) for name, own in found.items())


def _validators(kube: KubeClient) -> tuple[WebhookConfiguration, ...]:
    """Those of Istio's configuration, with no more of their metadata than the name."""
    return tuple(
        replace(each, meta=Meta(each.meta.name))
        for each in kube.list(VALIDATING_WEBHOOKS)
        if any(_ISTIO_API in webhook.groups for webhook in each.webhooks)
    )


def _pod(pod: Pod) -> facts.Pod:
    injected = injection_of(pod)
    restarted = max(pod.containers, key=lambda each: each.restarts, default=Container(""))
    istiod = pod.container(CONTAINER)
    return facts.Pod(
        namespace=pod.meta.namespace,
        name=pod.name,
        labels=_labels(pod.meta),
        ip=pod.ip,
        further_ips=pod.further_ips,
        state=pod.state,
        serving=pod.serving,
        trouble=_short(pod.trouble),
        redirections=redirections(pod) if pod.meta.labels.get("app") == "sleep" else (),
        host_network=pod.host_network,
        answers_dns=injected is not None and injected.answers_dns,
        served_elsewhere=is_served_elsewhere(pod),
        wants_bundle=ROOT_BUNDLE in pod.config_maps,
        proxy=None
        if injected is None
        else {
            "cluster": injected.cluster_id,
            "network": injected.network,
            "mesh": injected.mesh_id,
            "discovery": injected.discovery,
            "view": injected.network_view,
        },
        restarts=restarted.restarts,
        restarted=restarted.restarted,
        ended=_short(restarted.ended),
        image="" if istiod is None else istiod.image,
    )


def _injectors(kube: KubeClient) -> tuple[facts.Injector, ...]:
    return tuple(
        facts.Injector(
            each.meta.name,
            each.meta.labels.get(_CHART_LABEL, ""),
            _tag(each.data.get("values", "")),
        )
        for each in kube.list(CONFIG_MAPS, kube.names.system_namespace)
        if each.meta.name.startswith(TEMPLATES)
    )


def _tag(values: str) -> str:
    """The tag of images in the values of a chart; empty where there is none."""
    try:
        return str((json.loads(values).get("global") or {}).get("tag") or "")
    except (ValueError, AttributeError):
        return ""


def _parts(kube: KubeClient) -> tuple[facts.Part, ...]:
    return tuple(_part(pod) for namespace in _OF_LAB for pod in kube.list(PODS, namespace))


def _part(pod: Pod) -> facts.Part:
    return facts.Part(
        namespace=pod.meta.namespace,
        name=pod.name,
        state=pod.state,
        serving=pod.serving,
        restarts=sum(each.restarts for each in pod.containers),
        restarted=max((each.restarted for each in pod.containers), default=""),
        trouble=_short(pod.trouble),
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


def _deployment(deployment: Deployment) -> facts.Deployment:
    meta, istiod = deployment.meta, deployment.container(CONTAINER)
    return facts.Deployment(
        meta.namespace,
        meta.name,
        _labels(meta),
        deployment.wanted,
        deployment.ready,
        deployment.pod_labels,
        {name: value for name, value in istiod.env.items() if name in _SETTINGS} if istiod else {},
        deployment.paused,
    )


def _service(service: Service) -> facts.Service:
    return facts.Service(
        namespace=service.meta.namespace,
        name=service.meta.name,
        kind=service.kind,
        labels=_labels(service.meta),
        selector=service.selector,
        ports=service.ports,
        external=service.external,
        cluster_ip=service.cluster_ip,
        balancing={
            name: value[:_ANNOTATION_KEPT]
            for name, value in service.meta.annotations.items()
            if _BALANCING.search(name)
        },
    )


def _warnings(wanted: tuple[str, ...], kube: KubeClient) -> tuple[facts.WarningEvent, ...]:
    found: dict[tuple[str, str, str, str], facts.WarningEvent] = {}
    for namespace in wanted:
        for event in kube.list(EVENTS, namespace):
            if event.kind != "Warning":
                continue
            key = (namespace, event.about, event.reason, _short(event.message))
            if key not in found or found[key].last < event.at:
                found[key] = facts.WarningEvent(*key, last=event.at)
    newest = sorted(found.values(), key=lambda each: each.last, reverse=True)[:_WARNINGS_KEPT]
    return tuple(reversed(newest))


def _discovery(kube: KubeClient) -> tuple[str, ...]:
    """What is behind the Service by which proxies find istiod, or what that stands for."""
    return tuple(sorted(discovery(kube, usual_discovery(kube.names)).addresses))


def _configuration(kube: KubeClient) -> tuple[Configuration, ...]:
    return tuple(item for each in _ISTIO for item in kube.list(each))


def _network_policies(namespaces: tuple[str, ...], kube: KubeClient) -> tuple[Configuration, ...]:
    """Those of some namespaces, and of what leads into the cluster from outside."""
    return tuple(
        policy
        for namespace in _with_ways(namespaces, kube)
        for policy in kube.list(NETWORK_POLICIES, namespace)
    )


def _cni_policies(namespaces: tuple[str, ...], kube: KubeClient) -> tuple[Configuration, ...]:
    """Those of kinds that not every cluster has, for the whole cluster and for some namespaces."""
    kinds = [*further_kinds(kube)]
    if not kinds:
        return ()
    wanted = ("", *_with_ways(namespaces, kube))
    return tuple(
        policy for each in kinds for policy in kube.list(each) if policy.namespace in wanted
    )


def _with_ways(namespaces: tuple[str, ...], kube: KubeClient) -> tuple[str, ...]:
    """Some namespaces, and those of what leads into the cluster from outside."""
    ways = (each.meta.namespace for each in kube.list(SERVICES) if _is_way(each))
    return tuple(dict.fromkeys((*namespaces, *ways)))


def _is_way(service: Service) -> bool:
    """Whether a Service leads into the cluster from outside."""
    return service.is_external or NETWORK_LABEL in service.meta.labels


def _short(text: str) -> str:
    line = redacted(" ".join(text.split()))
    return line if len(line) <= _TEXT_KEPT else f"{line[:_TEXT_KEPT]}..."


def read_authority(kube: KubeClient) -> facts.Authority:
    found = authority(kube)
    if found is None:
        return facts.Authority(present=False)
    return facts.Authority(
        present=found.secret == CACERTS,
        secret=found.secret,
        issuing=found.issuing.subject,
        below=roots_of(found.material.path),
        roots=roots_of(found.roots),
        defects=found.defects,
        unread=found.unread,
    )


def roots_of(certificates: tuple[Certificate, ...]) -> tuple[facts.Root, ...]:
    """What of certificates that verify others is kept."""
    return tuple(facts.Root(each.fingerprint, each.subject, each.key) for each in certificates)


def read_root_bundles(
    wanted: tuple[str, ...], kube: KubeClient
) -> Mapping[str, tuple[facts.Root, ...]]:
    found = {}
    for namespace in wanted:
        bundle = root_bundle(kube, namespace)
        if bundle is not None:
            found[namespace] = roots_of(bundle)
    return found
