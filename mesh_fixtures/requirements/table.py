"""Requirements for people: a table, and the guide's reference of all of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import groupby
from typing import Final

from mesh_fixtures.requirements.requirement import Needs, Requirement

_BEFORE: Final[Mapping[Needs, str]] = {
    "mesh": "the installed mesh",
    "sample": "the installed mesh, with HelloWorld and Sleep ready in it",
    "endpoints": "the sample workloads, and the endpoints that Sleep's proxies have of HelloWorld",
    "traffic": "the endpoints, and requests from Sleep in every cluster to HelloWorld",
}


def markdown(requirements: Iterable[Requirement]) -> str:
    """A Markdown table of requirements, a line each, in the order given."""
    lines = ["| id | level | requirement |", "|---|---|---|"]
    lines += (f"| {each.id} | {_level(each)} | {each.title} |" for each in requirements)
    return "\n".join(lines)


def reference(requirements: Iterable[Requirement]) -> str:
    """Markdown with a heading for each family of requirements, and one below it for each of these,
    in the order given.
    """
    families = groupby(requirements, key=lambda each: each.id.partition("-")[0])
    return "\n\n".join(
        f"## {family}\n\n" + "\n\n".join(_entry(each) for each in those)
        for family, those in families
    )


def _entry(requirement: Requirement) -> str:
    facts = "\n".join(f"- {name}: {value}" for name, value in _facts(requirement))
    return f"### {requirement.id}\n\n{requirement.title}\n\n{facts}"


def _facts(requirement: Requirement) -> Iterator[tuple[str, str]]:
    yield "Level", _level(requirement)
    features = ", ".join(f"`{each}`" for each in requirement.features)
    yield "Applies to", f"topologies with {features}" if features else "all topologies"
    yield "Depends on", "; ".join(_below(requirement)) or "nothing"
    yield "Needs", _BEFORE[requirement.needs]
    if requirement.url:
        title = requirement.section or requirement.url
        yield "Specification", f"[{title}]({requirement.url})"


def _below(requirement: Requirement) -> Iterator[str]:
    if requirement.rests_on:
        yield _linked(requirement.rests_on)
    if requirement.rests_on_for_remotes:
        yield f"with remotes, on {_linked(requirement.rests_on_for_remotes)}"


def _linked(ids: Iterable[str]) -> str:
    return ", ".join(f"[{each}](#{each.lower()})" for each in ids)


def _level(requirement: Requirement) -> str:
    return f"{requirement.level}, disruptive" if requirement.disruptive else requirement.level
