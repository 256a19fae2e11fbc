"""All requirements: those of this package are found by being there, others are registered."""

from __future__ import annotations

import pkgutil
import re
from collections.abc import Iterable, Mapping
from importlib import import_module
from pathlib import Path
from typing import Final

from mesh_fixtures.guide import requirement_entry
from mesh_fixtures.requirements.requirement import Requirement
from mesh_fixtures.scenario import Scenario

_ORDER: Final = (
    *("TRUST", "CONTROL", "DISCOVERY", "GATEWAY", "WORKLOAD", "TRAFFIC", "NETWORK"),
    *("SECURITY", "AUTHZ", "SCOPE", "RESILIENCE", "LOCALITY", "ROTATION"),
    *("ROLLBACK", "UPGRADE", "SKEW"),
)
"""Families of requirements in the order of reports; others follow. A mesh is upgraded once, so that
what is undone again comes before."""

_MODULE: Final = re.compile(r"[a-z]+_[1-9][0-9]*")
ID: Final = re.compile(r"[A-Z]+-[1-9][0-9]*")


def _found() -> tuple[Requirement, ...]:
    """The requirement of each module of this package that is named like one."""
    found = [
        import_module(f"{__package__}.{module.name}").REQUIREMENT
        for module in pkgutil.iter_modules([str(Path(__file__).parent)])
        if _MODULE.fullmatch(module.name)
    ]
    return tuple(sorted(found, key=_place))


def _place(requirement: Requirement) -> tuple[int, str, int]:
    family, _, number = requirement.id.rpartition("-")
    return _ORDER.index(family) if family in _ORDER else len(_ORDER), family, int(number)


REQUIREMENTS: Final[tuple[Requirement, ...]] = _found()
"""Those of this project; their order is that of reports."""

_registered: dict[str, Requirement] = {}


def known() -> tuple[Requirement, ...]:
    """All requirements, those that were registered last."""
    return (*REQUIREMENTS, *_registered.values())


def register(requirements: Iterable[Requirement]) -> None:
    """Add requirements of other projects; the same one may be added again.

    Raises:
        ValueError: an id is not of the form `FAMILY-1`, or is taken by another requirement; or one
            rests on something unknown.
    """
    for each in requirements:
        if not ID.fullmatch(each.id):
            raise ValueError(f"{each.id!r} is not the id of a requirement, such as LATENCY-1")
        if any(each.id == other.id and each != other for other in known()):
            raise ValueError(f"there is another requirement {each.id}")
        _registered.setdefault(each.id, each)
    ids = {each.id for each in known()}
    for each in _registered.values():
        if unknown := {*each.rests_on, *each.rests_on_for_remotes} - ids:
            raise ValueError(f"{each.id} rests on {', '.join(sorted(unknown))}, which is unknown")


def forget_registered() -> None:
    """Drop what was registered, at the end of a run."""
    _registered.clear()


def by_id(requirement_id: str) -> Requirement:
    """The requirement of that id.

    Raises:
        LookupError: there is none; says which there are.
    """
    for requirement in known():
        if requirement.id == requirement_id:
            return requirement
    valid = ", ".join(requirement.id for requirement in known())
    raise LookupError(f"there is no requirement {requirement_id!r}; valid values: {valid}")


def address(requirement_id: str) -> str:
    """Where a requirement is described: its entry in the guide, or, of one that another project has
    registered, its specification; empty where that is not known.

    Raises:
        LookupError: as `by_id`.
    """
    requirement = by_id(requirement_id)
    return requirement_entry(requirement.id) if requirement in REQUIREMENTS else requirement.url


def applicable(scenario: Scenario) -> tuple[Requirement, ...]:
    """The requirements that apply to a scenario, in order; disruptive ones too."""
    return tuple(each for each in known() if not each.missing_features(scenario))


def foundations(requirement: str, scenario: Scenario) -> frozenset[str]:
    """Ids of the requirements that one depends on, directly or not; of one that is unknown, all
    others.
    """
    records: Mapping[str, Requirement] = {each.id: each for each in known()}
    if requirement not in records:
        return frozenset(records)
    found: set[str] = set()
    waiting = [requirement]
    while waiting:
        current = records[waiting.pop()]
        below = {*current.rests_on, *(current.rests_on_for_remotes if scenario.remotes else ())}
        waiting.extend(below - found)
        found.update(below)
    return frozenset(found - {requirement})


def depending_on(
    requirements: Iterable[str], failed: Iterable[str], scenario: Scenario
) -> frozenset[str]:
    """Those failed requirements that depend on one of these, or are one of them."""
    below = frozenset(requirements)
    return frozenset(
        each for each in failed if each in below or below & foundations(each, scenario)
    )
