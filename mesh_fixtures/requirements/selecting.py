"""Which requirements a person means by an id, a pattern of ids, a family, a level or a section."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from difflib import get_close_matches
from fnmatch import fnmatchcase
from typing import Final

from mesh_fixtures.requirements.requirement import Requirement

_LIKENESS: Final = 0.5


def selects(which: str, requirement: Requirement) -> bool:
    """Whether a text means a requirement: as a pattern of its id, or as one of its other names,
    in whatever case.
    """
    return fnmatchcase(requirement.id, which.upper()) or which.lower() in _names(requirement)


def selector(
    include: Iterable[str], exclude: Iterable[str], known: Iterable[Requirement]
) -> Callable[[Requirement], bool]:
    """Whether a requirement is selected: by one of those to include, where there are any, and by
    none of those to exclude.

    Args:
        known: all requirements that there are.

    Raises:
        ValueError: a text means none of them; the error has the nearest one that does.
    """
    included, excluded, every = tuple(include), tuple(exclude), tuple(known)
    for which in (*included, *excluded):
        if not any(selects(which, each) for each in every):
            raise ValueError(f"{which!r} selects no requirement; {_advice(which, every)}")

    def is_selected(requirement: Requirement) -> bool:
        return (not included or any(selects(each, requirement) for each in included)) and not any(
            selects(each, requirement) for each in excluded
        )

    return is_selected


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


def _advice(which: str, requirements: Iterable[Requirement]) -> str:
    names = {name: name for each in requirements for name in _names(each)}
    names |= {each.id.lower(): each.id for each in requirements}
    nearest = get_close_matches(which.lower(), names, n=1, cutoff=_LIKENESS)
    return f"the nearest is {names[nearest[0]]!r}" if nearest else "see docs/requirements.md"
