"""The file that has values of options, for pytest and for the command line, in TOML.

    topology = ["multi-primary", "primary-remote"]
    kubeconfig = ["cluster1=one.yaml", "cluster2=two.yaml"]   # relative to the file
    requests = 400
    disruptive = true

Keys are the flags of `mesh-conformance` without the dashes before them. The command line wins over
the environment, and both over the file; the file wins over ini settings of pytest.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Final

from mesh_fixtures.errors import OptionsError
from mesh_fixtures.options import OFF, ON, OPTIONS, Given, Option
from mesh_fixtures.wording import first_of

_SHOWN: Final = 5
_LIKENESS: Final = 0.5


@dataclass(frozen=True)
class OptionsFile:
    """What such a file says.

    Attributes:
        path: its full path; None where there is no file.
        values: by the option's name.
    """

    path: Path | None = None
    values: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def given(self, option: Option) -> Given | None:
        """What the file says of an option; None for nothing."""
        values = self.values.get(option.name)
        if not values or self.path is None:
            return None
        return Given(f"{self.path}: {key_of(option)}", values, self.path.parent)


def look_up(
    option: Option,
    flag: str,
    parsed: str | Sequence[str] | None,
    folder: Path,
    file: OptionsFile,
) -> Given:
    """What an option's flag says, else its environment variable, else the options file.

    Args:
        flag: as a person writes it.
        parsed: what it was given; None where it was not.
        folder: what relative paths begin at that the file does not have.
    """
    if parsed:
        return Given(flag, (parsed,) if isinstance(parsed, str) else tuple(parsed), folder)
    variable = option.split(os.environ.get(option.variable, ""))
    found = Given(f"environment variable {option.variable}", variable, folder)
    return found if variable else file.given(option) or found


def key_of(option: Option) -> str:
    """An option's key in the file."""
    return option.short_name.replace("_", "-")


def read(path: Path | None, options: Iterable[Option]) -> OptionsFile:
    """Read and check a file.

    Args:
        path: None for no file, which says nothing.
        options: all that there are.

    Raises:
        OptionsError: it cannot be read, or has a key or a value that is not valid; names them all.
    """
    if path is None:
        return OptionsFile()
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise _refusal(path, error.strerror or str(error)) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise _refusal(path, f"no TOML: {error}") from error
    known = {key_of(option): option for option in options if option.name != OPTIONS.name}
    problems = [
        problem for key, value in content.items() for problem in _problems(key, value, known)
    ]
    if problems:
        raise _refusal(path, first_of(problems, _SHOWN))
    values = {known[key].name: _texts(value) for key, value in content.items()}
    return OptionsFile(path.absolute(), values)


def _problems(key: str, value: Any, known: Mapping[str, Option]) -> Iterator[str]:
    """What is wrong with an entry."""
    option = known.get(key)
    if option is None:
        yield f"unknown key {key!r}, {_advice(key, known)}"
    elif wanted := _wanted(option, value):
        yield f"{key}: wanted {wanted}, not {_shown(value)}"
    elif option.choices and not option.switch:
        for each in _texts(value):
            if each not in option.choices:
                yield f"{key}: {each!r} is not valid; valid values: {', '.join(option.choices)}"


def _advice(key: str, known: Mapping[str, Option]) -> str:
    plain = key.lower().replace("_", "-").lstrip("-").removeprefix("mesh-")
    nearest = get_close_matches(plain, known, n=1, cutoff=_LIKENESS)
    return f"the nearest key is {nearest[0]!r}" if nearest else "like no other"


def _wanted(option: Option, value: Any) -> str:
    """The type that a value should have; empty where it has it."""
    if option.switch:
        return "" if isinstance(value, bool) else "true or false"
    if option.repeatable:
        many = value if isinstance(value, list) else [value]
        return "" if all(isinstance(each, str) for each in many) else "a list of texts in quotes"
    if option.number:
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        return "" if is_number or isinstance(value, str) else "a number"
    return "" if isinstance(value, str) else "a text in quotes"


def _texts(value: Any) -> tuple[str, ...]:
    if isinstance(value, bool):
        return (ON[0] if value else OFF[0],)
    if isinstance(value, list):
        return tuple(value)
    return (str(value),)


def _shown(value: Any) -> str:
    if isinstance(value, list | dict):
        return "a list" if isinstance(value, list) else "a table"
    return repr(value) if isinstance(value, str) else str(value).lower()


def _refusal(path: Path, seen: str) -> OptionsError:
    return OptionsError(
        wanted="a file of options",
        seen=seen,
        where=str(path),
        remedy="mesh-conformance verify --help lists the options; a key is one without --",
    )
