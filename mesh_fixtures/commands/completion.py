"""Prints what a shell needs to complete this command's arguments."""

from __future__ import annotations

from argparse import Action, ArgumentParser, Namespace, _SubParsersAction
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from mesh_fixtures.progress import Sink
from mesh_fixtures.scenario import default_folder, more_files, scenario_files

SUMMARY = "print a shell's completion of this command"

SHELLS: Final = ("bash", "zsh", "tcsh")

_FILES: Final = ("ARCHIVE", "FILE", "PATH", "PATH|URL", "REPORT", "VERSION|PATH|URL")
_FOLDERS: Final = ("DIR",)
_SCENARIOS: Final = ("scenario", "topology")
_ENTRIES: Final = ("entry",)


def add(parser: ArgumentParser) -> None:
    parser.add_argument("shell", choices=SHELLS)
    parser.epilog = (
        'For bash, `eval "$(mesh-conformance completion bash)"` in ~/.bashrc; for zsh, '
        "`mesh-conformance completion zsh >FOLDER/_mesh-conformance` with a folder of $fpath; for "
        "tcsh, `mesh-conformance completion tcsh >FILE` and `source FILE` in ~/.tcshrc."
    )


def run(arguments: Namespace, sink: Sink) -> int:
    del sink
    print(completion(arguments.of_all, arguments.shell))
    return 0


def completion(parser: ArgumentParser, shell: str) -> str:
    """The completion of a command and of those below it; the parser is of no other use then."""
    import shtab

    folder = default_folder(Path.cwd())
    scenarios = [each.stem for each in (*scenario_files(folder), *more_files(folder))]
    for action in _actions(parser):
        if action.metavar in _FILES:
            action.complete = shtab.FILE  # type: ignore[attr-defined]
        elif action.metavar in _FOLDERS:
            action.complete = shtab.DIRECTORY  # type: ignore[attr-defined]
        elif action.dest in _SCENARIOS:
            action.choices = scenarios
        elif action.dest in _ENTRIES:
            from mesh_fixtures.commands.explain import entries

            action.choices = list(entries())
    return str(shtab.complete(parser, shell=shell))


def _actions(parser: ArgumentParser) -> Iterator[Action]:
    """The arguments of a parser and of all below it."""
    for action in parser._actions:  # argparse has no public way to its arguments
        yield action
        if isinstance(action, _SubParsersAction):
            for below in action.choices.values():
                yield from _actions(below)
