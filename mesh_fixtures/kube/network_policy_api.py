"""Policies of the Network Policy API, by which the administrators of a cluster decide on the
connections of pods in any namespace.

Those of the tier Admin decide before NetworkPolicies, which undo nothing of that; those of the tier
Baseline after them, where no NetworkPolicy isolates a pod. In a tier, lower priorities come first,
and the first rule that is about a connection decides. Rules of what arrives name pods of the same
cluster only. Whether they are in force, their network plugin decides.

Source: Network Policy API, API Overview; ClusterNetworkPolicy v1beta1; AdminNetworkPolicy and
BaselineAdminNetworkPolicy v1alpha1.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import ip_network
from typing import Final, Literal

from mesh_fixtures.addresses import parsed
from mesh_fixtures.kube.admission import Selector
from mesh_fixtures.kube.cni_policies import PEERS, Direction, PodIdentity
from mesh_fixtures.kube.objects import Configuration, Json
from mesh_fixtures.kube.resources import ADMIN_POLICIES, CLUSTER_POLICIES

Tier = Literal["Admin", "Baseline"]

_ADMIN, _BASELINE = (each.kind for each in ADMIN_POLICIES)
_CLUSTER: Final = frozenset(each.kind for kinds in CLUSTER_POLICIES for each in kinds)
_LAST: Final = 1000
"""Number of a policy that has none, as there is one such."""


@dataclass(frozen=True)
class Peer:
    """What is at the other end of a connection.

    Attributes:
        pod: where it is one of the same cluster.
        address: empty where it is not known.
    """

    pod: PodIdentity | None = None
    address: str = ""


@dataclass(frozen=True)
class Decision:
    """What a policy decides on a connection."""

    policy: Configuration
    denies: bool


def is_of_administrators(policy: Configuration) -> bool:
    """Whether a policy is of this API."""
    return policy.kind in (_ADMIN, _BASELINE) or policy.kind in _CLUSTER


def decision(
    policies: Iterable[Configuration],
    tier: Tier,
    pod: PodIdentity,
    direction: Direction,
    peer: Peer,
    port: int,
) -> Decision | None:
    """What the policies of a tier decide on a pod's connections in a direction, as far as that is
    certain; None where they leave it to what comes after them.

    Args:
        port: of TCP, at which the connection arrives.
    """
    for policy in sorted(_of_tier(policies, tier, pod), key=_priority):
        for rule in policy.spec.get(direction.lower()) or ():
            action = rule.get("action")
            denies = action == "Deny"
            others = rule.get(PEERS[direction]) or ()
            if _is_at(rule, port, is_certain=denies) and any(
                _is_peer(each, peer, is_certain=denies) for each in others
            ):
                return None if action == "Pass" else Decision(policy, denies)
    return None


def may_deny(policy: Configuration, tier: Tier, pod: PodIdentity, direction: Direction) -> bool:
    """Whether a policy is of a tier, and denies some of a pod's connections in a direction."""
    given = policy.spec.get(direction.lower()) or ()
    denies = any(rule.get("action") == "Deny" for rule in given)
    return denies and bool(_of_tier((policy,), tier, pod))


def _of_tier(
    policies: Iterable[Configuration], tier: Tier, pod: PodIdentity
) -> list[Configuration]:
    return [
        each
        for each in policies
        if is_of_administrators(each)
        and _tier(each) == tier
        and _is_of(each.spec.get("subject") or {}, pod)
    ]


def _tier(policy: Configuration) -> str:
    tiers = {_ADMIN: "Admin", _BASELINE: "Baseline"}
    return tiers.get(policy.kind) or str(policy.spec.get("tier"))


def _priority(policy: Configuration) -> int:
    return int(policy.spec.get("priority", _LAST))


def _is_of(given: Json, pod: PodIdentity) -> bool:
    """Whether a subject or a peer selects a pod."""
    if "namespaces" in given:
        return Selector.read(given["namespaces"]).matches(pod.namespace_labels)
    return "pods" in given and pod.is_selected(given["pods"])


def _is_peer(given: Json, peer: Peer, *, is_certain: bool) -> bool:
    """Whether an entry of a rule is about what is at the other end.

    Args:
        is_certain: whether it has to be for certain; what a domain name stands for is not known.
    """
    if "networks" in given:
        return any(_covers(network, peer.address) for network in given["networks"] or ())
    if "domainNames" in given:
        return peer.pod is None and not is_certain
    return peer.pod is not None and _is_of(given, peer.pod)


def _covers(network: str, address: str) -> bool:
    """Whether a network has an address; for one that is not known, only where it has all."""
    range_, at = ip_network(network, strict=False), parsed(address)
    return range_.prefixlen == 0 if at is None else at in range_


def _is_at(rule: Json, port: int, *, is_certain: bool) -> bool:
    given = [*(rule.get("ports") or ()), *(rule.get("protocols") or ())]
    return not given or any(_is_port(each, port, is_certain=is_certain) for each in given)


def _is_port(given: Json, port: int, *, is_certain: bool) -> bool:
    """Whether it is about a TCP port; of what a name stands for, its pods say."""
    if "namedPort" in given or "destinationNamedPort" in given:
        return not is_certain
    if "tcp" in given:
        at: Json | None = (given["tcp"] or {}).get("destinationPort")
        return at is None or _is_within(at.get("number"), at.get("range"), port)
    single, several = given.get("portNumber") or {}, given.get("portRange")
    protocol = (single or several or {}).get("protocol", "TCP")
    return bool(protocol == "TCP") and _is_within(single.get("port"), several, port)


def _is_within(number: int | None, several: Json | None, port: int) -> bool:
    if several:
        return int(several["start"]) <= port <= int(several["end"])
    return number == port
