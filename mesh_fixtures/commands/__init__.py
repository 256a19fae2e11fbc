"""Commands of `mesh-conformance`, one module each with `add` (arguments) and `run`."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import Protocol

from mesh_fixtures.errors import ScenarioError
from mesh_fixtures.progress import Sink
from mesh_fixtures.scenario import Scenario, load_scenario
from mesh_fixtures.selection import default_folder


class Command(Protocol):
    """What each module of this package offers."""

    SUMMARY: str

    def add(self, parser: ArgumentParser) -> None:
        """Declare its arguments."""

    def run(self, arguments: Namespace, sink: Sink) -> int:
        """Do it, and return the exit status."""


def add_scenarios_folder(parser: ArgumentParser) -> None:
    """Declare where scenarios are looked up by id."""
    parser.add_argument(
        "--scenarios",
        metavar="DIR",
        type=Path,
        help="folder of the scenario files (default: scenarios/ here, else the project's own)",
    )


def find_scenario(name: str, arguments: Namespace) -> Scenario:
    """The scenario of that id, or in that file.

    Raises:
        ScenarioError: there is none, or it cannot be used.
    """
    if name.endswith((".yaml", ".yml")):
        return load_scenario(Path(name))
    folder = folder_of(arguments)
    for suffix in (".yaml", ".yml"):
        if (folder / f"{name}{suffix}").is_file():
            return load_scenario(folder / f"{name}{suffix}")
    raise ScenarioError(
        wanted=f"one of {', '.join(ids(arguments)) or 'no scenario: the folder is empty'}",
        seen=name,
        where=str(folder),
        remedy="name one of these, or a file that ends with .yaml",
    )


def folder_of(arguments: Namespace) -> Path:
    """Folder in which scenarios are looked up by id."""
    chosen: Path | None = arguments.scenarios
    return chosen or default_folder(Path.cwd())


def ids(arguments: Namespace) -> list[str]:
    """Ids of all scenarios of the folder."""
    folder = folder_of(arguments)
    if not folder.is_dir():
        return []
    return sorted(path.stem for path in folder.iterdir() if path.suffix in (".yaml", ".yml"))
