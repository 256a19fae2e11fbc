"""Embedded labs: real Kubernetes nodes in network namespaces, no container engine, no registry."""

from mesh_fixtures.lab.netns.lab import NetnsLab
from mesh_fixtures.lab.netns.provider import NetnsProvider

__all__ = ["NetnsLab", "NetnsProvider"]
