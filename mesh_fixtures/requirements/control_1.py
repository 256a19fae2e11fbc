"""CONTROL-1: where istiod runs."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from mesh_fixtures.kube import KubeClient
from mesh_fixtures.probe.workloads import ControlPlane, control_plane
from mesh_fixtures.requirements.observed import ObservedMesh
from mesh_fixtures.requirements.requirement import Outcome, Requirement
from mesh_fixtures.verdict.crashes import is_crashing
from mesh_fixtures.verdict.findings import Finding, Subject


@dataclass(frozen=True)
class Probes:
    """How the mesh is observed."""

    control_plane: Callable[[KubeClient], ControlPlane] = control_plane


def judge(mesh: ObservedMesh, probes: Probes = Probes()) -> Outcome:
    names = [each.name for each in mesh.scenario.primaries]
    primaries = mesh.view.each(probes.control_plane, names).values()
    return Outcome.judged(
        [finding for each in primaries for finding in _judged(each, time.time())],
        notes=[note for each in primaries for note in _in_part(each)],
    )


def _in_part(seen: ControlPlane) -> Iterator[str]:
    """Replicas that are missing, while others serve all proxies."""
    for each in seen.deployments:
        if 0 < each.ready < each.wanted:
            yield f"{seen.cluster}: {each.meta} has {each.ready} of {each.wanted} pods ready"


def _judged(seen: ControlPlane, now: float) -> Iterator[Finding]:
    about = Subject((seen.cluster,))
    if not seen.is_running:
        expected = "an istiod with a ready pod, in a primary"
        yield Finding(seen.cluster, expected, str(seen), seen.source, about)
    for pod in seen.pods:
        for each in pod.containers:
            if is_crashing(each.restarts, each.restarted, now):
                expected = f"istiod's pod {pod.meta} to keep running"
                shown = f"{each.restarts} restarts, the last after {each.ended}"
                yield Finding(seen.cluster, expected, shown, seen.source, about)


REQUIREMENT = Requirement(
    id="CONTROL-1",
    level="core",
    title="istiod runs in each primary, or in the cluster of an external control plane.",
    judge=judge,
    section="Install Multicluster",
    url="https://istio.io/latest/docs/setup/install/multicluster/",
    without_samples=True,
)
