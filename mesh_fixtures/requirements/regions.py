"""Which regions the pods of HelloWorld and their clients are in, as the scenario says."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from mesh_fixtures.kube.resources import PODS
from mesh_fixtures.probe.workloads import HELLOWORLD
from mesh_fixtures.requirements.observed import ObservedMesh
from mesh_fixtures.scenario import Scenario

UNKNOWN: Final = "an unknown region"
"""Where a pod is that is none of HelloWorld's."""

URL: Final = "https://istio.io/latest/docs/tasks/traffic-management/locality-load-balancing"
"""Of the section of Istio's documentation that promises what depends on localities."""


def regions_of_clients(scenario: Scenario) -> dict[str, str]:
    """The region of Sleep in each cluster."""
    return {cluster.name: cluster.region for cluster in scenario.data_planes}


def regions_of_pods(mesh: ObservedMesh) -> dict[str, str]:
    """The region of each pod of HelloWorld that is there, by its name.

    Raises:
        ProbeError: an API server cannot be asked.
    """
    found = mesh.view.each(lambda kube: kube.list(PODS, kube.sample_namespace, HELLOWORLD))
    regions = regions_of_clients(mesh.scenario)
    return {pod.name: regions[cluster] for cluster, pods in found.items() for pod in pods}


def listed(counts: Mapping[str, int]) -> str:
    """Answers by region, in words."""
    return ", ".join(f"{count} from {region}" for region, count in counts.items()) or "none"
