"""Requirements for people: a table, and the reference page."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from mesh_fixtures.requirements.requirement import Needs, Requirement

_NEEDS: Final[Mapping[Needs, str]] = {
    "mesh": "the installed mesh",
    "sample": "the sample workloads",
    "endpoints": "the sample workloads, and the endpoints that their proxies hold",
    "traffic": "requests between the sample workloads",
}


def markdown(requirements: Iterable[Requirement]) -> str:
    """A Markdown table, one requirement a row, in the order given."""
    lines = ["| id | level | requirement |", "|---|---|---|"]
    lines += (f"| {each.id} | {_level(each)} | {each.title} |" for each in requirements)
    return "\n".join(lines)


def reference(requirements: Iterable[Requirement]) -> str:
    """The page of the guide that has an entry for each requirement, in Markdown."""
    lines = [
        "# Requirements",
        "",
        "The reference of all requirements, rendered from `mesh_fixtures/requirements/`. A",
        "requirement applies to topologies with all of its features, and is skipped on others. If",
        "one that it depends on fails, it may fail for the same cause. `-k TRAFFIC-2` selects a",
        "requirement, `--mesh-level core` a level; disruptive ones need `--mesh-disruptive`, too,",
        "and those of an [upgrade](verify-an-upgrade.md) `--mesh-upgrade-from`.",
        "[Add a requirement](add-a-requirement.md) describes how to write one.",
    ]
    for each in requirements:
        lines += ["", f"## {each.id}", "", each.title, "", *_facts(each)]
    return "\n".join(lines) + "\n"


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
