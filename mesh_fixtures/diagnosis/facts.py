"""What was seen of a broken mesh, as values that can be written down and read again.

Trimmed to what rules read and a report keeps: no secret, no raw object but Istio's configuration.
What could not be read is None, and listed in `Facts.unread`; what is not there is empty.
Kubernetes' objects that rules need whole are kept as `mesh_fixtures.kube.objects` has them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from mesh_fixtures.contract import GUIDE_NAMES, MeshNames
from mesh_fixtures.diagnosis.runtime_facts import (
    GATEWAY,
    GATEWAY_POD,
    ISTIOD_TLS,
    Authority,
    Client,
    Endpoint,
    Exchanged,
    Handshake,
    Istiod,
    Listening,
    LostServices,
    NetworkGateway,
    PacketSizes,
    Path,
    ProxyIdentity,
    Root,
    Served,
    SliceAddresses,
    Traffic,
    TrustDomains,
    WaitingProxy,
)
from mesh_fixtures.install.gateway_api import NAME_LABEL
from mesh_fixtures.install.names import NETWORK_LABEL
from mesh_fixtures.kube.admission import Webhook, WebhookConfiguration
from mesh_fixtures.kube.clock import Clock
from mesh_fixtures.kube.objects import (
    Configuration,
    KubeNode,
    ServicePort,
    are_selected,
    is_external,
)
from mesh_fixtures.probe.gateways import gateway_port, is_for_ambient, passes_on
from mesh_fixtures.probe.remote_secrets import RemoteSecret
from mesh_fixtures.probe.workloads import Redirection
from mesh_fixtures.scenario import ISTIOD_PORTS

__all__ = [
    "GATEWAY",
    "GATEWAY_POD",
    "ISTIOD_TLS",
    "NOT_STARTING",
    "Authority",
    "Client",
    "ClusterFacts",
    "Configuration",
    "Deployment",
    "Endpoint",
    "Exchanged",
    "Facts",
    "Failed",
    "Handshake",
    "Injector",
    "Istiod",
    "KubeNode",
    "Labels",
    "Listening",
    "LostServices",
    "Namespace",
    "NetworkGateway",
    "PacketSizes",
    "Part",
    "Path",
    "Pod",
    "ProxyIdentity",
    "RemoteSecret",
    "Root",
    "Served",
    "Service",
    "ServicePort",
    "SliceAddresses",
    "Traffic",
    "TrustDomains",
    "WaitingProxy",
    "WarningEvent",
]

XDS_AUTHENTICATION: Final = "XDS_AUTH"
"""Variable of istiod's environment: whether it asks who wants configuration of it (Istio:
pilot-discovery)."""

IGNORED_RESOURCES: Final = "PILOT_IGNORE_RESOURCES"
INCLUDED_RESOURCES: Final = "PILOT_INCLUDE_RESOURCES"
"""Variables of istiod's environment: kinds of objects that it does not read, and those that it
reads all the same; `*.GROUP` are all of a group (Istio: pilot-discovery)."""

NOT_STARTING: Final = (
    *("FailedCreate", "FailedScheduling", "FailedMount", "FailedAttachVolume", "FailedBinding"),
    *("FailedCreatePodSandBox", "FailedCreatePodContainer", "FailedPostStartHook", "FailedSync"),
    *("Failed", "BackOff", "InspectFailed", "ErrImageNeverPull", "Unhealthy", "Evicted"),
    *("FailedKillPod", "FailedPreStopHook", "OutOfcpu", "OutOfmemory", "OutOfpods"),
)
"""Reasons of warnings about what keeps pods from being made, or from becoming ready (Kubernetes:
events of controllers, of the scheduler and of kubelets)."""

Labels = Mapping[str, str]


@dataclass(frozen=True)
class Failed:
    """A query that got no answer.

    Attributes:
        source: how it was asked.
        why: what came instead.
    """

    cluster: str
    source: str
    why: str

    def __str__(self) -> str:
        return f"{self.source}: {self.why}"


@dataclass(frozen=True)
class Namespace:
    """A namespace.

    Attributes:
        annotated: when its annotations were last set by hand, RFC 3339; empty when unknown.
    """

    name: str
    labels: Labels = field(default_factory=dict)
    annotations: Labels = field(default_factory=dict)
    annotated: str = ""


@dataclass(frozen=True)
class Pod:
    """A pod of istiod, of a gateway or of a sample workload.

    Attributes:
        state: as `kubectl get pods` would say it, e.g. `2/2 Running`.
        serving: running, ready and not going away.
        trouble: why it does not run, as far as its status says.
        proxy: what its proxy is configured with: `cluster`, `network`, `mesh`, `discovery`, and
            `view`, the networks whose endpoints it asks for; None without a proxy.
        redirections: what of its requests its proxy gets.
        host_network: whether it has its node's network, where nothing is redirected.
        further_ips: those of the other family.
        restarts: of the container of its that was restarted most often.
        restarted: when that one last ended, RFC 3339; empty for never.
        ended: how it ended then.
        image: of istiod; empty for others.
        answers_dns: whether its DNS queries are answered beside its proxy.
        served_elsewhere: whether its proxy gets certificates from an SDS server of its node, and
            none from istiod.
        wants_bundle: whether it starts only where istiod has put its usual ConfigMap with roots.
    """

    namespace: str
    name: str
    labels: Labels
    ip: str
    state: str
    serving: bool
    trouble: str = ""
    proxy: Mapping[str, str] | None = None
    redirections: tuple[Redirection, ...] = ()
    host_network: bool = False
    restarts: int = 0
    restarted: str = ""
    ended: str = ""
    image: str = ""
    answers_dns: bool = False
    further_ips: tuple[str, ...] = ()
    served_elsewhere: bool = False
    wants_bundle: bool = True

    def __str__(self) -> str:
        return f"{self.name} {self.state}" + (f" ({self.trouble})" if self.trouble else "")


@dataclass(frozen=True)
class Part:
    """A pod, or a process of a node, of what a cluster of the lab has besides a mesh.

    Attributes:
        namespace: empty for a process.
        restarts: of all its containers.
        restarted: when one of them last ended, RFC 3339; empty for never.
        trouble: why it does not run, as far as its status says.
    """

    namespace: str
    name: str
    state: str
    serving: bool
    restarts: int = 0
    restarted: str = ""
    trouble: str = ""

    def __str__(self) -> str:
        times = f", restarted {self.restarts} times, at last at {self.restarted}"
        reason = f" ({self.trouble})" if self.trouble else ""
        return f"{self.name} {self.state}{reason}" + (times if self.restarts else "")


@dataclass(frozen=True)
class Injector:
    """The templates by which istiod injects proxies.

    Attributes:
        name: of their ConfigMap.
        chart: name and version of the chart that it is of; empty when unknown.
        tag: of the images that the templates name; empty when unknown.
    """

    name: str
    chart: str
    tag: str

    def __str__(self) -> str:
        return f"{self.name} of {self.chart or 'an unknown chart'}, for proxies {self.tag}".rstrip()


@dataclass(frozen=True)
class Deployment:
    """How many pods a Deployment wants, and how many of them are ready.

    Attributes:
        settings: variables of istiod's environment that decide on something; empty for others.
        paused: whether its pods stay as they are, whatever becomes of their template.
    """

    namespace: str
    name: str
    labels: Labels
    wanted: int
    ready: int
    pod_labels: Labels = field(default_factory=dict)
    settings: Labels = field(default_factory=dict)
    paused: bool = False

    def __str__(self) -> str:
        return f"deployment {self.name} {self.ready}/{self.wanted} ready"


@dataclass(frozen=True)
class Service:
    """A Service.

    Attributes:
        external: addresses or host names that its load balancer got, or its external name.
        cluster_ip: its address within the cluster; empty when it has none.
        balancing: annotations by which a load balancer is told of protocols and certificates.
    """

    namespace: str
    name: str
    kind: str
    labels: Labels
    selector: Labels
    ports: tuple[ServicePort, ...]
    external: tuple[str, ...] = ()
    cluster_ip: str = ""
    balancing: Labels = field(default_factory=dict)

    @property
    def network(self) -> str:
        """The network that it is labelled as a gateway of; empty for none."""
        return self.labels.get(NETWORK_LABEL, "")

    @property
    def deployed_for(self) -> str:
        """The Gateway of the Gateway API for which istiod made it; empty for none (Istio: Gateway
        API, Automated deployment).
        """
        return self.labels.get(NAME_LABEL, "")

    @property
    def is_external(self) -> bool:
        """Whether it is to be reached from outside of its cluster."""
        return is_external(self.kind, self.external)

    @property
    def is_for_ambient(self) -> bool:
        """Whether it is a gateway for the ambient mode only."""
        return is_for_ambient(self.labels, [each.number for each in self.ports])

    @property
    def gateway_port(self) -> int:
        """The port at which istiod advertises it as a gateway (Istio: Resource Labels)."""
        return gateway_port(self.labels)

    @property
    def gateway_target(self) -> int | None:
        """The port at which its pods must listen for services, as a gateway; None where that has a
        name, and where something in front of the Service has the port that is advertised.
        """
        port = self.port(self.gateway_port)
        if port is None:
            return None
        if not port.target:
            return self.gateway_port
        return int(port.target) if port.target.isdecimal() else None

    def selects(self, namespace: str, labels: Labels) -> bool:
        """Whether it sends to pods of a namespace with these labels."""
        return self.namespace == namespace and are_selected(labels, self.selector)

    def port(self, number: int) -> ServicePort | None:
        return next((each for each in self.ports if each.number == number), None)

    def __str__(self) -> str:
        return f"Service {self.namespace}/{self.name}"


@dataclass(frozen=True)
class WarningEvent:
    """An event of the type Warning.

    Attributes:
        about: `kind/name`.
        last: when it was last seen, RFC 3339; empty when unknown.
    """

    namespace: str
    about: str
    reason: str
    message: str
    last: str = ""

    def __str__(self) -> str:
        return f"{self.about} {self.reason}: {self.message}"


def _leads_to_istiod(service: Service) -> bool:
    return any(each.number in ISTIOD_PORTS for each in service.ports)


@dataclass(frozen=True)
class ClusterFacts:
    """What was seen of one cluster; None for what could not be read.

    Attributes:
        api_server: URL by which other clusters reach its API server.
        pool: where its load balancers' addresses come from; empty when unknown.
        namespaces: the mesh's system namespace, and those of the samples and of gateways, as far as
            they are there.
        root_bundles: what proxies are given to verify istiod by, by namespace.
        remote_secrets: those that the cluster holds.
        webhooks: those by which proxies are injected.
        validators: those that look at Istio's configuration.
        pods: of the system namespace and of the samples. So for deployments, services and warnings.
        discovery: addresses behind the Service by which proxies find istiod.
        configuration: Istio's, of all namespaces.
        gateways: what the proxies of east-west gateways listen at.
        proxies: of the samples and of the gateways.
        parts: pods of the lab itself, where it is ours; None elsewhere, too.
        ended: processes of the lab's nodes that ended and were started again.
        waiting: proxies of the samples and of the gateways that are not ready.
        helloworld: its addresses, by the cluster's EndpointSlices.
        injectors: templates of injection.
        exported: whether HelloWorld is exported to other clusters; None where that was not asked.
        network_policies: of the namespaces of istiod, samples and gateways.
        cni_policies: of kinds that only some network plugins know: those for the whole cluster, and
            those of the same namespaces.
        clock: its API server's.
    """

    name: str
    api_server: str = ""
    pool: str = ""
    namespaces: tuple[Namespace, ...] | None = None
    authority: Authority | None = None
    root_bundles: Mapping[str, tuple[Root, ...]] | None = None
    remote_secrets: tuple[RemoteSecret, ...] | None = None
    webhooks: tuple[WebhookConfiguration, ...] | None = None
    validators: tuple[WebhookConfiguration, ...] | None = None
    nodes: tuple[KubeNode, ...] | None = None
    pods: tuple[Pod, ...] | None = None
    deployments: tuple[Deployment, ...] | None = None
    services: tuple[Service, ...] | None = None
    warnings: tuple[WarningEvent, ...] | None = None
    discovery: tuple[str, ...] | None = None
    configuration: tuple[Configuration, ...] | None = None
    istiods: tuple[Istiod, ...] | None = None
    client: Client | None = None
    gateways: tuple[Listening, ...] | None = None
    proxies: tuple[ProxyIdentity, ...] | None = None
    parts: tuple[Part, ...] | None = None
    ended: tuple[Part, ...] = ()
    waiting: tuple[WaitingProxy, ...] | None = None
    helloworld: SliceAddresses | None = None
    injectors: tuple[Injector, ...] | None = None
    exported: bool | None = None
    network_policies: tuple[Configuration, ...] | None = None
    cni_policies: tuple[Configuration, ...] | None = None
    clock: Clock | None = None

    def namespace(self, name: str) -> Namespace | None:
        """None when it is not there, or when namespaces could not be read."""
        return next((each for each in self.namespaces or () if each.name == name), None)

    def deployment(self, namespace: str, name: str) -> Deployment | None:
        wanted = (namespace, name)
        return next(
            (each for each in self.deployments or () if (each.namespace, each.name) == wanted), None
        )

    def service(self, namespace: str, name: str) -> Service | None:
        wanted = (namespace, name)
        return next(
            (each for each in self.services or () if (each.namespace, each.name) == wanted), None
        )

    def pods_in(self, namespace: str, labels: Labels) -> tuple[Pod, ...]:
        """Pods of a namespace that have all of these labels."""
        return tuple(
            each
            for each in self.pods or ()
            if each.namespace == namespace and labels.items() <= each.labels.items()
        )

    @property
    def injection_webhooks(self) -> tuple[tuple[str, Webhook], ...]:
        """The webhooks of `webhooks`, each with the name of its configuration."""
        return tuple(
            (configuration.meta.name, webhook)
            for configuration in self.webhooks or ()
            for webhook in configuration.webhooks
        )

    @property
    def gateway_services(self) -> tuple[Service, ...]:
        """Services that are gateways of a network by their label, that a Gateway passes services on
        by, of whichever API, or that lead to istiod from outside.

        Without their port, those with the label count only where no other one has it: istiod takes
        none of them for a gateway.
        """
        services = self.services or ()
        labelled = [each for each in services if each.network and not each.is_for_ambient]
        passing = [each for each in labelled if each.port(each.gateway_port)] or labelled
        return tuple(
            each
            for each in services
            if each in passing
            or (each in labelled and _leads_to_istiod(each))
            or (not each.network and each.is_external and self._leads_inside(each))
        )

    def _leads_inside(self, service: Service) -> bool:
        if _leads_to_istiod(service):
            return True
        if service.deployed_for and service.port(service.gateway_port):
            return True
        return any(pod.proxy is not None for pod in self.pods_of(service)) and bool(
            self.exposing(service)
        )

    def exposing(self, service: Service) -> tuple[Configuration, ...]:
        """Gateways of Istio that pass services on at pods of a Service."""
        labels = [each.labels for each in self.pods_of(service)] or [service.selector]
        return tuple(
            each
            for each in self.configured("Gateway")
            if any(passes_on(server) for server in each.spec.get("servers") or ())
            and any((each.spec.get("selector") or {}).items() <= those.items() for those in labels)
        )

    def pods_of(self, service: Service) -> tuple[Pod, ...]:
        """Pods that a Service sends to."""
        return tuple(
            each for each in self.pods or () if service.selects(each.namespace, each.labels)
        )

    @property
    def gateway_pods(self) -> tuple[Pod, ...]:
        """Pods of the gateways, each once."""
        found = {
            (pod.namespace, pod.name): pod
            for service in self.gateway_services
            for pod in self.pods_of(service)
            if pod.proxy is not None
        }
        return tuple(found.values())

    @property
    def gateway_deployments(self) -> tuple[Deployment, ...]:
        """Deployments whose pods the gateways' Services send to."""
        return tuple(
            each
            for each in self.deployments or ()
            if any(
                service.selects(each.namespace, each.pod_labels)
                for service in self.gateway_services
            )
        )

    @property
    def gateway_addresses(self) -> tuple[str, ...]:
        """External addresses of the gateways."""
        return tuple(each for service in self.gateway_services for each in service.external)

    def configured(self, kind: str) -> Iterator[Configuration]:
        """Objects of Istio's configuration of a kind."""
        return (each for each in self.configuration or () if each.kind == kind)

    def warned(self, namespace: str, *reasons: str) -> tuple[WarningEvent, ...]:
        """Warnings of a namespace with one of these reasons, newest first, without those about
        what has recovered.
        """
        found = [
            each
            for each in self.warnings or ()
            if each.namespace == namespace
            and each.reason in reasons
            and not self.has_recovered(each)
        ]
        return tuple(sorted(found, key=lambda each: each.last, reverse=True))

    def has_recovered(self, warning: WarningEvent) -> bool:
        """Whether what a warning is about is gone, or as it is wanted by now."""
        kind, _, name = warning.about.partition("/")
        if kind == "Pod" and self.pods is not None:
            about = (warning.namespace, name)
            return all(each.serving for each in self.pods if (each.namespace, each.name) == about)
        if kind in ("ReplicaSet", "Deployment") and self.deployments is not None:
            owner = name.rpartition("-")[0] if kind == "ReplicaSet" else name
            deployment = self.deployment(warning.namespace, owner)
            return deployment is None or deployment.ready >= deployment.wanted
        return False


@dataclass(frozen=True)
class Facts:
    """What was seen of a mesh.

    Attributes:
        at: seconds since the epoch.
        sample_namespace: of HelloWorld and Sleep.
        clusters: in the scenario's order.
        names: of the mesh.
        packet_sizes: paths that lose large packets.
        handshakes: with gateways.
        traffic: by client, where requests were sent.
        served: of these requests, by pod of HelloWorld.
        lost: services that istiods hold nothing of, at one look.
    """

    at: float
    sample_namespace: str
    clusters: Mapping[str, ClusterFacts]
    names: MeshNames = GUIDE_NAMES
    paths: tuple[Path, ...] = ()
    packet_sizes: tuple[PacketSizes, ...] = ()
    handshakes: tuple[Handshake, ...] = ()
    traffic: tuple[Traffic, ...] = ()
    served: tuple[Served, ...] = ()
    lost: tuple[LostServices, ...] = ()
    unread: tuple[Failed, ...] = ()

    def paths_of(self, kind: str, client: str = "", server: str = "") -> tuple[Path, ...]:
        """Paths of a kind, of one client or server unless these are empty."""
        return tuple(
            each
            for each in self.paths
            if each.kind == kind and client in ("", each.client) and server in ("", each.server)
        )
