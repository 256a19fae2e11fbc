"""Compares reports with a baseline, for pipelines."""

from __future__ import annotations

import sys
from argparse import ArgumentParser, ArgumentTypeError, Namespace
from datetime import UTC, datetime
from math import inf
from pathlib import Path
from typing import TYPE_CHECKING

from mesh_fixtures.errors import ReportError
from mesh_fixtures.progress import Sink

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mesh_fixtures.report.baseline import Baseline, Tolerance
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
    what.add_argument("--baseline", metavar="FILE", type=Path, help="what they are compared with")
    what.add_argument(
        "--write-baseline",
        metavar="FILE",
        type=Path,
        help="make a baseline of them; keeps the tolerances and known failures of one that is "
        "there",
    )
    parser.add_argument(
        "--latency-tolerance",
        metavar="PART",
        type=_part,
        help="with --write-baseline: latencies (p50 and p90) are compared from then on, and may "
        "grow by this part of them, 0.5 being half as much again, or by 5 ms (default: they are "
        "not compared, as they depend on what else the machine does)",
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


def _part(value: str) -> float:
    try:
        part = float(value)
    except ValueError:
        part = -1.0
    if not 0 <= part < inf:
        raise ArgumentTypeError(f"{value!r} is not a number from 0 on, e.g. 0.5")
    return part


def run(arguments: Namespace, sink: Sink) -> int:
    del sink
    from mesh_fixtures.report.baseline import Baseline
    from mesh_fixtures.report.document import read
    from mesh_fixtures.report.gate import judge, require_comparable, table
    from mesh_fixtures.report.merging import load, merge

    if arguments.latency_tolerance is not None and not arguments.write_baseline:
        raise ReportError(
            wanted="--write-baseline with --latency-tolerance",
            seen="--baseline, which has tolerances of its own",
            where="--latency-tolerance",
            remedy="give it when the baseline is made, or edit the file's tolerances",
        )
    found = merge(load(arguments.reports))
    if arguments.write_baseline:
        return _write(found, arguments.write_baseline, arguments.latency_tolerance)
    baseline = read(Baseline, arguments.baseline)
    require_comparable(
        found,
        baseline,
        scenario_change=arguments.allow_scenario_change,
        version_change=arguments.allow_version_change,
    )
    judgement = judge(found, baseline, datetime.now(UTC).date())
    print(*table(judgement), sep="\n")
    return 0 if judgement.passes else 1


def _holds_any(baseline: Baseline, tolerance: Tolerance) -> bool:
    """Whether a baseline has a figure that a tolerance fits."""
    return any(
        tolerance.fits(figure)
        for topology in baseline.topologies
        for expectation in topology.requirements.values()
        for figure in expectation.figures
    )


def _write(found: Sequence[Combined], file: Path, latency: float | None) -> int:
    from mesh_fixtures.report.baseline import TOLERANCES, Baseline, make, tolerance_of_latencies
    from mesh_fixtures.report.document import read, write

    old = read(Baseline, file) if file.exists() else None
    tolerances = old.tolerances if old is not None else TOLERANCES
    limit = None if latency is None else tolerance_of_latencies(latency)
    if limit is not None:
        tolerances = (limit, *(each for each in tolerances if each.figures != limit.figures))
    baseline = make(found, tolerances, old.known_failures if old is not None else ())
    if limit is not None and not _holds_any(baseline, limit):
        raise ReportError(
            wanted="reports with latencies, where TRAFFIC-1 is met",
            seen="none",
            where="--latency-tolerance",
            remedy="leave it out, or verify the topologies anew: earlier versions measured none",
        )
    write(baseline, file)
    for each in found:
        for name in each.requirements:
            if (result := each.result(name)) in ("unmet", "inconclusive", "not run"):
                print(f"{each.key}: {name} is not required: {result}", file=sys.stderr)
    print(file)
    return 0
