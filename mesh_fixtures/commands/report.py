"""Renders reports again: the page, and a summary in Markdown."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import Final

from mesh_fixtures import options
from mesh_fixtures.commands import look_up
from mesh_fixtures.progress import Sink

SUMMARY = "render reports: a page for a browser, or a summary in Markdown"

PUBLISHED: Final = Path("docs/reports")


def add(parser: ArgumentParser) -> None:
    parser.add_argument(
        "reports",
        nargs="*",
        type=Path,
        metavar="REPORT",
        help="files, or folders with *-report.yaml in them (default: mesh-report)",
    )
    parser.add_argument("--html", metavar="FILE", type=Path, help="write the page")
    parser.add_argument(
        "--markdown",
        metavar="FILE",
        type=Path,
        nargs="?",
        const=Path("-"),
        help="append the summary to a file, e.g. to $GITHUB_STEP_SUMMARY (default: print it)",
    )
    parser.add_argument(
        "--schema",
        choices=("report", "baseline"),
        help="print the JSON schema of reports or baselines, and read nothing",
    )
    parser.add_argument(
        "--publish",
        metavar="DIR",
        type=Path,
        nargs="?",
        const=PUBLISHED,
        help=f"put the reports where anybody may read them, with an index (default: {PUBLISHED}); "
        "they have to say whose mesh it is, or these options do:",
    )
    for option in options.IMPLEMENTATION:
        options.declare(parser, option)
    parser.epilog = "Without any option, the summary is printed."


def run(arguments: Namespace, sink: Sink) -> int:
    del sink
    from mesh_fixtures.report.document import write_text
    from mesh_fixtures.report.html import page
    from mesh_fixtures.report.markdown import summary
    from mesh_fixtures.report.merging import load
    from mesh_fixtures.report.schema import file_of

    if arguments.schema:
        print(file_of(arguments.schema).read_text(encoding="utf-8"), end="")
        return 0
    reports = load(arguments.reports or [Path("mesh-report")])
    if arguments.publish:
        from mesh_fixtures.report.publishing import publish

        whose = options.implementation_of(lambda option: look_up(arguments, option))
        print(*publish(reports, arguments.publish, whose), sep="\n")
    if arguments.html:
        write_text(page(reports), arguments.html)
        print(arguments.html)
    if arguments.markdown and arguments.markdown != Path("-"):
        with arguments.markdown.open("a", encoding="utf-8") as file:
            file.write(summary(reports))
    elif arguments.markdown or not (arguments.html or arguments.publish):
        print(summary(reports), end="")
    return 0
