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
    KubeNode,
    Meta,
    Namespace,
    Pod,
    Secret,
    Service,
    ServiceExport,
    ServiceImport,
    ServicePort,
)
from mesh_fixtures.kube.resources import Access, Resource
from mesh_fixtures.kube.source import ExecResult, HttpAnswer, Source
from mesh_fixtures.kube.streams import Pipe
from mesh_fixtures.kube.transport import exec_source, forward_source

__all__ = [
    "Access",
    "Clock",
    "ConfigMap",
    "Configuration",
    "Container",
    "Deployment",
    "EndpointSlice",
    "Event",
    "ExecResult",
    "HttpAnswer",
    "KubeClient",
    "KubeEditor",
    "KubeNode",
    "Meta",
    "Namespace",
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
    "forward_source",
]
