"""All that was seen of a mesh."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from mesh_fixtures.diagnosis.facts.network import Path, Traffic
from mesh_fixtures.diagnosis.facts.objects import (
    Deployment,
    Labels,
    Namespace,
    Part,
    Pod,
    RemoteSecret,
    Service,
    WarningEvent,
)
from mesh_fixtures.diagnosis.facts.programs import Client, Istiod, Listening, ProxyIdentity
from mesh_fixtures.diagnosis.facts.trust import Authority, Root
from mesh_fixtures.install.names import SYSTEM_NAMESPACE
from mesh_fixtures.kube.objects import Configuration, Node
from mesh_fixtures.kube.webhooks import WebhookConfiguration

EAST_WEST: Final = {"istio": "eastwestgateway"}
"""Labels of an east-west gateway's Service and pods (Istio: Multicluster guide)."""


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
class ClusterFacts:
    """What was seen of one cluster; None for what could not be read.

    Attributes:
        api_server: URL by which other clusters reach its API server.
        pool: where its load balancers' addresses come from; empty when unknown.
        namespaces: istio-system and that of the samples, as far as they are there.
        root_bundles: what proxies are given to verify istiod by, by namespace.
        remote_secrets: those that the cluster holds.
        pods: of istio-system and of the samples. So for deployments, services and warnings.
        discovery: addresses behind the Service by which proxies find istiod.
        configuration: Istio's, of all namespaces.
        gateways: what the proxies of east-west gateways listen at.
        proxies: of the samples and of the gateways.
        parts: pods of the lab itself, where it is ours; None elsewhere, too.
        ended: processes of the lab's nodes that ended and were started again.
    """

    name: str
    api_server: str = ""
    pool: str = ""
    namespaces: tuple[Namespace, ...] | None = None
    authority: Authority | None = None
    root_bundles: Mapping[str, tuple[Root, ...]] | None = None
    remote_secrets: tuple[RemoteSecret, ...] | None = None
    webhooks: tuple[WebhookConfiguration, ...] | None = None
    nodes: tuple[Node, ...] | None = None
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
    def gateway_services(self) -> tuple[Service, ...]:
        """Services of the east-west gateways."""
        return tuple(
            each
            for each in self.services or ()
            if each.namespace == SYSTEM_NAMESPACE
            and each.kind == "LoadBalancer"
            and EAST_WEST.items() <= each.labels.items()
        )

    @property
    def gateway_addresses(self) -> tuple[str, ...]:
        """External addresses of the east-west gateways."""
        return tuple(each for service in self.gateway_services for each in service.external)

    def configured(self, kind: str) -> Iterator[Configuration]:
        """Objects of Istio's configuration of a kind."""
        return (each for each in self.configuration or () if each.kind == kind)

    def warned(self, namespace: str, *reasons: str) -> tuple[WarningEvent, ...]:
        """Warnings of a namespace with one of these reasons, newest first."""
        found = [
            each
            for each in self.warnings or ()
            if each.namespace == namespace and each.reason in reasons
        ]
        return tuple(sorted(found, key=lambda each: each.last, reverse=True))


@dataclass(frozen=True)
class Facts:
    """What was seen of a mesh.

    Attributes:
        at: seconds since the epoch.
        sample_namespace: of HelloWorld and Sleep.
        clusters: in the scenario's order.
        traffic: by client, where requests were sent.
    """

    at: float
    sample_namespace: str
    clusters: Mapping[str, ClusterFacts]
    paths: tuple[Path, ...] = ()
    traffic: tuple[Traffic, ...] = ()
    unread: tuple[Failed, ...] = ()

    def paths_of(self, kind: str, client: str = "", server: str = "") -> tuple[Path, ...]:
        """Paths of a kind, of one client or server unless these are empty."""
        return tuple(
            each
            for each in self.paths
            if each.kind == kind and client in ("", each.client) and server in ("", each.server)
        )
