"""The table of what is asked of API servers: where each kind of object is, and how it is read.

Source: Kubernetes API reference, API concepts (resource URIs); Istio, configuration reference;
Gateway API, API reference; KEP-1645, Multi-Cluster Services API.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, Generic, TypeVar

from mesh_fixtures.kube.admission import WebhookConfiguration
from mesh_fixtures.kube.objects import (
    ConfigMap,
    Configuration,
    Deployment,
    EndpointSlice,
    Event,
    Json,
    KubeNode,
    Namespace,
    Pod,
    Secret,
    Service,
    ServiceExport,
    ServiceImport,
)

Item = TypeVar("Item")


@dataclass(frozen=True)
class Resource(Generic[Item]):
    """A kind of object.

    Attributes:
        api: its group and version, as objects have it in `apiVersion`.
        plural: its name in paths, in roles and for kubectl.
        read: makes what probes see of the JSON of an object.
    """

    api: str
    kind: str
    plural: str
    read: Callable[[Json], Item]
    namespaced: bool = True

    @property
    def full_name(self) -> str:
        """Its plural for kubectl where other groups may have the same."""
        return f"{self.plural}.{self.group}" if self.group else self.plural

    @property
    def group(self) -> str:
        """Empty for the core group."""
        return self.api.rpartition("/")[0]

    def path(self, namespace: str = "", name: str = "", subresource: str = "") -> str:
        """Where the API server has objects, or one.

        Args:
            namespace: empty for objects of all namespaces, or in none.
            name: empty for all.
        """
        within = ("namespaces", namespace) if namespace and self.namespaced else ()
        parts = (*within, self.plural, name, subresource)
        root = f"/apis/{self.api}" if self.group else f"/api/{self.api}"
        return "/".join((root, *(part for part in parts if part)))


def _as_it_is(item: Json) -> Json:
    return item


def _core(kind: str, plural: str, read: Callable[[Json], Item]) -> Resource[Item]:
    return Resource("v1", kind, plural, read)


def _apps(kind: str, plural: str, read: Callable[[Json], Item]) -> Resource[Item]:
    return Resource("apps/v1", kind, plural, read)


def _webhooks(kind: str, plural: str, read: Callable[[Json], Item]) -> Resource[Item]:
    return Resource("admissionregistration.k8s.io/v1", kind, plural, read, namespaced=False)


def _configuration(
    api: str, kind: str, plural: str, *, namespaced: bool = True
) -> Resource[Configuration]:
    return Resource(api, kind, plural, partial(Configuration.read, kind), namespaced=namespaced)


def _calico(api: str) -> tuple[Resource[Configuration], ...]:
    """In one of its APIs. Kubernetes has a kind of the same name, from which kubectl, too, tells it
    by its group.
    """
    kind = f"NetworkPolicy.{api.partition('/')[0]}"
    return (
        _configuration(api, "GlobalNetworkPolicy", "globalnetworkpolicies", namespaced=False),
        _configuration(api, kind, "networkpolicies"),
    )


def _administrators(version: str, kind: str, plural: str) -> Resource[Configuration]:
    return _configuration(f"policy.networking.k8s.io/{version}", kind, plural, namespaced=False)


def _networking(kind: str, plural: str, version: str = "v1") -> Resource[Configuration]:
    return _configuration(f"networking.istio.io/{version}", kind, plural)


def _security(kind: str, plural: str) -> Resource[Configuration]:
    return _configuration("security.istio.io/v1", kind, plural)


def _mcs(kind: str, plural: str, read: Callable[[Json], Item]) -> Resource[Item]:
    return Resource("multicluster.x-k8s.io/v1alpha1", kind, plural, read)


def _gateway_api(kind: str, plural: str, *, namespaced: bool = True) -> Resource[Json]:
    return Resource("gateway.networking.k8s.io/v1", kind, plural, _as_it_is, namespaced=namespaced)


def _metallb(kind: str, plural: str) -> Resource[Json]:
    return Resource("metallb.io/v1beta1", kind, plural, _as_it_is)


NAMESPACES: Final = Resource("v1", "Namespace", "namespaces", Namespace.read, namespaced=False)
NODES: Final = Resource("v1", "Node", "nodes", KubeNode.read, namespaced=False)
PODS: Final = _core("Pod", "pods", Pod.read)
SERVICES: Final = _core("Service", "services", Service.read)
SERVICE_ACCOUNTS: Final = _core("ServiceAccount", "serviceaccounts", _as_it_is)
CONFIG_MAPS: Final = _core("ConfigMap", "configmaps", ConfigMap.read)
SECRETS: Final = _core("Secret", "secrets", Secret.read)
EVENTS: Final = _core("Event", "events", Event.read)

DEPLOYMENTS: Final = _apps("Deployment", "deployments", Deployment.read)
STATEFUL_SETS: Final = _apps("StatefulSet", "statefulsets", _as_it_is)
REPLICA_SETS: Final = _apps("ReplicaSet", "replicasets", _as_it_is)
DAEMON_SETS: Final = _apps("DaemonSet", "daemonsets", _as_it_is)

ENDPOINT_SLICES: Final = Resource(
    "discovery.k8s.io/v1", "EndpointSlice", "endpointslices", EndpointSlice.read
)
MUTATING_WEBHOOKS: Final = _webhooks(
    "MutatingWebhookConfiguration", "mutatingwebhookconfigurations", WebhookConfiguration.read
)
VALIDATING_WEBHOOKS: Final = _webhooks(
    "ValidatingWebhookConfiguration",
    "validatingwebhookconfigurations",
    WebhookConfiguration.read,
)
ACCESS_REVIEWS: Final = Resource(
    "authorization.k8s.io/v1",
    "SelfSubjectAccessReview",
    "selfsubjectaccessreviews",
    _as_it_is,
    namespaced=False,
)

GATEWAYS: Final = _networking("Gateway", "gateways")
VIRTUAL_SERVICES: Final = _networking("VirtualService", "virtualservices")
DESTINATION_RULES: Final = _networking("DestinationRule", "destinationrules")
SERVICE_ENTRIES: Final = _networking("ServiceEntry", "serviceentries")
WORKLOAD_ENTRIES: Final = _networking("WorkloadEntry", "workloadentries")
SIDECARS: Final = _networking("Sidecar", "sidecars")
ENVOY_FILTERS: Final = _networking("EnvoyFilter", "envoyfilters", "v1alpha3")
PEER_AUTHENTICATIONS: Final = _security("PeerAuthentication", "peerauthentications")
AUTHORIZATION_POLICIES: Final = _security("AuthorizationPolicy", "authorizationpolicies")
REQUEST_AUTHENTICATIONS: Final = _security("RequestAuthentication", "requestauthentications")
NETWORK_POLICIES: Final = _configuration("networking.k8s.io/v1", "NetworkPolicy", "networkpolicies")
CALICO_POLICIES: Final = (_calico("crd.projectcalico.org/v1"), _calico("projectcalico.org/v3"))
"""In each of its APIs; where there are several, they have the same objects."""
CILIUM_POLICIES: Final = (
    _configuration(
        "cilium.io/v2",
        "CiliumClusterwideNetworkPolicy",
        "ciliumclusterwidenetworkpolicies",
        namespaced=False,
    ),
    _configuration("cilium.io/v2", "CiliumNetworkPolicy", "ciliumnetworkpolicies"),
)
ADMIN_POLICIES: Final = (
    _administrators("v1alpha1", "AdminNetworkPolicy", "adminnetworkpolicies"),
    _administrators("v1alpha1", "BaselineAdminNetworkPolicy", "baselineadminnetworkpolicies"),
)
CLUSTER_POLICIES: Final = tuple(
    (_administrators(version, "ClusterNetworkPolicy", "clusternetworkpolicies"),)
    for version in ("v1beta1", "v1alpha2")
)
"""In each of its APIs, too."""
FURTHER_POLICIES: Final = (CALICO_POLICIES, (CILIUM_POLICIES,), (ADMIN_POLICIES,), CLUSTER_POLICIES)
"""Of connections, besides NetworkPolicy: kinds that come together, in each API that has them."""
TELEMETRIES: Final = _configuration("telemetry.istio.io/v1", "Telemetry", "telemetries")

GATEWAY_CLASSES: Final = _gateway_api("GatewayClass", "gatewayclasses", namespaced=False)
GATEWAYS_BY_API: Final = _gateway_api("Gateway", "gateways")
HTTP_ROUTES: Final = _gateway_api("HTTPRoute", "httproutes")
TLS_ROUTES: Final = _gateway_api("TLSRoute", "tlsroutes")

SERVICE_EXPORTS: Final = _mcs("ServiceExport", "serviceexports", ServiceExport.read)
SERVICE_IMPORTS: Final = _mcs("ServiceImport", "serviceimports", ServiceImport.read)

ADDRESS_POOLS: Final = _metallb("IPAddressPool", "ipaddresspools")
L2_ADVERTISEMENTS: Final = _metallb("L2Advertisement", "l2advertisements")

_CREATED: Final[Mapping[tuple[str, str], Resource[Any]]] = {
    (each.api, each.kind): each
    for each in (
        NAMESPACES,
        PODS,
        SERVICES,
        SERVICE_ACCOUNTS,
        SECRETS,
        CONFIG_MAPS,
        DEPLOYMENTS,
        STATEFUL_SETS,
        ENDPOINT_SLICES,
        DESTINATION_RULES,
        AUTHORIZATION_POLICIES,
        SIDECARS,
        NETWORK_POLICIES,
        SERVICE_EXPORTS,
        SERVICE_IMPORTS,
    )
}


CREATED: Final = tuple(_CREATED.values())
"""All kinds that are ever created through the API server."""


def resource_of(item: Json) -> Resource[Any]:
    """The kind of an object that is to be created.

    Raises:
        KeyError: it is none of those that are ever created through the API server.
    """
    return _CREATED[item["apiVersion"], item["kind"]]


@dataclass(frozen=True)
class Access:
    """A verb on a resource. Source: Kubernetes, ResourceAttributes of SelfSubjectAccessReview v1.

    Attributes:
        resource: with its subresource, e.g. `pods/exec`.
        group: empty for the core group.
        namespace: empty for all, or for what is in none.
        name: empty for any.
    """

    verb: str
    resource: str
    group: str = ""
    namespace: str = ""
    name: str = ""

    def review(self) -> Json:
        """The question, as the API server takes it."""
        resource, _, subresource = self.resource.partition("/")
        attributes = {
            "verb": self.verb,
            "group": self.group,
            "resource": resource,
            "subresource": subresource,
            "namespace": self.namespace,
            "name": self.name,
        }
        return {
            "apiVersion": ACCESS_REVIEWS.api,
            "kind": ACCESS_REVIEWS.kind,
            "spec": {"resourceAttributes": {key: each for key, each in attributes.items() if each}},
        }

    def __str__(self) -> str:
        """As `kubectl auth` takes it."""
        resource, _, subresource = self.resource.partition("/")
        kind = f"{resource}.{self.group}" if self.group else resource
        words = ["can-i", self.verb, f"{kind}/{self.name}" if self.name else kind]
        if subresource:
            words.append(f"--subresource={subresource}")
        if self.namespace:
            words += ["-n", self.namespace]
        return " ".join(words)
