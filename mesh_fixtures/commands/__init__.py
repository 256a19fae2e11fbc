"""Commands of `mesh-conformance`, one module each with `add` (arguments) and `run`."""

from __future__ import annotations

import re
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Container, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, Protocol

from mesh_fixtures import options, options_file, patience, providers
from mesh_fixtures.errors import MachineError, ScenarioError
from mesh_fixtures.options import AUTO, Choice, Given, Option
from mesh_fixtures.options_file import OptionsFile
from mesh_fixtures.progress import Sink
from mesh_fixtures.scenario import (
    SUFFIXES,
    Scenario,
    default_folder,
    load_scenario,
    more_files,
    scenario_files,
)

FILE: Final = "options_file"
"""Of parsed arguments: what the options file says."""


class Subcommand(Protocol):
    """What each module of this package offers."""

    SUMMARY: str

    def add(self, parser: ArgumentParser) -> None:
        """Declare its arguments."""

    def run(self, arguments: Namespace, sink: Sink) -> int:
        """Do it, and return the exit status."""


def add_scenarios_folder(parser: ArgumentParser) -> None:
    """Declare where scenarios are looked up by id."""
    options.declare(parser, options.SCENARIOS)


def add_external(parser: ArgumentParser) -> None:
    """Declare which existing clusters are meant."""
    for option in providers.options(external=True):
        options.declare(parser, option)


def add_provider(
    parser: ArgumentParser, *, repeatable: bool = False, external: bool = False
) -> None:
    """Declare what makes the labs, and what runs in them.

    Args:
        external: whether existing clusters are possible too.
    """
    accepted = None if external else False
    provider = providers.provider_option(external=accepted)
    options.declare(parser, replace(provider, repeatable=repeatable))
    for option in (*options.SELECTION[1:], *providers.options(external=accepted)):
        options.declare(parser, option)


def add_patience(parser: ArgumentParser) -> None:
    """Declare what deadlines are multiplied by."""
    options.declare(parser, options.PATIENCE)


def add_progress(parser: ArgumentParser) -> None:
    """Declare how much is said while a command works."""
    how = parser.add_mutually_exclusive_group()
    how.add_argument("-q", "--quiet", action="store_true", help="show no progress")
    how.add_argument(
        "-v", "--verbose", action="store_true", help="show each step that ended, and its commands"
    )


def chosen_patience(arguments: Namespace) -> patience.Patience:
    """What `add_patience` declared.

    Raises:
        ValueError: the value is not valid; the text says where it comes from.
    """
    found = look_up(arguments, options.PATIENCE)
    return patience.chosen(found.single, found.source)


def choices(arguments: Namespace, *, external: bool = False) -> list[Choice]:
    """What `add_provider` declared, one for each provider that is asked for.

    Args:
        external: as it was declared.

    Raises:
        MachineError: a value is not valid.
    """
    accepted = None if external else False
    provider = providers.provider_option(external=accepted)
    asked = given(arguments, provider) or (AUTO,)

    def values(option: Option) -> Given:
        found = look_up(arguments, option)
        return found if found.values else replace(found, values=option.split(option.default))

    of_providers = own(arguments, external=accepted)
    return [options.choice_of(values, of_providers, each) for each in asked]


def choice(arguments: Namespace, *, external: bool = False) -> Choice:
    """`choices` of a command that works with one provider."""
    (only,) = choices(arguments, external=external)
    return only


def own(arguments: Namespace, *, external: bool | None) -> Mapping[str, Any]:
    """The values of providers' options, by the option's name.

    Args:
        external: whose options were declared, as in `providers.names`.

    Raises:
        MachineError: a value is not valid.
    """
    values = {
        option.name: value_of(arguments, option) for option in providers.options(external=external)
    }
    return {name: value for name, value in values.items() if value is not None}


def value_of(arguments: Namespace, option: Option) -> Any:
    """The value of a provider's option; None where it is not given.

    Raises:
        MachineError: it is not valid.
    """
    found = look_up(arguments, option)
    try:
        return option.value(found.values, found.folder) if found.values else None
    except ValueError as error:
        raise MachineError(
            wanted=f"{option.metavar}, repeatable" if option.repeatable else option.metavar,
            seen=str(error),
            where=found.source,
        ) from error


def given(arguments: Namespace, option: Option) -> tuple[str, ...]:
    """The values of an option, as in `look_up`."""
    return look_up(arguments, option).values


def tell(text: object, arguments: Namespace) -> None:
    """Print what went wrong on standard error, with flags as they are given to this command, which
    has `--system-namespace` where pytest has `--mesh-system-namespace`.
    """
    print(with_own_flags(str(text), vars(arguments)), file=sys.stderr)


def with_own_flags(text: str, declared: Container[str]) -> str:
    """The text with the flags of a command.

    Args:
        declared: short names of its options; flags of others stay as pytest has them.
    """

    def own(found: re.Match[str]) -> str:
        name = found[1]
        return f"--{name}" if name.replace("-", "_") in declared else found[0]

    return re.sub(r"(?<![\w-])--mesh-([a-z][a-z-]*[a-z])", own, text)


def look_up(arguments: Namespace, option: Option) -> Given:
    """What `options_file.look_up` finds.

    Raises:
        MachineError: the variable's or the file's is not valid; the parser has seen to the flag's.
    """
    flag = getattr(arguments, option.short_name, None)
    file: OptionsFile = getattr(arguments, FILE, OptionsFile())
    found = options_file.look_up(option, option.short_flag, flag, Path.cwd(), file)
    if invalid := found.invalid(option.choices):
        raise MachineError(
            wanted=f"one of {', '.join(option.choices)}",
            seen=invalid,
            where=found.source,
        )
    return found


def read_options_file(arguments: Namespace) -> None:
    """Have `look_up` know the options file, if there is one.

    Raises:
        OptionsError: it cannot be used.
    """
    named = look_up(arguments, options.OPTIONS).path
    setattr(arguments, FILE, options_file.read(named, providers.all_options()))


def find_scenario(name: str, arguments: Namespace) -> Scenario:
    """The scenario of that id, or in that file.

    Raises:
        ScenarioError: there is none, or it cannot be used.
    """
    return load_scenario(find_file(name, arguments))


def find_file(name: str, arguments: Namespace) -> Path:
    """The file of the scenario of that id; a name that ends like a file's is one.

    Raises:
        ScenarioError: there is no scenario of that id.
    """
    if is_file(name):
        return Path(name)
    folder = folder_of(arguments)
    files = [*scenario_files(folder), *more_files(folder)]
    for file in files:
        if file.stem == name:
            return file
    known = ", ".join(file.stem for file in files)
    raise ScenarioError(
        wanted=f"one of {known}" if known else "a folder of scenario files",
        seen=name if known else "none",
        where=str(folder),
        remedy="name one of these, or a file that ends with .yaml"
        if known
        else "name a folder by --scenarios, or a file that ends with .yaml",
    )


def id_of(name: str) -> str:
    """The id that a person means who names an id or a file."""
    return Path(name).stem if is_file(name) else name


def is_file(name: str) -> bool:
    """Whether a scenario's name is that of its file."""
    return name.endswith(SUFFIXES)


def folder_of(arguments: Namespace) -> Path:
    """Folder in which scenarios are looked up by id."""
    return look_up(arguments, options.SCENARIOS).path or default_folder(Path.cwd())
