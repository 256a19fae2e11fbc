"""Which pods a NetworkPolicy isolates, and what it lets through all the same.

Source: Kubernetes, Network Policies (the two sorts of pod isolation; NetworkPolicySpec v1).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, Literal

from mesh_fixtures.kube.admission import Selector
from mesh_fixtures.kube.objects import Configuration, Json

Direction = Literal["Ingress", "Egress"]

DIRECTIONS: Final[Sequence[Direction]] = ("Ingress", "Egress")


def isolates(policy: Configuration, labels: Mapping[str, str], direction: Direction) -> bool:
    """Whether a policy isolates pods of its namespace with these labels in a direction: in that of
    what leaves them only where it says something of it.
    """
    default = [each for each in DIRECTIONS if each == "Ingress" or policy.spec.get("egress")]
    return direction in (policy.spec.get("policyTypes") or default) and Selector.read(
        policy.spec.get("podSelector")
    ).matches(labels)


def rules(policy: Configuration, direction: Direction) -> Sequence[Json]:
    """What a policy lets through in a direction."""
    found: Sequence[Json] = policy.spec.get(direction.lower()) or ()
    return found
