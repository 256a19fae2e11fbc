"""Whether NetworkPolicies of the control plane let pods of the run's namespace reach istiod.

Where only namespaces with a label may, those of the mesh's users have it, and the run's has not
unless it is asked for. Its proxies do not become ready then, which says nothing of the mesh.
Source: Kubernetes, Network Policies (behavior of to and from selectors).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from mesh_fixtures.contract import RUN_NAMESPACES
from mesh_fixtures.errors import NotPermitted
from mesh_fixtures.kube import Configuration, KubeClient
from mesh_fixtures.kube.admission import Selector
from mesh_fixtures.kube.cni_policies import PodIdentity
from mesh_fixtures.kube.network_policy_api import Peer
from mesh_fixtures.kube.pod_isolation import isolates, may_admit, rules_at
from mesh_fixtures.kube.resources import NETWORK_POLICIES
from mesh_fixtures.lab.kubeconfig.refusals import LABEL_OPTION
from mesh_fixtures.probe.istiod import istiods
from mesh_fixtures.scenario import ISTIOD_PORTS

_PORT = ISTIOD_PORTS[0]


@dataclass(frozen=True)
class Members:
    """Namespaces whose pods may reach istiod, as the run's may not.

    Attributes:
        policies: names of those that say so.
        selectors: of these namespaces.
    """

    policies: str
    selectors: Sequence[Selector]

    def __str__(self) -> str:
        selected = " or ".join(dict.fromkeys(map(str, self.selectors)))
        return f"{self.policies} lets namespaces with {selected} reach istiod, and not this one"

    @property
    def remedy(self) -> str:
        plain = [each.labels for each in self.selectors if not each.expressions]
        if not plain:
            return (
                f"have it let in namespaces {RUN_NAMESPACES} by a label that {LABEL_OPTION} gives"
            )
        return " ".join(f"{LABEL_OPTION} {key}={value}" for key, value in plain[0].items())


def members_only(kube: KubeClient, pods: Sequence[PodIdentity]) -> Members | None:
    """Who may reach istiod in a cluster, as some of these pods may not; None where they may, where
    there is no istiod, or that may not be read.

    Raises:
        ProbeError: the API server cannot be asked.
    """
    try:
        there = istiods(kube)
        policies = kube.list(NETWORK_POLICIES, kube.names.system_namespace) if there else ()
    except NotPermitted:
        return None
    found = [PodIdentity(each.meta.namespace, each.meta.labels) for each in there]
    return members(policies, found, pods)


def members(
    policies: Iterable[Configuration],
    istiods: Sequence[PodIdentity],
    pods: Sequence[PodIdentity],
) -> Members | None:
    """The same, by NetworkPolicies of the namespace that these istiods are in."""
    isolating = [
        policy for policy in policies if any(isolates(policy, each, "Ingress") for each in istiods)
    ]
    if all(any(may_admit(each, "Ingress", Peer(pod), _PORT) for each in isolating) for pod in pods):
        return None
    selectors = [
        selector
        for policy in isolating
        for rule in rules_at(policy, "Ingress", _PORT)
        for peer in rule.get("from") or ()
        if _leaves_out(selector := Selector.read(peer.get("namespaceSelector")), pods)
    ]
    return Members(", ".join(map(str, isolating)), selectors) if selectors else None


def _leaves_out(selector: Selector, pods: Sequence[PodIdentity]) -> bool:
    return not any(selector.matches(each.namespace_labels) for each in pods)
