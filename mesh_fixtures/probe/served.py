"""What the pods of HelloWorld answered, as the sidecars in front of them counted it.

A sidecar says by its response flags whether the application answered or a proxy did in its place.
Source: Istio, Standard Metrics (`istio_requests_total`); Envoy, Access logging (response flags).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Final

from mesh_fixtures.errors import ProbeError
from mesh_fixtures.kube import KubeClient, Pod
from mesh_fixtures.kube.resources import PODS
from mesh_fixtures.probe.envoy import PROXY
from mesh_fixtures.probe.workloads import HELLOWORLD

_METRIC: Final = "istio_requests_total"
_PATH: Final = f"stats/prometheus?filter={_METRIC}"
_SAMPLE: Final = re.compile(rf"{_METRIC}\{{(.*)\}} (\d+)")
_LABEL: Final = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')
_NO_FLAGS: Final = frozenset({"", "-"})
_UNKNOWN: Final = "unknown"


@dataclass(frozen=True)
class Served:
    """Answers of one kind that a pod's sidecar gave.

    Attributes:
        client: cluster of the client; empty when the sidecar does not know.
        code: HTTP status; 0 without an answer.
        flags: why a proxy answered in the place of the application; empty where the application
            did.
        source: how it is asked by hand.
    """

    pod: str
    version: str
    client: str
    code: int
    flags: str
    count: int
    source: str


def served(kube: KubeClient) -> tuple[Served, ...]:
    """What every pod of HelloWorld in a cluster has answered since its start; without those whose
    sidecar does not say.
    """
    found: list[Served] = []
    try:
        pods = kube.list(PODS, kube.sample_namespace, HELLOWORLD)
    except ProbeError:
        return ()
    for pod in pods:
        if pod.serving and pod.container(PROXY) is not None:
            found += _of_pod(kube, pod)
    return tuple(found)


def since(before: Iterable[Served], after: Iterable[Served]) -> tuple[Served, ...]:
    """What was answered between two observations."""
    known = Counter({replace(each, count=0): each.count for each in before})
    grown = (replace(each, count=each.count - known[replace(each, count=0)]) for each in after)
    return tuple(each for each in grown if each.count > 0)


def _of_pod(kube: KubeClient, pod: Pod) -> Iterator[Served]:
    argv = ("pilot-agent", "request", "GET", _PATH)
    try:
        result = kube.exec(pod.meta.namespace, pod.name, PROXY, argv)
    except ProbeError:
        return
    version = pod.meta.labels.get("version", "")
    yield from read_served(result.stdout, pod.name, version, result.source.asked)


def read_served(metrics: str, pod: str, version: str, source: str) -> tuple[Served, ...]:
    """Read what a sidecar says of requests that came to its pod, in Prometheus' text format."""
    counted: Counter[tuple[str, int, str]] = Counter()
    for sample in _SAMPLE.finditer(metrics):
        labels: Mapping[str, str] = dict(_LABEL.findall(sample[1]))
        if labels.get("reporter") == "destination":
            client = labels.get("source_cluster", "")
            flags = labels.get("response_flags", "")
            code = labels.get("response_code", "")
            key = (
                "" if client == _UNKNOWN else client,
                int(code) if code.isdigit() else 0,
                "" if flags in _NO_FLAGS else flags,
            )
            counted[key] += int(sample[2])
    return tuple(
        Served(pod, version, *key, count=count, source=source)
        for key, count in sorted(counted.items())
    )
