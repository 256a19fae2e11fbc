"""A platform that brings policies into each new namespace, some time after it was made.

Source: Kyverno, Generate Rules; Kubernetes, Network Policies (default deny all); Istio,
AuthorizationPolicy (allow-nothing); Sidecar.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Final

from mesh_fixtures.errors import LabError
from mesh_fixtures.install import names
from mesh_fixtures.kube import KubeEditor
from mesh_fixtures.kube.objects import Json
from mesh_fixtures.kube.resources import NAMESPACES, NETWORK_POLICIES, PODS
from tests.faults.policies import policy
from tests.faults.target import Target
from tests.faults.topologies import TWO_NETWORKS
from tests.faults.underlay import PROVIDER, pods_closed
from tests.variants.variant import Variant

LATER_SECONDS: Final = 1.0
"""From a namespace to its policies."""

_INTERVAL: Final = 0.2
_NAME: Final = "default-deny"
_BROUGHT: Final[tuple[Json, ...]] = (
    policy("security", "AuthorizationPolicy", _NAME),
    policy("networking", "Sidecar", _NAME, egress=[{"hosts": [f"{names.SYSTEM_NAMESPACE}/*"]}]),
    {
        "apiVersion": NETWORK_POLICIES.api,
        "kind": NETWORK_POLICIES.kind,
        "metadata": {"name": _NAME},
        "spec": {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]},
    },
)


class Platform(threading.Thread):
    """Brings policies into namespaces that are made while it runs, and enforces NetworkPolicies as
    a network does, which labs have none of: nodes pass on nothing from or to pods of a namespace
    with a policy that denies all, unless another one allows all.
    """

    def __init__(self, target: Target, clusters: Mapping[str, KubeEditor]) -> None:
        super().__init__(daemon=True)
        self._target = target
        self._clusters = clusters
        self._known = {name: self._namespaces(name) for name in clusters}
        self._due: dict[tuple[str, str], float] = {}
        self._brought: set[tuple[str, str]] = set()
        self._closed: dict[str, frozenset[str]] = {}
        self._ended = threading.Event()
        self._trouble: Exception | None = None

    def end(self) -> None:
        """Let it end, with nothing closed any more.

        Raises:
            LabError: it could not do its work, or had none.
        """
        self._ended.set()
        self.join()
        for cluster in self._clusters:
            self._close(cluster, frozenset())
        if self._trouble is not None or not self._brought:
            raise LabError(
                wanted="policies in each new namespace",
                seen=repr(self._trouble) if self._trouble else "no new namespace",
                where=", ".join(self._clusters),
            )

    def run(self) -> None:
        try:
            while not self._ended.wait(_INTERVAL):
                for cluster in self._clusters:
                    self._look(cluster)
        except Exception as error:
            self._trouble = error

    def _namespaces(self, cluster: str) -> frozenset[str]:
        return frozenset(each.meta.name for each in self._clusters[cluster].list(NAMESPACES))

    def _look(self, cluster: str) -> None:
        kube, now = self._clusters[cluster], time.monotonic()
        there = self._namespaces(cluster)
        closed: set[str] = set()
        for namespace in there - self._known[cluster]:
            place = cluster, namespace
            if now < self._due.setdefault(place, now + LATER_SECONDS):
                continue
            if place not in self._brought:
                self._brought.add(place)
                for each in _BROUGHT:
                    kube.create(each, namespace)
            specs = [each.spec for each in kube.list(NETWORK_POLICIES, namespace)]
            if specs and not any(map(_allows_all, specs)):
                closed.update(pod.ip for pod in kube.list(PODS, namespace) if pod.ip)
        self._close(cluster, frozenset(closed))

    def _close(self, cluster: str, pods: frozenset[str]) -> None:
        if self._closed.get(cluster, frozenset()) != pods:
            pods_closed(self._target, cluster, pods)
            self._closed[cluster] = pods


def _allows_all(spec: Json) -> bool:
    return not spec["podSelector"] and spec.get("ingress") == spec.get("egress") == [{}]


@contextmanager
def brought_into_each(target: Target) -> Iterator[None]:
    """Each new namespace gets policies that allow nothing, and a Sidecar by which its proxies know
    the control plane only.
    """
    with ExitStack() as stack:
        clusters = {
            name: stack.enter_context(KubeEditor(cluster))
            for name, cluster in target.lab.clusters.items()
        }
        platform = Platform(target, clusters)
        stack.callback(platform.end)
        platform.start()
        yield


VARIANTS: Final = (
    Variant(
        id="policies-in-each-namespace",
        mesh="Into each new namespace a platform brings policies by which nothing is allowed and "
        "little is known; its users have others that allow what they need.",
        topology=TWO_NETWORKS,
        make=brought_into_each,
        notes=(
            "requests are allowed here in spite of AuthorizationPolicy mesh-conformance-",
            "services are known here in spite of Sidecar mesh-conformance-",
            "connections are allowed here in spite of NetworkPolicy mesh-conformance-",
        ),
        provider=PROVIDER,
    ),
)
