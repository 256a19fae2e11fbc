"""A thin, typed client of one cluster over the official one: objects, logs and commands."""

from mesh_fixtures.kube.admission import Webhook, WebhookConfiguration
from mesh_fixtures.kube.client import KubeClient, KubeEditor
from mesh_fixtures.kube.clock import Clock
from mesh_fixtures.kube.objects import (
    ConfigMap,
    Configuration,
    Container,
    Deployment,
    EndpointSlice,
    Event,
    Meta,
    Namespace,
    Node,
    Pod,
    Secret,
    Service,
    ServiceExport,
    ServiceImport,
    ServicePort,
)
from mesh_fixtures.kube.resources import Access, Resource
from mesh_fixtures.kube.source import Answer, ExecResult, Source
from mesh_fixtures.kube.streams import Pipe
from mesh_fixtures.kube.transport import exec_source

__all__ = [
    "Access",
    "Answer",
    "Clock",
    "ConfigMap",
    "Configuration",
    "Container",
    "Deployment",
    "EndpointSlice",
    "Event",
    "ExecResult",
    "KubeClient",
    "KubeEditor",
    "Meta",
    "Namespace",
    "Node",
    "Pipe",
    "Pod",
    "Resource",
    "Secret",
    "Service",
    "ServiceExport",
    "ServiceImport",
    "ServicePort",
    "Source",
    "Webhook",
    "WebhookConfiguration",
    "exec_source",
]
