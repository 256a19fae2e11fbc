"""What the pods of HelloWorld answered, as the sidecars in front of them counted it.

A sidecar passes a request to its own pod's application through an Envoy cluster that has only that
endpoint: what fails there is the application's doing, and none of the mesh between client and
sidecar. Source: Envoy, Administration interface (statistics of hosts); Istio, names of inbound
clusters.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from urllib.parse import quote

from mesh_fixtures.errors import ProbeError
from mesh_fixtures.kube import KubeClient, Pod
from mesh_fixtures.kube.resources import PODS
from mesh_fixtures.probe.envoy import PROXY, Counters, admin, counters
from mesh_fixtures.probe.workloads import HELLOWORLD
from mesh_fixtures.workloads import PORT


@dataclass(frozen=True)
class Served:
    """What a pod's sidecar counted of its application.

    Attributes:
        counted: requests and connections from the sidecar to the application.
        source: how it is asked by hand.
    """

    pod: str
    version: str
    counted: Counters
    source: str


def served(kube: KubeClient) -> tuple[Served, ...]:
    """What every pod of HelloWorld in a cluster has answered since its start; without those whose
    sidecar does not say.
    """
    try:
        pods = kube.list(PODS, kube.sample_namespace, HELLOWORLD)
    except ProbeError:
        return ()
    able = [each for each in pods if each.serving and each.container(PROXY) is not None]
    return tuple(found for pod in able if (found := _of_pod(kube, pod)) is not None)


def since(before: Iterable[Served], after: Iterable[Served]) -> tuple[Served, ...]:
    """What was answered between two observations; a pod that was not there before is new."""
    known = {each.pod: each.counted for each in before}
    return tuple(
        replace(each, counted=each.counted.since(known.get(each.pod, Counters()))) for each in after
    )


def _of_pod(kube: KubeClient, pod: Pod) -> Served | None:
    pattern = quote(rf"^inbound\|{PORT}\|", safe="")
    try:
        source, answer = admin(kube, pod, f"clusters?format=json&filter={pattern}")
        found = counters(answer)
    except (ProbeError, KeyError, TypeError, AttributeError, ValueError):
        return None
    total = Counters()
    for each in found.values():
        total = total.plus(each)
    return Served(pod.name, pod.meta.labels.get("version", ""), total, source.asked)
