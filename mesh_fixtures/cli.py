"""The console script `mesh-conformance`: the harness by hand, and what a machine needs for it."""

from __future__ import annotations

import importlib
import os
import sys
from argparse import ArgumentParser, RawDescriptionHelpFormatter
from collections.abc import Sequence
from typing import cast

from mesh_fixtures import __version__, patience
from mesh_fixtures.commands import Command, chosen_patience
from mesh_fixtures.errors import MeshConformanceError, ReportError, ScenarioError
from mesh_fixtures.progress.display import Display

COMMANDS = (
    "verify",
    "check",
    "doctor",
    "artifacts",
    "images",
    "plan",
    "certificates",
    "up",
    "down",
    "load-image",
    "diagnose",
    "discover",
    "rbac",
    "report",
    "gate",
    "explain",
    "completion",
    "clean",
)

FAILED = 1
USAGE = 2
INTERRUPTED = 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command.

    Returns:
        0 for success, 1 for an error, 2 for input that cannot be used, 130 when interrupted.
    """
    return execute(main_parser(), arguments)


def execute(parser: ArgumentParser, arguments: Sequence[str] | None) -> int:
    """Parse arguments and do what they ask for.

    Args:
        parser: sets `run` to that of a `Command`, and `prog` to its name in messages.

    Returns:
        As `main`.
    """
    parsed, unknown = parser.parse_known_args(arguments)
    takes_unknown = "takes_unknown" in parsed
    if unknown and not takes_unknown:
        parser.error(f"unrecognized arguments: {' '.join(unknown)}")
    parsed.unknown = unknown
    if "patience" in parsed and not takes_unknown:
        try:
            patience.use(chosen_patience(parsed))
        except ValueError as error:
            parser.error(str(error))
        if patience.current().factor != 1:
            print(f"patience: {patience.current()}", file=sys.stderr)
    display = Display(lambda line: print(line, file=sys.stderr, flush=True))
    try:
        status: int = parsed.run(parsed, display)
        sys.stdout.flush()
        return status
    except (ScenarioError, ReportError) as error:
        print(error, file=sys.stderr)
        return USAGE
    except MeshConformanceError as error:
        print(error, file=sys.stderr)
        return FAILED
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    except OSError as error:
        print(f"{parsed.prog}: {error}", file=sys.stderr)
        return FAILED
    finally:
        display.close()


def _module(name: str) -> Command:
    return cast(
        "Command", importlib.import_module(f"mesh_fixtures.commands.{name.replace('-', '_')}")
    )


def main_parser() -> ArgumentParser:
    """The parser of the console script, with those of its commands."""
    parser = ArgumentParser(
        prog="mesh-conformance",
        description="Istio multicluster meshes on real Kubernetes clusters of this machine.",
        epilog="Exit status: 0 done, 1 failed, 2 cannot be used as given, 130 interrupted.",
        formatter_class=RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name in COMMANDS:
        module = _module(name)
        description = f"{module.SUMMARY[0].upper()}{module.SUMMARY[1:]}."
        command = commands.add_parser(name, help=module.SUMMARY, description=description)
        module.add(command)
        command.set_defaults(run=module.run, prog=command.prog, of_all=parser)
    return parser


if __name__ == "__main__":
    sys.exit(main())
