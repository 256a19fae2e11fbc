"""The console script `mesh-conformance`: the harness by hand, and what a machine needs for it."""

from __future__ import annotations

import importlib
import os
import sys
from argparse import ArgumentParser, Namespace, RawDescriptionHelpFormatter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, redirect_stderr, redirect_stdout
from typing import cast

from mesh_fixtures import __version__, options, patience
from mesh_fixtures.commands import Subcommand, chosen_patience, read_options_file, tell
from mesh_fixtures.errors import (
    MeshConformanceError,
    OptionsError,
    ReportError,
    ScenarioError,
)
from mesh_fixtures.progress import Sink, discard
from mesh_fixtures.progress.display import Display, takes_live_lines

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
        parser: sets `run` to that of a `Subcommand`, and `prog` to its name in messages.

    Returns:
        As `main`.
    """
    parsed, unknown = parser.parse_known_args(arguments)
    takes_unknown = "takes_unknown" in parsed
    if unknown and not takes_unknown:
        parser.error(f"unrecognized arguments: {' '.join(unknown)}")
    parsed.unknown = unknown
    if options.OPTIONS.short_name in parsed and not takes_unknown:
        try:
            read_options_file(parsed)
        except OptionsError as error:
            tell(error, parsed)
            return USAGE
    if "patience" in parsed and not takes_unknown:
        try:
            patience.use(chosen_patience(parsed))
        except ValueError as error:
            parser.error(str(error))
        if patience.current().factor != 1:
            print(f"patience: {patience.current()}", file=sys.stderr)
    with _progress(parsed) as sink:
        return _run(parsed, sink)


@contextmanager
def _progress(parsed: Namespace) -> Iterator[Sink]:
    """Where progress goes: on a terminal, into live lines."""
    if getattr(parsed, "quiet", False):
        yield discard
        return
    with ExitStack() as stack:
        live = None
        if "quiet" in parsed and takes_live_lines(sys.stderr):
            # it takes a moment to import, which others are spared
            from mesh_fixtures.progress.live import LiveLines

            live = LiveLines(sys.stderr.fileno(), color=not os.environ.get("NO_COLOR"))
            stack.enter_context(redirect_stderr(live.passing(sys.stderr)))
            if takes_live_lines(sys.stdout):
                stack.enter_context(redirect_stdout(live.passing(sys.stdout)))
        verbose: bool = getattr(parsed, "verbose", False)
        display = Display(_write_line, live, verbose=verbose)
        stack.callback(display.close)
        yield display


def _write_line(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _run(parsed: Namespace, sink: Sink) -> int:
    """Do what was parsed, and say what went wrong."""
    try:
        status: int = parsed.run(parsed, sink)
        sys.stdout.flush()
        return status
    except (ScenarioError, ReportError) as error:
        tell(error, parsed)
        return USAGE
    except MeshConformanceError as error:
        tell(error, parsed)
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


def _module(name: str) -> Subcommand:
    return cast(
        "Subcommand", importlib.import_module(f"mesh_fixtures.commands.{name.replace('-', '_')}")
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
        if command.get_default(options.DECLARED) and not command.get_default("takes_unknown"):
            options.declare(command, options.OPTIONS)
        command.set_defaults(run=module.run, prog=command.prog, of_all=parser)
    return parser


if __name__ == "__main__":
    sys.exit(main())
