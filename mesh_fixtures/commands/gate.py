"""Holds reports to a baseline, for pipelines."""

from __future__ import annotations

import sys
from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import TYPE_CHECKING

from mesh_fixtures.progress import Sink

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mesh_fixtures.report.merging import Combined

SUMMARY = "compare reports with a baseline: exit status 1 where one is missing, failed or worse"


def add(parser: ArgumentParser) -> None:
    parser.add_argument(
        "reports",
        nargs="+",
        type=Path,
        metavar="REPORT",
        help="files, or folders with *-report.yaml in them; those of one topology are put together",
    )
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--baseline", metavar="FILE", type=Path, help="what they are held to")
    what.add_argument(
        "--write-baseline",
        metavar="FILE",
        type=Path,
        help="make a baseline of them; keeps the tolerances of one that is there",
    )
    parser.add_argument(
        "--allow-scenario-change",
        action="store_true",
        help="compare with a baseline of a scenario that has changed since",
    )
    parser.add_argument(
        "--allow-version-change",
        action="store_true",
        help="compare with a baseline of another version of Istio",
    )
    parser.epilog = (
        "Exit status: 0 as good as the baseline, 1 not so, 2 input that cannot be used, or reports "
        "of another scenario or version of Istio."
    )


def run(arguments: Namespace, sink: Sink) -> int:
    del sink
    from mesh_fixtures.report.baseline import Baseline
    from mesh_fixtures.report.document import read
    from mesh_fixtures.report.files import load
    from mesh_fixtures.report.gate import judge, require_comparable, table
    from mesh_fixtures.report.merging import merge

    found = merge(load(arguments.reports))
    if arguments.write_baseline:
        return _write(found, arguments.write_baseline)
    baseline = read(Baseline, arguments.baseline)
    require_comparable(
        found,
        baseline,
        scenario_change=arguments.allow_scenario_change,
        version_change=arguments.allow_version_change,
    )
    judgement = judge(found, baseline)
    print(*table(judgement), sep="\n")
    return 0 if judgement.passes else 1


def _write(found: Sequence[Combined], file: Path) -> int:
    from mesh_fixtures.report.baseline import TOLERANCES, Baseline, make
    from mesh_fixtures.report.document import read, write

    tolerances = read(Baseline, file).tolerances if file.exists() else TOLERANCES
    write(make(found, tolerances), file)
    for each in found:
        for name in each.requirements:
            if (result := each.result(name)) in ("unmet", "inconclusive", "not run"):
                print(f"{each.key}: {name} is not required: {result}", file=sys.stderr)
    print(file)
    return 0
