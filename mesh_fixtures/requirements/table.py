"""Requirements for people: a table, and entries of the reference page."""

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


def entries(requirements: Iterable[Requirement]) -> str:
    """An entry for each requirement, in Markdown; its heading is the id."""
    return "\n".join(f"## {each.id}\n\n{entry(each)}\n" for each in requirements)


def entry(requirement: Requirement) -> str:
    """What a requirement demands, and what it depends on, in Markdown."""
    return "\n".join((requirement.title, "", *_facts(requirement)))


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
