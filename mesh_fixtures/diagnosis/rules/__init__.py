"""Rules: each looks for one kind of cause in facts, knows nothing of the others, and never asks.

Add one: a generator of causes in the module of its rung, in that module's `RULES`, with a `Kind`
that says which requirements it breaks by itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

from mesh_fixtures.diagnosis.cause import Case, Cause, Kind
from mesh_fixtures.diagnosis.rules import (
    api_servers,
    attachment,
    connections,
    control_plane,
    exposure,
    gateways,
    identity,
    injection,
    lab_parts,
    policies,
    remote_secrets,
    routing,
    trust,
    workloads,
)

Rule = Callable[[Case], Iterator[Cause]]

_MODULES = (
    api_servers,
    lab_parts,
    connections,
    control_plane,
    trust,
    gateways,
    exposure,
    attachment,
    remote_secrets,
    identity,
    injection,
    workloads,
    policies,
    routing,
)

RULES: Final[tuple[Rule, ...]] = tuple(rule for module in _MODULES for rule in module.RULES)

KINDS: Final[tuple[Kind, ...]] = tuple(
    dict.fromkeys(
        value for module in _MODULES for value in vars(module).values() if isinstance(value, Kind)
    )
)
"""Every kind of cause that a rule can find."""
