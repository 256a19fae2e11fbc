"""Runs the conformance tests: the same as `pytest tests/conformance`, from anywhere."""

from __future__ import annotations

import os
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from pathlib import Path

import mesh_fixtures
from mesh_fixtures import options, providers
from mesh_fixtures.progress import Sink

SUMMARY = "verify topologies, or an existing mesh, and write reports"

CONFIGURATION = Path(__file__).with_name("verify.ini")


def add(parser: ArgumentParser) -> None:
    parser.usage = f"{parser.prog} [EXPRESSION] [options] [arguments of pytest]"
    parser.allow_abbrev = False
    parser.set_defaults(takes_unknown=True)
    for option in providers.all_options():
        options.declare(parser, option)
    parser.add_argument("--plan", action="store_true", help="print runbooks and run nothing")
    parser.epilog = (
        "EXPRESSION selects topologies and requirements as pytest -k does: multi-network, or "
        "'primary-remote and TRAFFIC-2'; all by default. Whatever is not known here is handed on "
        "to pytest, such as -n 2, -x or --junitxml. Exit "
        "status: as pytest's; 0: every requirement is met, 1: not so, 4: cannot be run as given."
    )


def run(arguments: Namespace, sink: Sink) -> int:
    """Become pytest, which has its own way with signals and exit statuses."""
    del sink
    argv = command(arguments, arguments.unknown, Path.cwd())
    sys.stdout.flush()
    os.execv(argv[0], argv)  # noqa: S606, in place of this process


def command(arguments: Namespace, unknown: Sequence[str], folder: Path) -> list[str]:
    """The command line that runs the tests.

    Args:
        unknown: an expression, if the first is no option, and arguments for pytest.
        folder: where reports go by default, and whose `scenarios/` are looked at first.
    """
    tests = suite_folder()
    argv = [sys.executable, "-m", "pytest", str(tests)]
    argv += [f"--config-file={CONFIGURATION}", f"--rootdir={folder}"]
    if unknown and not unknown[0].startswith("-"):
        argv += ["-k", unknown[0]]
        unknown = unknown[1:]
    for option in providers.all_options():
        value = getattr(arguments, option.short_name)
        if value is not None:
            values = value if option.repeatable else [value]
            argv += [option.flag if option.switch else f"{option.flag}={each}" for each in values]
    if arguments.plan:
        argv.append("--mesh-plan")
    return [*argv, *unknown]


def suite_folder() -> Path:
    """The tests of this installation; in a checkout, those of the project."""
    package = Path(mesh_fixtures.__file__).parent
    installed = package / "suite"
    here = (installed / "test_conformance.py").exists()
    return installed if here else package.parent / "tests" / "conformance"
