"""Embedded labs: real Kubernetes nodes in network namespaces, no container engine, no registry."""

from mesh_fixtures.lab.netns.lab import NetnsLab, NetnsProvider, take_down_kept
from mesh_fixtures.lab.netns.teardown import Cleaned, clean_abandoned

__all__ = ["Cleaned", "NetnsLab", "NetnsProvider", "clean_abandoned", "take_down_kept"]
