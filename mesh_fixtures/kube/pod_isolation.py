"""Which pods a policy isolates, and what it lets through all the same; and the kinds of policies of
connections that not every cluster has.

Source: Kubernetes, Network Policies (the two sorts of pod isolation; NetworkPolicySpec v1).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from mesh_fixtures.kube import cni_policies, network_policy_api
from mesh_fixtures.kube.admission import Selector
from mesh_fixtures.kube.client import KubeClient
from mesh_fixtures.kube.cni_policies import DIRECTIONS, PEERS, Direction, PodIdentity
from mesh_fixtures.kube.network_policy_api import Peer
from mesh_fixtures.kube.objects import Configuration, Json
from mesh_fixtures.kube.resources import FURTHER_POLICIES, Resource

FURTHER_KINDS: Final = ",".join(each.full_name for kinds, *_ in FURTHER_POLICIES for each in kinds)
"""As kubectl takes them."""


def further_kinds(kube: KubeClient) -> Iterator[Resource[Configuration]]:
    """The kinds of policies of connections that a cluster has besides NetworkPolicy: a network
    plugin's, and those of the Network Policy API.

    Raises:
        ProbeError: the API server cannot be asked.
    """
    apis = kube.apis()
    for ways in FURTHER_POLICIES:
        yield from next((kinds for kinds in ways if kinds[0].api in apis), ())


def isolates(policy: Configuration, pod: PodIdentity, direction: Direction) -> bool:
    """Whether a policy isolates a pod in a direction. A NetworkPolicy does in that of what leaves
    it only where it says something of it.
    """
    if policy.namespace not in ("", pod.namespace):
        return False
    if network_policy_api.is_of_administrators(policy):
        return False  # nothing is refused by default
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


def rules_at(policy: Configuration, direction: Direction, port: int) -> Sequence[Json]:
    """Those of `rules` that are for a TCP port. A name stands for any: of what, pods say."""
    return [
        rule
        for rule in rules(policy, direction)
        if not rule.get("ports") or any(_is_for(each, port) for each in rule["ports"])
    ]


def may_admit(policy: Configuration, direction: Direction, other: Peer, port: int) -> bool:
    """Whether a policy may let through in a direction what is for a TCP port. Which addresses a
    block means is not looked at: one that was translated on its way does not tell.

    Args:
        other: what is at the other end; of pods, only those of the same cluster are told apart.
    """
    return any(
        not peers or any(_may_be(each, other, policy.namespace) for each in peers)
        for rule in rules_at(policy, direction, port)
        for peers in (rule.get(PEERS[direction]),)
    )


def _may_be(given: Json, other: Peer, namespace: str) -> bool:
    """Whether a peer of a policy in a namespace may be what is at the other end."""
    if "ipBlock" in given:
        return True
    if other.pod is None:
        return False
    is_near = other.pod.namespace == namespace
    return (is_near or given.get("namespaceSelector") is not None) and other.pod.is_selected(given)


def _is_for(given: Json, port: int) -> bool:
    first = given.get("port")
    if given.get("protocol", "TCP") != "TCP":
        return False
    if not isinstance(first, int):
        return True
    return first <= port <= int(given.get("endPort") or first)
