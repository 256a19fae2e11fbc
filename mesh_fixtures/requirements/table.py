"""Requirements as a table for people."""

from __future__ import annotations

from collections.abc import Iterable

from mesh_fixtures.requirements.requirement import Requirement


def markdown(requirements: Iterable[Requirement]) -> str:
    """A Markdown table, one requirement a row, in the order given."""
    lines = ["| id | level | requirement |", "|---|---|---|"]
    lines += (f"| {each.id} | {_level(each)} | {each.title} |" for each in requirements)
    return "\n".join(lines)


def _level(requirement: Requirement) -> str:
    return f"{requirement.level}, disruptive" if requirement.disruptive else requirement.level
