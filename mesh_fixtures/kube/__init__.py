"""A thin, typed client of one cluster over the official one: reads, and exec."""

from mesh_fixtures.kube.access import Access
from mesh_fixtures.kube.client import KubeClient
from mesh_fixtures.kube.editor import KubeEditor
from mesh_fixtures.kube.objects import (
    ConfigMap,
    Deployment,
    EndpointSlice,
    Event,
    Meta,
    Namespace,
    Secret,
    Service,
)
from mesh_fixtures.kube.pipe import Pipe
from mesh_fixtures.kube.pods import Container, Pod
from mesh_fixtures.kube.source import ExecResult, Source
from mesh_fixtures.kube.transport import exec_source
from mesh_fixtures.kube.webhooks import Webhook, WebhookConfiguration
from mesh_fixtures.kube.writer import KubeWriter

__all__ = [
    "Access",
    "ConfigMap",
    "Container",
    "Deployment",
    "EndpointSlice",
    "Event",
    "ExecResult",
    "KubeClient",
    "KubeEditor",
    "KubeWriter",
    "Meta",
    "Namespace",
    "Pipe",
    "Pod",
    "Secret",
    "Service",
    "Source",
    "Webhook",
    "WebhookConfiguration",
    "exec_source",
]
