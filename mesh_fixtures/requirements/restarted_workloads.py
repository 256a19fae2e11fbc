"""What makes pods of a mesh, and whether it was restarted for a stage of a rotation.

Source: Kubernetes, kubectl rollout restart.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from mesh_fixtures.contract import SAMPLE_NAMESPACE
from mesh_fixtures.kube import KubeClient, Pod, Resource
from mesh_fixtures.kube.resources import DEPLOYMENTS, STATEFUL_SETS
from mesh_fixtures.probe.envoy import PROXY
from mesh_fixtures.probe.istiod import SELECTOR
from mesh_fixtures.probe.workloads import SLEEP
from mesh_fixtures.workloads import NO_INJECTION

RESTARTED: Final = "mesh-conformance.dev/authorities"
"""Annotation of pods that were restarted for a stage."""


@dataclass(frozen=True)
class RestartedWorkload:
    """What makes pods of the mesh.

    Attributes:
        selected: labels by which it knows its pods.
        labels: of its pods.
        containers: names of those that its pods have anyway, whatever is injected.
        stage: that they are to be restarted for; empty for none.
        wanted: how many there are to be.
    """

    resource: Resource[Any]
    namespace: str
    name: str
    selected: Mapping[str, str]
    labels: Mapping[str, str]
    containers: frozenset[str]
    stage: str
    wanted: int

    @property
    def selector(self) -> str:
        """Of its pods, as `kubectl -l` takes it."""
        return ",".join(f"{name}={value}" for name, value in self.selected.items())

    @property
    def is_istiod(self) -> bool:
        return self._has(SELECTOR)

    @property
    def is_sample(self) -> bool:
        """Whether it is not beside istiod, as gateways are: only labs of our own are rotated."""
        return self.namespace == SAMPLE_NAMESPACE

    @property
    def is_client(self) -> bool:
        return self._has(SLEEP)

    @property
    def has_proxy(self) -> bool:
        """Whether a proxy is injected, or is there as istioctl's own gateways have it."""
        return PROXY in self.containers or not NO_INJECTION.items() <= self.labels.items()

    def _has(self, label: str) -> bool:
        name, _, value = label.partition("=")
        return self.labels.get(name) == value

    @property
    def reference(self) -> str:
        """As in `Subject.objects`."""
        return f"{self.resource.kind}/{self.namespace}/{self.name}"

    def __str__(self) -> str:
        return f"{self.resource.kind} {self.namespace}/{self.name}"


def workloads(kube: KubeClient) -> tuple[RestartedWorkload, ...]:
    """Istiod, and all of a cluster's mesh that has a proxy.

    Raises:
        ProbeError: the API server cannot be asked.
    """
    found = (
        read_workload(resource, item)
        for namespace in (kube.names.system_namespace, kube.sample_namespace)
        for resource in (DEPLOYMENTS, STATEFUL_SETS)
        for item in kube.items(resource, namespace)
    )
    return tuple(each for each in found if each.is_istiod or each.has_proxy)


def read_workload(resource: Resource[Any], item: Mapping[str, Any]) -> RestartedWorkload:
    """Read a Deployment or a StatefulSet."""
    meta, spec = item["metadata"], item["spec"]
    of_pods = spec["template"].get("metadata", {})
    containers = spec["template"].get("spec", {}).get("containers") or ()
    annotations = of_pods.get("annotations") or {}
    return RestartedWorkload(
        resource,
        meta["namespace"],
        meta["name"],
        spec["selector"].get("matchLabels") or {},
        of_pods.get("labels") or {},
        frozenset(each["name"] for each in containers),
        annotations.get(RESTARTED, ""),
        int(spec.get("replicas", 1)),
    )


def left(workload: RestartedWorkload, pods: Iterable[Pod], stage: str) -> str:
    """What keeps a workload from having been restarted for a stage; empty for nothing."""
    there = [each for each in pods if each.phase not in ("Succeeded", "Failed")]
    good = [
        each for each in there if each.serving and each.meta.annotations.get(RESTARTED, "") == stage
    ]
    if len(good) == len(there) and len(good) >= workload.wanted:
        return ""
    others = [f"{each.name} {each.state}" for each in there if each not in good]
    return f"{len(good)} of {workload.wanted} pods are new; {', '.join(others) or 'no other'}"
