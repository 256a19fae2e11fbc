"""Commands of `mesh-conformance`, one module each with `add` (arguments) and `run`."""

from __future__ import annotations

import os
from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import Protocol

from mesh_fixtures import patience, providers
from mesh_fixtures.errors import MachineError, ScenarioError
from mesh_fixtures.lab.kubeconfig.reference import FORM, Reference, read_references
from mesh_fixtures.progress import Sink
from mesh_fixtures.scenario import SUFFIXES, Scenario, default_folder, load_scenario


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


def add_kubeconfigs(parser: ArgumentParser) -> None:
    """Declare where somebody else's clusters are reached; pytest's option has the same name."""
    parser.add_argument(
        "--kubeconfig",
        metavar=FORM,
        action="append",
        help="where a cluster is reached, by the mesh's name of it; without FILE, by what kubectl "
        "would read; repeatable (default: $MESH_KUBECONFIG, split at white space)",
    )


def references(arguments: Namespace) -> tuple[Reference, ...]:
    """What `add_kubeconfigs` declared; empty where nothing is given.

    Raises:
        MachineError: one of them is not of the right form.
    """
    given = arguments.kubeconfig or os.environ.get("MESH_KUBECONFIG", "").split()
    try:
        return read_references(given, Path.cwd())
    except ValueError as error:
        raise MachineError(
            wanted=f"{FORM}, once for each cluster", seen=str(error), where="--kubeconfig"
        ) from error


def add_provider(
    parser: ArgumentParser, *, repeatable: bool = False, foreign: bool = False
) -> None:
    """Declare what makes the labs, and what runs in them; pytest's options have the same names.

    Args:
        foreign: whether clusters that somebody else made will do.
    """
    valid = providers.ALL_PROVIDERS if foreign else providers.PROVIDERS

    def default(name: str) -> str:
        return os.environ.get(f"MESH_{name}") or providers.AUTO

    parser.add_argument(
        "--provider",
        choices=(providers.AUTO, *valid),
        action="append" if repeatable else "store",
        default=None if repeatable else default("PROVIDER"),
        help="what makes clusters (default: $MESH_PROVIDER, else auto: netns for root, else kind)"
        + ("; repeatable" if repeatable else ""),
    )
    parser.add_argument(
        "--images",
        choices=(providers.AUTO, *providers.IMAGES),
        default=default("IMAGES"),
        help="Istio's images: built here, or those of the istioctl in PATH (default: "
        "$MESH_IMAGES, else auto)",
    )
    parser.add_argument(
        "--kubernetes",
        metavar="VERSION|IMAGE",
        default=os.environ.get("MESH_KUBERNETES", ""),
        help="version of Kubernetes, or kind's node image (default: $MESH_KUBERNETES, else the "
        "provider's own choice)",
    )
    parser.add_argument(
        "--istioctl",
        metavar="VERSION|PATH|URL",
        default=os.environ.get("MESH_ISTIOCTL", ""),
        help="istioctl of the release whose images are used: the release's version, a file, or a "
        "URL (default: $MESH_ISTIOCTL, else the one in PATH)",
    )
    parser.add_argument(
        "--install",
        choices=(providers.AUTO, *providers.METHODS),
        default=default("INSTALL"),
        help="how the mesh is installed (default: $MESH_INSTALL, else istioctl)",
    )
    parser.add_argument(
        "--charts",
        metavar="PATH|URL",
        default=os.environ.get("MESH_CHARTS", ""),
        help="Istio's Helm charts for --install helm: a folder, or a repository's URL (default: "
        "$MESH_CHARTS, else those of built images)",
    )


def add_patience(parser: ArgumentParser) -> None:
    """Declare what deadlines are multiplied by; pytest's option has the same name."""
    parser.add_argument(
        "--patience",
        metavar="N",
        help=f"multiply every deadline by N, {patience.FORM}, where a machine is slow (default: "
        "$MESH_PATIENCE, else by how busy this machine is)",
    )


def chosen_patience(arguments: Namespace) -> patience.Patience:
    """What `add_patience` declared.

    Raises:
        ValueError: the value is not valid; the text says where it comes from.
    """
    if arguments.patience:
        return patience.chosen(arguments.patience, "--patience")
    variable = os.environ.get("MESH_PATIENCE", "").strip()
    return patience.chosen(variable, "environment variable MESH_PATIENCE")


def choices(arguments: Namespace, *, foreign: bool = False) -> list[providers.Choice]:
    """What `add_provider` declared, one for each provider that is asked for.

    Args:
        foreign: whether it, and `add_kubeconfigs`, declared that somebody else's clusters will do.

    Raises:
        MachineError: an environment variable has a value that is not valid.
    """
    valid_providers = providers.ALL_PROVIDERS if foreign else providers.PROVIDERS
    asked = arguments.provider
    if not isinstance(asked, list):
        asked = [asked or os.environ.get("MESH_PROVIDER") or providers.AUTO]
    for value, valid in (
        *((each, (providers.AUTO, *valid_providers)) for each in asked),
        (arguments.images, (providers.AUTO, *providers.IMAGES)),
        (arguments.install, (providers.AUTO, *providers.METHODS, providers.SKIP)),
    ):
        if value not in valid:
            raise MachineError(
                wanted=f"one of {', '.join(valid)}",
                seen=str(value),
                where="environment variable MESH_PROVIDER, MESH_IMAGES or MESH_INSTALL",
            )
    kubeconfigs = references(arguments) if foreign else ()
    return [
        providers.Choice(
            provider=each,
            images=arguments.images,
            kubernetes=arguments.kubernetes,
            kubeconfigs=kubeconfigs,
            install=arguments.install,
            charts=providers.located(arguments.charts, Path.cwd()),
            istioctl=providers.located(arguments.istioctl, Path.cwd()),
        )
        for each in asked
    ]


def choice(arguments: Namespace, *, foreign: bool = False) -> providers.Choice:
    """`choices` of a command that works with one provider."""
    (only,) = choices(arguments, foreign=foreign)
    return only


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
    for file in scenario_files(folder):
        if file.stem == name:
            return file
    known = ", ".join(file.stem for file in scenario_files(folder))
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
    chosen: Path | None = arguments.scenarios
    return chosen or default_folder(Path.cwd())


def scenario_files(folder: Path) -> list[Path]:
    """Files of a folder that may be scenarios, by name; none when there is no such folder."""
    if not folder.is_dir():
        return []
    return sorted(path for path in folder.iterdir() if path.suffix in SUFFIXES)
