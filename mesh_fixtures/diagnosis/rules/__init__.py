"""Rules: each looks for one kind of cause in facts, knows nothing of the others, and never asks.

Add one: a generator of causes in the module of its layer, in that module's `RULES`, with a `Kind`
that says which requirements it breaks by itself, and a `Cause.about` where what it concerns is not
just its clusters: a cause explains only findings about that (`explains`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

from mesh_fixtures.diagnosis.cause import Case, Cause, Kind
from mesh_fixtures.diagnosis.rules import (
    attachment,
    authorities,
    cluster_access,
    cluster_health,
    connections,
    control_plane,
    endpoint_shards,
    exported_services,
    gateway_exposure,
    gateway_health,
    gateway_proxies,
    identity,
    istiod_access,
    mesh_settings,
    network_policies,
    requests,
    routing,
    sample_workloads,
    security_policies,
    sidecar_injection,
    validation,
)

Rule = Callable[[Case], Iterator[Cause]]

_MODULES = (
    cluster_health,
    network_policies,
    connections,
    control_plane,
    validation,
    authorities,
    gateway_health,
    gateway_exposure,
    gateway_proxies,
    attachment,
    istiod_access,
    cluster_access,
    endpoint_shards,
    identity,
    sidecar_injection,
    sample_workloads,
    security_policies,
    mesh_settings,
    exported_services,
    routing,
    requests,
)

RULES: Final[tuple[Rule, ...]] = tuple(rule for module in _MODULES for rule in module.RULES)

KINDS: Final[tuple[Kind, ...]] = tuple(
    dict.fromkeys(
        value for module in _MODULES for value in vars(module).values() if isinstance(value, Kind)
    )
)
"""Every kind of cause that a rule can find."""
