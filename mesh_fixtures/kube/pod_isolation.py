"""Which pods a policy isolates, and what it lets through all the same.

Source: Kubernetes, Network Policies (the two sorts of pod isolation; NetworkPolicySpec v1).
"""

from __future__ import annotations

from collections.abc import Sequence

from mesh_fixtures.kube import cni_policies
from mesh_fixtures.kube.admission import Selector
from mesh_fixtures.kube.cni_policies import DIRECTIONS, Direction, PodIdentity
from mesh_fixtures.kube.objects import Configuration, Json


def isolates(policy: Configuration, pod: PodIdentity, direction: Direction) -> bool:
    """Whether a policy isolates a pod in a direction. A NetworkPolicy does in that of what leaves
    it only where it says something of it.
    """
    if policy.namespace not in ("", pod.namespace):
        return False
    if cni_policies.is_of_plugin(policy):
        return cni_policies.isolates(policy, pod, direction)
    default = [each for each in DIRECTIONS if each == "Ingress" or policy.spec.get("egress")]
    return direction in (policy.spec.get("policyTypes") or default) and Selector.read(
        policy.spec.get("podSelector")
    ).matches(pod.labels)


def rules(policy: Configuration, direction: Direction) -> Sequence[Json]:
    """What a policy lets through in a direction, as rules of a NetworkPolicy."""
    if cni_policies.is_of_plugin(policy):
        return cni_policies.rules(policy, direction)
    found: Sequence[Json] = policy.spec.get(direction.lower()) or ()
    return found
