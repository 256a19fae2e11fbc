"""Which requirements depend on which: what makes one fail makes all that depend on it fail."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from mesh_fixtures.scenario import Scenario

_RESTS_ON: Mapping[str, tuple[str, ...]] = {
    "TRUST-1": (),
    "CONTROL-1": (),
    "DISCOVERY-1": ("CONTROL-1",),
    "GATEWAY-1": ("CONTROL-1",),
    "WORKLOAD-1": ("CONTROL-1",),
    "TRUST-2": ("TRUST-1", "WORKLOAD-1"),
    "CONTROL-2": ("WORKLOAD-1",),
    "CONTROL-3": ("WORKLOAD-1",),
    "DISCOVERY-2": ("DISCOVERY-1", "CONTROL-2", "CONTROL-3", "WORKLOAD-1", "GATEWAY-1"),
    "NETWORK-1": ("WORKLOAD-1",),
    "TRAFFIC-1": ("DISCOVERY-2", "NETWORK-1", "TRUST-1", "TRUST-2"),
    "TRAFFIC-2": ("TRAFFIC-1",),
    "TRAFFIC-3": ("TRAFFIC-1",),
    "SECURITY-1": ("TRAFFIC-1",),
    "SECURITY-2": ("GATEWAY-1", "TRUST-1", "WORKLOAD-1"),
    "SECURITY-3": ("GATEWAY-1",),
    "RESILIENCE-1": ("TRAFFIC-2",),
    "RESILIENCE-2": ("TRAFFIC-2",),
    "RESILIENCE-3": ("TRAFFIC-2",),
    "RESILIENCE-4": ("TRAFFIC-2", "DISCOVERY-1"),
}

_OF_REMOTES: Mapping[str, tuple[str, ...]] = {
    "WORKLOAD-1": ("GATEWAY-1", "DISCOVERY-1", "TRUST-1"),
    "GATEWAY-1": ("DISCOVERY-1",),
}
"""A remote is injected and configured through its primary's gateway, and attached by a secret."""


def foundations(requirement: str, scenario: Scenario) -> frozenset[str]:
    """Requirements that a requirement depends on, directly or not; of one that is not known here,
    all others.
    """
    if requirement not in _RESTS_ON:
        return frozenset(_RESTS_ON)
    found: set[str] = set()
    waiting = [requirement]
    while waiting:
        current = waiting.pop()
        below = _RESTS_ON[current] + (_OF_REMOTES.get(current, ()) if scenario.remotes else ())
        waiting.extend(set(below) - found)
        found.update(below)
    return frozenset(found - {requirement})


def depends_on(
    requirements: Iterable[str], failed: Iterable[str], scenario: Scenario
) -> frozenset[str]:
    """Those failed requirements that depend on one of these, or are one of them."""
    below = frozenset(requirements)
    return frozenset(
        each for each in failed if each in below or below & foundations(each, scenario)
    )
