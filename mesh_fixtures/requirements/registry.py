"""All requirements: those of this package are found by being there, others are registered. Which of
them a person means, and their description in Markdown.
"""

from __future__ import annotations

import pkgutil
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from difflib import get_close_matches
from fnmatch import fnmatchcase
from importlib import import_module
from pathlib import Path
from typing import Final

from mesh_fixtures.guide import requirement_entry
from mesh_fixtures.requirements.requirement import Needs, Requirement
from mesh_fixtures.scenario import Scenario

_ORDER: Final = (
    *("TRUST", "CONTROL", "DISCOVERY", "GATEWAY", "WORKLOAD", "TRAFFIC", "NETWORK"),
    *("SECURITY", "AUTHZ", "SCOPE", "MCS", "RESILIENCE", "LOCALITY", "ROTATION"),
    *("ROLLBACK", "UPGRADE", "SKEW"),
)
"""Families of requirements in the order of reports; others follow. A mesh is upgraded once, so that
what is undone again comes before."""

_MODULE: Final = re.compile(r"[a-z]+_[1-9][0-9]*")
ID: Final = re.compile(r"[A-Z]+-[1-9][0-9]*")

_LIKENESS: Final = 0.5
"""From which a text is taken for a misspelt name."""

_NEEDS: Final[Mapping[Needs, str]] = {
    "mesh": "the installed mesh",
    "sample": "the sample workloads",
    "endpoints": "the sample workloads, and the endpoints that their proxies hold",
    "traffic": "requests between the sample workloads",
}


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
    """The requirements that apply to a scenario, in order; also those that change its mesh."""
    return tuple(each for each in known() if not each.missing_features(scenario))


def observable(scenario: Scenario) -> tuple[Requirement, ...]:
    """The requirements that apply to a scenario and leave its mesh as it is, in order: no
    disruptive one, and none that is about an upgrade.
    """
    return tuple(each for each in applicable(scenario) if not each.disruptive and not each.upgrades)


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


def selects(which: str, requirement: Requirement) -> bool:
    """Whether a text means a requirement: as a pattern of its id, or as one of its other names,
    in whatever case.
    """
    return fnmatchcase(requirement.id, which.upper()) or which.lower() in _names(requirement)


def selector(include: Iterable[str], exclude: Iterable[str]) -> Callable[[Requirement], bool]:
    """Whether a requirement is selected: by one of those to include, where there are any, and by
    none of those to exclude.

    Raises:
        ValueError: a text means none that is known; the error has the nearest one that does.
    """
    included, excluded = tuple(include), tuple(exclude)
    for which in (*included, *excluded):
        if not any(selects(which, each) for each in known()):
            raise ValueError(f"{which!r} selects no requirement; {_advice(which)}")

    def is_selected(requirement: Requirement) -> bool:
        return (not included or any(selects(each, requirement) for each in included)) and not any(
            selects(each, requirement) for each in excluded
        )

    return is_selected


def markdown_table(requirements: Iterable[Requirement]) -> str:
    """A Markdown table, one requirement a row, in the order given."""
    lines = ["| id | level | requirement |", "|---|---|---|"]
    lines += (f"| {each.id} | {_level(each)} | {each.title} |" for each in requirements)
    return "\n".join(lines)


def markdown_entries(requirements: Iterable[Requirement]) -> str:
    """An entry for each requirement, in Markdown; its heading is the id."""
    return "\n".join(f"## {each.id}\n\n{markdown_entry(each)}\n" for each in requirements)


def markdown_entry(requirement: Requirement) -> str:
    """What a requirement demands, and what it depends on, in Markdown."""
    return "\n".join((requirement.title, "", *_facts(requirement)))


def _names(requirement: Requirement) -> Iterator[str]:
    """The names of a requirement but for its id: its family, its level, its section, and the page
    that this is of.
    """
    yield requirement.id.rpartition("-")[0].lower()
    yield requirement.level
    section = requirement.section.lower()
    if section:
        yield section
        yield from section.split(": ")


def _advice(which: str) -> str:
    names = {name: name for each in known() for name in _names(each)}
    names |= {each.id.lower(): each.id for each in known()}
    nearest = get_close_matches(which.lower(), names, n=1, cutoff=_LIKENESS)
    return f"the nearest is {names[nearest[0]]!r}" if nearest else "see docs/requirements.md"


def _facts(requirement: Requirement) -> Iterator[str]:
    yield f"- Level: {_level(requirement)}"
    if requirement.features:
        yield f"- Features: {', '.join(requirement.features)}"
    if requirement.upgrades:
        yield f"- Upgrade: {' or '.join(requirement.upgrades)}"
    yield f"- Prerequisites: {_NEEDS[requirement.needs]}"
    if requirement.rests_on:
        yield f"- Depends on: {_links(requirement.rests_on)}"
    if requirement.rests_on_for_remotes:
        yield f"- With remotes, also on: {_links(requirement.rests_on_for_remotes)}"
    yield f"- Specification: [{requirement.section}]({requirement.url})"


def _links(ids: Iterable[str]) -> str:
    return ", ".join(f"[{each}](#{each.lower()})" for each in ids)


def _level(requirement: Requirement) -> str:
    kinds = {"disruptive": requirement.disruptive, "upgrade": bool(requirement.upgrades)}
    return ", ".join((requirement.level, *(kind for kind, applies in kinds.items() if applies)))
