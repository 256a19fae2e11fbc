"""A thin, typed client of one cluster over the official one: reads, and exec."""

from mesh_fixtures.kube.client import KubeClient
from mesh_fixtures.kube.objects import (
    ConfigMap,
    Deployment,
    EndpointSlice,
    Meta,
    Node,
    Secret,
    Service,
    Webhook,
)
from mesh_fixtures.kube.pods import Container, Pod
from mesh_fixtures.kube.source import ExecResult, Source
from mesh_fixtures.kube.transport import exec_source

__all__ = [
    "ConfigMap",
    "Container",
    "Deployment",
    "EndpointSlice",
    "ExecResult",
    "KubeClient",
    "Meta",
    "Node",
    "Pod",
    "Secret",
    "Service",
    "Source",
    "Webhook",
    "exec_source",
]
