"""What of Istio is installed in a cluster, read from its API server. Judges nothing.

Source: Istio, Install Multicluster; the chart istiod (its ConfigMaps, webhooks and Deployment).
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

from mesh_fixtures.contract import SYSTEM_NAMESPACE
from mesh_fixtures.errors import NotPermitted, ProbeError
from mesh_fixtures.install.names import CONTROL_PLANE_ANNOTATION, DNS_CAPTURE, NETWORK_LABEL
from mesh_fixtures.kube import ConfigMap, Deployment, KubeClient
from mesh_fixtures.kube.resources import (
    CONFIG_MAPS,
    DEPLOYMENTS,
    MUTATING_WEBHOOKS,
    NAMESPACES,
    NODES,
    SERVICES,
)
from mesh_fixtures.probe.gateways import ambient_networks, gateways
from mesh_fixtures.probe.injectors import (
    ENABLED,
    INJECTOR,
    Injector,
    addresses_behind,
    injectors,
    mesh_injectors,
)
from mesh_fixtures.probe.istiod import CONTAINER, remote_clusters
from mesh_fixtures.probe.istiod import SELECTOR as ISTIOD
from mesh_fixtures.probe.mcs import MCSSettings
from mesh_fixtures.probe.mesh_configuration import configurations_in, known_configurations
from mesh_fixtures.probe.variables import is_on
from mesh_fixtures.probe.workloads import DEFAULT_DISCOVERY
from mesh_fixtures.probe.xds import AMBIENT, xds_clients

Value = TypeVar("Value")

_VALUES: Final = re.compile(r"istio-sidecar-injector(-.+)?")
_PEERING: Final = ("ENABLE_PEERING_DISCOVERY", "DISABLE_LEGACY_MULTICLUSTER")
"""Variables by which an istiod knows other clusters' services from the istiods there, or by no
remote secret (Solo's builds of pilot-discovery)."""


IstiodNamespaces = Mapping[str, bool]
"""Namespaces with an istiod, and whether it injects proxies in namespaces that ask for none by
name."""


@dataclass(frozen=True)
class Values:
    """What an istiod injects with; each empty where it is not set."""

    mesh_id: str = ""
    cluster: str = ""
    network: str = ""


@dataclass(frozen=True)
class Installation:
    """What of Istio is in a cluster.

    Attributes:
        cluster: its name on this side.
        system_namespace: where the mesh has its control plane.
        uid: of that namespace, which tells clusters apart; empty when there is no such namespace.
        network: its label; empty when it has none.
        control_planes: its annotation with the clusters whose istiod is in charge.
        istiods: the cluster that each istiod's Deployment says it is in, by name of the Deployment.
        values: of each istiod's injection.
        trust_domain: of the mesh configuration; empty when there is none.
        injectors: webhooks by which that control plane injects proxies.
        discovery: addresses at which its proxies find istiod.
        gateways: external addresses of its east-west gateways.
        reads: names of all clusters that its istiods read; None when none of them answered.
        peers: whether its istiods may know other clusters' services without reading these.
        ambient: number of proxies of the ambient mode that its istiods configure, by their kind.
        ambient_networks: as `ambient_networks` of its istiods.
        dns_proxying: whether the mesh configuration has proxies answer DNS queries.
        mcs: groups of the kinds by which its istiods have services exported; empty for none.
        regions: of its nodes, empty for a node that has none; None where they may not be listed.
        others: namespaces of other control planes.
    """

    cluster: str
    system_namespace: str = SYSTEM_NAMESPACE
    uid: str = ""
    network: str = ""
    control_planes: tuple[str, ...] = ()
    istiods: Mapping[str, str] = field(default_factory=dict)
    values: tuple[Values, ...] = ()
    trust_domain: str = ""
    injectors: tuple[Injector, ...] = ()
    discovery: frozenset[str] = frozenset()
    gateways: frozenset[str] = frozenset()
    reads: frozenset[str] | None = None
    peers: bool = False
    ambient: Mapping[str, int] = field(default_factory=dict)
    ambient_networks: frozenset[str] = frozenset()
    dns_proxying: bool = False
    mcs: frozenset[str] = frozenset()
    regions: frozenset[str] | None = None
    others: frozenset[str] = frozenset()

    @property
    def is_there(self) -> bool:
        """Whether there is anything of Istio."""
        return bool(self.istiods or self.injectors or self.control_planes)


def installation(kube: KubeClient) -> Installation:
    """What of Istio is in a cluster.

    Raises:
        ProbeError: the API server cannot be asked.
    """
    system = kube.names.system_namespace
    namespace = kube.get(NAMESPACES, "", system)
    found = mesh_injectors(kube)
    if namespace is None:
        return Installation(kube.name, system, injectors=found)
    annotation = namespace.meta.annotations.get(CONTROL_PLANE_ANNOTATION, "")
    maps = kube.list(CONFIG_MAPS, system)
    istiods = kube.list(DEPLOYMENTS, system, ISTIOD)
    meshes = [each.content for each in known_configurations(kube)]
    return Installation(
        cluster=kube.name,
        system_namespace=system,
        uid=namespace.uid,
        network=namespace.meta.labels.get(NETWORK_LABEL, ""),
        control_planes=tuple(each.strip() for each in annotation.split(",") if each.strip()),
        istiods={each.meta.name: _cluster_id(each) for each in istiods},
        values=tuple(injection_values(maps)),
        trust_domain=trust_domain(meshes),
        injectors=found,
        discovery=addresses_behind(kube, tuple(discovery_addresses(meshes)) if istiods else ()),
        gateways=frozenset(each for one in gateways(kube) for each in one.addresses),
        reads=_reads(kube),
        peers=any(map(_peers, istiods)),
        ambient=_ambient(kube),
        ambient_networks=_answer_of(ambient_networks, kube) or frozenset(),
        dns_proxying=bool(istiods) and dns_proxying(meshes),
        mcs=mcs_groups(istiods),
        regions=regions(kube),
        others=frozenset(istiod_namespaces(kube)) - {system},
    )


def istiod_namespaces(kube: KubeClient) -> IstiodNamespaces:
    """Namespaces of a cluster in which there is an istiod, or what stands for one: by its Service,
    and by whom the API server calls to have proxies injected.

    Raises:
        ProbeError: the API server cannot be asked.
    """
    found = {each.meta.namespace: False for each in kube.list(SERVICES, selector=ISTIOD)}
    for each in injectors(kube.list(MUTATING_WEBHOOKS, selector=INJECTOR)):
        called, by_service, _ = each.webhook.service.partition("/")
        if by_service:
            by_default = each.webhook.namespaces.matches(ENABLED)
            found[called] = found.get(called, False) or by_default
    return found


def _cluster_id(istiod: Deployment) -> str:
    return _environment(istiod).get("CLUSTER_ID", "")


def _peers(istiod: Deployment) -> bool:
    environment = _environment(istiod)
    return any(is_on(environment, name) for name in _PEERING)


def _environment(istiod: Deployment) -> Mapping[str, str]:
    container = istiod.container(CONTAINER)
    return {} if container is None else container.env


def injection_values(maps: Iterable[ConfigMap]) -> Iterator[Values]:
    """What istiods inject with, by their ConfigMaps."""
    for each in maps:
        if _VALUES.fullmatch(each.meta.name):
            own = _mapping(_mapping(_json(each.data.get("values", ""))).get("global"))
            clusters = _mapping(own.get("multiCluster"))
            yield Values(
                mesh_id=str(own.get("meshID") or ""),
                cluster=str(clusters.get("clusterName") or ""),
                network=str(own.get("network") or ""),
            )


def trust_domain(meshes: Iterable[Mapping[str, Any]]) -> str:
    """The first mesh configuration's trust domain, by which a mesh without an id is called."""
    return next((str(each.get("trustDomain") or "") for each in meshes), "")


def root_namespace(maps: Iterable[ConfigMap]) -> str:
    """The mesh configuration's root namespace; Istio's default where it does not say."""
    found = (str(each.content.get("rootNamespace") or "") for each in configurations_in(maps))
    return next(found, "") or SYSTEM_NAMESPACE


def dns_proxying(meshes: Iterable[Mapping[str, Any]]) -> bool:
    """Whether a mesh configuration has proxies answer DNS queries (Istio: DNS Proxying)."""
    proxies = (_mapping(each.get("defaultConfig")) for each in meshes)
    metadata = (_mapping(each.get("proxyMetadata")) for each in proxies)
    return any(is_on(each, DNS_CAPTURE) for each in metadata)


def mcs_groups(istiods: Iterable[Deployment]) -> frozenset[str]:
    """Groups of the kinds by which istiods have services exported to other clusters, of those that
    do not share all services (Istio: pilot-discovery).
    """
    found = (each.container(CONTAINER) for each in istiods)
    settings = [MCSSettings.read(each.env) for each in found if each is not None]
    return frozenset(each.group for each in settings if each.discovery)


def discovery_addresses(meshes: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    """Where istiods send the proxies that they inject, by their mesh configurations."""
    for each in meshes:
        proxies = _mapping(each.get("defaultConfig"))
        yield str(proxies.get("discoveryAddress") or DEFAULT_DISCOVERY)


def _answer_of(ask: Callable[[KubeClient], Value], kube: KubeClient) -> Value | None:
    """None where an istiod does not answer: that it is ill is for requirements to say."""
    try:
        return ask(kube)
    except ProbeError:
        return None


def _reads(kube: KubeClient) -> frozenset[str] | None:
    found = _answer_of(remote_clusters, kube)
    return frozenset(each.id for known in found for each in known.clusters) if found else None


def regions(kube: KubeClient) -> frozenset[str] | None:
    """Regions of a cluster's nodes; None where these may not be listed: few requirements need it.

    Raises:
        ProbeError: the API server cannot be asked.
    """
    try:
        return frozenset(node.region for node in kube.list(NODES))
    except NotPermitted:
        return None


def _ambient(kube: KubeClient) -> Mapping[str, int]:
    found = _answer_of(xds_clients, kube) or ()
    kinds = (each.kind for one in found for each in one.clients.values())
    return Counter(kind for kind in kinds if kind in AMBIENT)


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return None


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}
