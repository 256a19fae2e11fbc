"""A thin, typed client of one cluster over the official one: reads, and exec."""

from mesh_fixtures.kube.client import KubeClient
from mesh_fixtures.kube.objects import Deployment, EndpointSlice, Meta, Secret, Service
from mesh_fixtures.kube.pods import Container, Pod
from mesh_fixtures.kube.source import ExecResult, Source
from mesh_fixtures.kube.transport import exec_source

__all__ = [
    "Container",
    "Deployment",
    "EndpointSlice",
    "ExecResult",
    "KubeClient",
    "Meta",
    "Pod",
    "Secret",
    "Service",
    "Source",
    "exec_source",
]
