"""A platform that brings policies into each new namespace, some time after it was made.

Source: Kyverno, Generate Rules; Kubernetes, Network Policies (default deny all); Istio,
AuthorizationPolicy (allow-nothing); Sidecar; Calico, Enable a default deny policy; Cilium, Default
Deny Ingress Policy; Network Policy API, API Overview (Baseline tier).
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Final

from mesh_fixtures.errors import LabError
from mesh_fixtures.install import names
from mesh_fixtures.kube import KubeEditor
from mesh_fixtures.kube.objects import NAME_LABEL, Json
from mesh_fixtures.kube.resources import NAMESPACES, NETWORK_POLICIES, PODS
from mesh_fixtures.probe.istiod import SELECTOR as ISTIOD
from mesh_fixtures.scenario import ISTIOD_PORTS
from tests.faults import cni_policies
from tests.faults.policies import policy
from tests.faults.target import Target, reference
from tests.faults.topologies import TWO_NETWORKS
from tests.faults.underlay import PROVIDER, passed_on_but
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


_MEMBERS: Final = {"mesh": "member"}
_FOR_MEMBERS: Final[Json] = {
    "apiVersion": NETWORK_POLICIES.api,
    "kind": NETWORK_POLICIES.kind,
    "metadata": {"name": "for-members"},
    "spec": {
        "podSelector": {"matchLabels": {"app": "istiod"}},
        "ingress": [
            {"from": [{"namespaceSelector": {"matchLabels": _MEMBERS}}, {"podSelector": {}}]},
            {"ports": [{"port": port} for port in (ISTIOD_PORTS[1], 8080, 15014)]},
        ],
    },
}


class Platform(threading.Thread):
    """Brings policies into namespaces that are made while it runs, and has nodes drop what their
    pods send or get, as a network does that enforces policies, which labs have none of.

    Args:
        brought: into each of these namespaces.
        is_closed: whether policies close a namespace to some connections.
        dropped: these connections, as expressions of nftables, by cluster and the addresses of
            pods.
    """

    def __init__(
        self,
        target: Target,
        clusters: Mapping[str, KubeEditor],
        brought: Sequence[Json],
        is_closed: Callable[[KubeEditor, str], bool],
        dropped: Callable[[str, str], Sequence[str]],
    ) -> None:
        super().__init__(daemon=True)
        self._target = target
        self._policies = brought
        self._is_closed = is_closed
        self._dropped = dropped
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
            if self._is_closed(kube, namespace):
                closed.update(pod.ip for pod in kube.list(PODS, namespace) if pod.ip)
        self._close(cluster, frozenset(closed))

    def _close(self, cluster: str, pods: frozenset[str]) -> None:
        if self._closed.get(cluster, frozenset()) != pods:
            addresses = f"{{ {', '.join(sorted(pods))} }}"
            dropped = self._dropped(cluster, addresses) if pods else ()
            passed_on_but(self._target, cluster, dropped)
            self._closed[cluster] = pods


def _is_isolated(kube: KubeEditor, namespace: str) -> bool:
    """Whether no NetworkPolicy allows all connections there."""
    specs = [each.spec for each in kube.list(NETWORK_POLICIES, namespace)]
    return not any(
        not each["podSelector"] and each.get("ingress") == each.get("egress") == [{}]
        for each in specs
    )


def _all_of(cluster: str, pods: str) -> Sequence[str]:
    del cluster
    return f"ip saddr {pods}", f"ip daddr {pods}"


def _among(cluster: str, pods: str) -> Sequence[str]:
    del cluster
    return (f"ip saddr {pods} ip daddr {pods}",)


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
    with denied, _enforced(target, (), lambda *_: True, _among):
        yield


@contextmanager
def istiod_for_members(target: Target) -> Iterator[None]:
    """istiods let in what pods of namespaces with a label send, and of others nothing but what is
    beside them.
    """
    istiods = {
        name: ", ".join(pod.ip for pod in kube.list(PODS, target.system_namespace, ISTIOD))
        for name, kube in target.kube.items()
    }

    def is_closed(kube: KubeEditor, namespace: str) -> bool:
        found = kube.get(NAMESPACES, "", namespace)
        return found is not None and not _MEMBERS.items() <= found.meta.labels.items()

    def dropped(cluster: str, pods: str) -> Sequence[str]:
        return (f"ip saddr {pods} ip daddr {{ {istiods[cluster]} }} tcp dport {ISTIOD_PORTS[0]}",)

    with ExitStack() as stack:
        for cluster in target.lab.clusters:
            stack.callback(target.delete, cluster, target.system_namespace, reference(_FOR_MEMBERS))
            target.apply(cluster, target.system_namespace, _FOR_MEMBERS)
        stack.enter_context(_enforced(target, (), is_closed, dropped))
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
def _isolated(target: Target, brought: Sequence[Json]) -> Iterator[None]:
    with _enforced(target, brought, _is_isolated, _all_of):
        yield


@contextmanager
def _enforced(
    target: Target,
    brought: Sequence[Json],
    is_closed: Callable[[KubeEditor, str], bool],
    dropped: Callable[[str, str], Sequence[str]],
) -> Iterator[None]:
    with ExitStack() as stack:
        clusters = {
            name: stack.enter_context(KubeEditor(cluster))
            for name, cluster in target.lab.clusters.items()
        }
        platform = Platform(target, clusters, brought, is_closed, dropped)
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
        id="istiod-for-members",
        mesh="A NetworkPolicy lets only namespaces with a label reach istiod; users' have it, and "
        "so has the run's.",
        topology=TWO_NETWORKS,
        make=istiod_for_members,
        arguments=("--namespace-label", "mesh=member"),
        provider=PROVIDER,
    ),
    Variant(
        id="istiod-for-members-unlabelled",
        mesh="A NetworkPolicy lets only namespaces with a label reach istiod; the run's has none.",
        topology=TWO_NETWORKS,
        make=istiod_for_members,
        hindrances=(
            "NetworkPolicy istio-system/for-members lets namespaces with mesh=member reach istiod",
            "--mesh-namespace-label mesh=member",
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
