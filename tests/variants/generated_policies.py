"""A platform that brings policies into each new namespace, some time after it was made.

Source: Kyverno, Generate Rules; Kubernetes, Network Policies (default deny all); Istio,
AuthorizationPolicy (allow-nothing); Sidecar; Calico, Enable a default deny policy; Cilium, Default
Deny Ingress Policy; Network Policy API, API Overview (Baseline tier).
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Final

from mesh_fixtures.errors import LabError
from mesh_fixtures.install import names
from mesh_fixtures.kube import KubeEditor
from mesh_fixtures.kube.objects import NAME_LABEL, Json
from mesh_fixtures.kube.resources import NAMESPACES, NETWORK_POLICIES, PODS
from tests.faults import cni_policies
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

_PLATFORMS: Final = ("kube-system", "metallb-system", names.SYSTEM_NAMESPACE)
_DENIED_BY_CALICO: Final = cni_policies.policy(
    cni_policies.CALICO,
    _NAME,
    selector=f"projectcalico.org/namespace not in {{{', '.join(map(repr, _PLATFORMS))}}}",
    types=["Ingress", "Egress"],
)
_DENIED_BY_CILIUM: Final = cni_policies.policy(
    cni_policies.CILIUM,
    _NAME,
    endpointSelector={
        "matchExpressions": [
            {
                "key": "k8s:io.kubernetes.pod.namespace",
                "operator": "NotIn",
                "values": [*_PLATFORMS],
            }
        ]
    },
    ingress=[{}],
    egress=[{}],
)


_OF_USERS: Final[Json] = {
    "namespaces": {
        "matchExpressions": [{"key": NAME_LABEL, "operator": "NotIn", "values": [*_PLATFORMS]}]
    }
}
_ANYTHING_DENIED: Final[Json] = {
    "subject": _OF_USERS,
    "ingress": [{"action": "Deny", "from": [{"namespaces": {}}]}],
    "egress": [{"action": "Deny", "to": [{"networks": ["0.0.0.0/0"]}]}],
}
_DENIED_BY_BASELINE: Final = cni_policies.policy(
    cni_policies.BASELINE, "default", **_ANYTHING_DENIED
)
_DENIED_BY_TIER: Final = cni_policies.policy(
    cni_policies.CLUSTER, _NAME, tier="Baseline", priority=100, **_ANYTHING_DENIED
)
_DENIED_BEFORE_ALL: Final = cni_policies.policy(
    cni_policies.ADMIN,
    "tenants",
    priority=10,
    subject=_OF_USERS,
    ingress=[{"action": "Deny", "from": [_OF_USERS]}],
)


class Platform(threading.Thread):
    """Brings policies into namespaces that are made while it runs, and isolates their pods as a
    network does that enforces policies, which labs have none of: nodes pass on nothing from or to
    them unless a NetworkPolicy allows all.

    Args:
        brought: policies, of which one isolates all pods; none where a policy of the whole cluster
            does.
        is_final: whether only connections among these pods are refused, and no NetworkPolicy
            allows them.
    """

    def __init__(
        self,
        target: Target,
        clusters: Mapping[str, KubeEditor],
        brought: Sequence[Json],
        *,
        is_final: bool = False,
    ) -> None:
        super().__init__(daemon=True)
        self._target = target
        self._policies = brought
        self._is_final = is_final
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
                for each in self._policies:
                    kube.create(each, namespace)
            specs = [each.spec for each in kube.list(NETWORK_POLICIES, namespace)]
            if self._is_final or not any(map(_allows_all, specs)):
                closed.update(pod.ip for pod in kube.list(PODS, namespace) if pod.ip)
        self._close(cluster, frozenset(closed))

    def _close(self, cluster: str, pods: frozenset[str]) -> None:
        if self._closed.get(cluster, frozenset()) != pods:
            pods_closed(self._target, cluster, pods, only_among=self._is_final)
            self._closed[cluster] = pods


def _allows_all(spec: Json) -> bool:
    return not spec["podSelector"] and spec.get("ingress") == spec.get("egress") == [{}]


@contextmanager
def brought_into_each(target: Target) -> Iterator[None]:
    """Each new namespace gets policies that allow nothing, and a Sidecar by which its proxies know
    the control plane only.
    """
    with _isolated(target, _BROUGHT):
        yield


@contextmanager
def denied_by_cluster_policies(target: Target) -> Iterator[None]:
    """Pods of all namespaces but those of platforms are isolated: in the first cluster by a policy
    of Calico, in the others by one of Cilium.
    """
    with _denied(target, _DENIED_BY_CALICO, _DENIED_BY_CILIUM), _isolated(target, ()):
        yield


@contextmanager
def denied_by_administrators(target: Target) -> Iterator[None]:
    """The same by administrators' policies of the Baseline tier, in both kinds that there are."""
    with _denied(target, _DENIED_BY_BASELINE, _DENIED_BY_TIER), _isolated(target, ()):
        yield


@contextmanager
def tenants_apart(target: Target) -> Iterator[None]:
    """Administrators deny what NetworkPolicies would allow: connections between pods of users'
    namespaces; those that they made for users are excepted.
    """
    denied = _denied(target, _DENIED_BEFORE_ALL, _DENIED_BEFORE_ALL)
    with denied, _isolated(target, (), is_final=True):
        yield


@contextmanager
def _denied(target: Target, in_first: Json, in_others: Json) -> Iterator[None]:
    first, *others = target.lab.clusters
    with ExitStack() as stack:
        stack.enter_context(cni_policies.applied(target, first, in_first))
        for cluster in others:
            stack.enter_context(cni_policies.applied(target, cluster, in_others))
        yield


@contextmanager
def _isolated(target: Target, brought: Sequence[Json], *, is_final: bool = False) -> Iterator[None]:
    with ExitStack() as stack:
        clusters = {
            name: stack.enter_context(KubeEditor(cluster))
            for name, cluster in target.lab.clusters.items()
        }
        platform = Platform(target, clusters, brought, is_final=is_final)
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
    Variant(
        id="denied-by-cluster-policies",
        mesh="A policy of Calico or Cilium denies everything in all namespaces but those of the "
        "platform; users of the others have NetworkPolicies that allow what they need.",
        topology=TWO_NETWORKS,
        make=denied_by_cluster_policies,
        notes=(
            "connections are allowed here in spite of GlobalNetworkPolicy default-deny",
            "connections are allowed here in spite of CiliumClusterwideNetworkPolicy default-deny",
        ),
        provider=PROVIDER,
    ),
    Variant(
        id="denied-by-administrators",
        mesh="Policies of the Baseline tier deny everything in all namespaces but those of the "
        "platform; users of the others have NetworkPolicies that allow what they need.",
        topology=TWO_NETWORKS,
        make=denied_by_administrators,
        notes=(
            "connections are allowed here in spite of BaselineAdminNetworkPolicy default",
            "connections are allowed here in spite of ClusterNetworkPolicy default-deny",
        ),
        provider=PROVIDER,
    ),
    Variant(
        id="tenants-apart",
        mesh="An AdminNetworkPolicy denies connections between pods of all namespaces but those "
        "that administrators know.",
        topology=TWO_NETWORKS,
        make=tenants_apart,
        hindrances=(
            "AdminNetworkPolicy tenants, which no NetworkPolicy undoes",
            "have it pass on connections of namespaces mesh-conformance-*",
        ),
        provider=PROVIDER,
    ),
)
