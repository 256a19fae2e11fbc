"""Measures what a run of pytest takes, from nothing to verdicts and a clean machine.

In a checkout: ./bootstrap python -m tools.bench [ID...]
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from argparse import ArgumentParser, ArgumentTypeError, Namespace
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from mesh_fixtures import flow, patience, providers, records
from mesh_fixtures.cli import execute
from mesh_fixtures.commands import (
    add_patience,
    add_provider,
    add_scenarios_folder,
    choices,
    find_file,
    folder_of,
)
from mesh_fixtures.errors import MachineError, ScenarioError
from mesh_fixtures.interruption import interruption
from mesh_fixtures.lab import upkeep
from mesh_fixtures.lab.kind.provider import is_image
from mesh_fixtures.options import OPTIONS, Choice, declare
from mesh_fixtures.progress import Progress, Sink
from mesh_fixtures.scenario import as_yaml, load_scenario, scenario_files
from tools import many_clusters, service_scale
from tools.measuring import VARIABLE, Measurement
from tools.service_scale import Size

PROJECT: Final = Path(__file__).parents[1]
CONFORMANCE_TESTS: Final = PROJECT / "tests" / "conformance"

_STANDARD_ERROR = 2
_ONE_NETWORK = "multi-primary"


@dataclass
class Measured:
    """Figures of the runs of one scenario, a list for each row of the table."""

    phases: dict[str, list[float]] = field(default_factory=dict)
    steps: dict[str, list[float]] = field(default_factory=dict)
    total: list[float] = field(default_factory=list)
    memory: list[float] = field(default_factory=list)
    processor: list[float] = field(default_factory=list)

    def add(self, run: Measurement, total: float) -> None:
        for rows, values in ((self.phases, run.phases), (self.steps, run.steps)):
            for name, seconds in values.items():
                rows.setdefault(name, []).append(seconds)
        other = total - sum(run.phases.values())
        self.phases.setdefault("start and end", []).append(other)
        self.total.append(total)
        self.memory.append(run.memory)
        self.processor.append(run.processor)

    @property
    def medians(self) -> tuple[float, float, float]:
        """Seconds, the processor's seconds, and MiB."""
        total, processor, memory = map(statistics.median, (self.total, self.processor, self.memory))
        return total, processor, memory


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, and return the exit status, as commands of `mesh-conformance` do."""
    return execute(_parser(), arguments)


def _parser() -> ArgumentParser:
    parser = ArgumentParser(
        prog="python -m tools.bench",
        description="Measure scenarios, from nothing to verdicts and a clean machine.",
    )
    parser.set_defaults(run=run, prog=parser.prog)
    parser.add_argument("scenario", nargs="*", help="ids or files (default: all of the folder)")
    parser.add_argument("--runs", type=_count, default=3, metavar="N", help="default: 3")
    how = parser.add_mutually_exclusive_group()
    how.add_argument(
        "--kept",
        action="store_true",
        help="measure runs that take over a lab that an earlier run kept",
    )
    how.add_argument(
        "--clusters",
        type=_counts,
        metavar="N,...",
        help="measure meshes of so many clusters in place of scenarios: each primary has a remote, "
        f"and the two a network; at most {many_clusters.MOST}",
    )
    usual = ",".join(map(str, service_scale.SIZES))
    how.add_argument(
        "--services",
        type=_sizes,
        nargs="?",
        const=service_scale.SIZES,
        metavar="SERVICES/ENDPOINTS,...",
        help="measure no tests, but how the mesh bears so many services and endpoints in each "
        "cluster, which are made by the API alone: how long it takes until the clients of other "
        "clusters know a new endpoint, and the memory of istiod and proxies; --runs is the number "
        f"of new endpoints in each cluster (sizes by default: {usual}; scenario by default: "
        f"{_ONE_NETWORK})",
    )
    add_scenarios_folder(parser)
    add_provider(parser, repeatable=True)
    add_patience(parser)
    declare(parser, OPTIONS)
    parser.epilog = (
        "Each run is one of pytest: all conformance tests on one topology. Providers are measured "
        "in turn, so that a change of the machine's load meets all of them. The table "
        "has the seconds of what comes one after another, which add up to the total; the memory of "
        "the lab's processes (proportional set size); the processor's seconds until the lab is "
        "removed; and the seconds of steps, which overlap."
    )
    return parser


def run(arguments: Namespace, sink: Sink) -> int:
    with tempfile.TemporaryDirectory() as folder:
        files = _files(arguments, Path(folder))
        asked = _asked(arguments)
        for name, choice in asked.items():
            provider = providers.make(choice)
            providers.check_machine(provider)
            _refuse_kept(name, [file.stem for file in files])
            with interruption.holding():
                provider.prepare(Progress("artifacts", sink))
        if arguments.services:
            _measure_services(files, asked, arguments, sink)
        else:
            _measure_runs(files, asked, arguments, sink)
    return 0


def _measure_runs(
    files: Sequence[Path], asked: Mapping[str, Choice], arguments: Namespace, sink: Sink
) -> None:
    found: dict[str, list[Measured]] = {name: [] for name in asked}
    for file in files:
        for name, measured in _measured(file, asked, arguments, sink).items():
            title = _title(_on(file.stem, name, asked), arguments)
            print("\n".join(table(title, measured)) + "\n", flush=True)
            found[name].append(measured)
    if arguments.clusters:
        for name, each in found.items():
            title = _on("clusters", name, asked)
            rows = [measured.medians for measured in each]
            print("\n".join(many_clusters.table(title, arguments.clusters, rows)))
    elif len(files) > 1:
        for name, each in found.items():
            total = sum(measured.medians[0] for measured in each)
            print(f"{_on('sum of the medians', name, asked)}: {total:.1f} s")


def _measure_services(
    files: Sequence[Path], asked: Mapping[str, Choice], arguments: Namespace, sink: Sink
) -> None:
    scenarios = [load_scenario(file) for file in files]
    for scenario in scenarios:
        service_scale.require_measurable(scenario)
    for scenario in scenarios:
        for name, choice in asked.items():
            progress = Progress(scenario.id, sink)
            with interruption.holding():
                lab = providers.make(choice).open(scenario, progress.within("clusters"))
                try:
                    flow.bring_up(lab, progress, overlap=False, recorded=False)
                    found = service_scale.measure(lab, arguments.services, arguments.runs, progress)
                finally:
                    with interruption.removing():
                        lab.close()
            title = _on(scenario.id, name, asked)
            print("\n".join(service_scale.table(title, found)) + "\n", flush=True)


def _on(what: str, provider: str, asked: Mapping[str, Choice]) -> str:
    """What was measured, with the provider where there are several."""
    return f"{what} on {provider}" if len(asked) > 1 else what


def _asked(arguments: Namespace) -> dict[str, Choice]:
    """What is asked for, by the provider that it comes down to; a node image is for kind alone."""
    found: dict[str, Choice] = {}
    for each in choices(arguments):
        name = providers.choose(each).name
        is_kinds = name == "netns" and is_image(each.kubernetes)
        kubernetes = "" if is_kinds else each.kubernetes
        found[name] = replace(each, provider=name, kubernetes=kubernetes)
    return found


def _measured(
    file: Path, asked: Mapping[str, Choice], arguments: Namespace, sink: Sink
) -> dict[str, Measured]:
    """What the runs of one scenario take on each provider, one provider after the other."""
    found = {name: Measured() for name in asked}
    try:
        if arguments.kept:
            for choice in asked.values():
                measure(file, choice, keep=True)
        for _ in range(arguments.runs):
            for name, choice in asked.items():
                found[name].add(*measure(file, choice, keep=arguments.kept))
    finally:
        if arguments.kept:
            for name in asked:
                _take_down(name, file.stem, sink)
    return found


def measure(file: Path, choice: Choice, *, keep: bool) -> tuple[Measurement, float]:
    """One run of all tests on one topology.

    Returns:
        What it took by phase, and in all.

    Raises:
        MachineError: the tests did not pass.
    """
    with tempfile.TemporaryDirectory() as folder:
        result = Path(folder, "measurement.json")
        command = [
            *(sys.executable, "-m", "pytest", "-q", "-p", "tools.measuring"),
            *(str(CONFORMANCE_TESTS), "--mesh-scenarios", str(file.parent)),
            *("--mesh-topology", file.stem, "--mesh-keep", "always" if keep else "never"),
            *("--mesh-provider", choice.provider, "--mesh-images", choice.images),
            *("--mesh-install", choice.install, "--mesh-gateways", choice.gateways),
            *("--mesh-patience", repr(patience.current().factor)),
            *(("--mesh-kubernetes", choice.kubernetes) if choice.kubernetes else ()),
            *(("--mesh-charts", choice.charts) if choice.charts else ()),
            *(("--mesh-istioctl", choice.istioctl) if choice.istioctl else ()),
            *(("--mesh-istio", choice.istio) if choice.istio else ()),
        ]
        # the choice says what runs; pytest would read these where no flag is given
        optional = ("MESH_KUBERNETES", "MESH_CHARTS", "MESH_ISTIOCTL", "MESH_ISTIO")
        unset = dict.fromkeys(optional, "")
        path = ":".join(filter(None, (str(PROJECT), os.environ.get("PYTHONPATH"))))
        environment = os.environ | {VARIABLE: str(result), "PYTHONPATH": path} | unset
        begun = time.monotonic()
        with (
            interruption.holding(),
            subprocess.Popen(
                command, env=environment, stdin=subprocess.DEVNULL, stdout=_STANDARD_ERROR
            ) as process,
        ):
            try:
                status = process.wait()
            except KeyboardInterrupt:
                process.terminate()
                process.wait()
                raise
        total = time.monotonic() - begun
        if status != 0:
            raise MachineError(
                wanted="a run in which all tests pass, to measure it",
                seen=f"exit status {status}",
                where=" ".join(command),
                remedy="see pytest's output above",
            )
        return Measurement(**json.loads(result.read_text(encoding="utf-8"))), total


def table(title: str, measured: Measured) -> Sequence[str]:
    """Lines with minimum, median and maximum of each phase and step."""
    rows = [(title, "minimum", "median", "maximum")]
    rows += _rows(measured.phases, "  ")
    rows += _rows({"total, seconds": measured.total})
    if any(measured.memory):
        rows += _rows({"memory, MiB": measured.memory}, digits=0)
    if any(measured.processor):
        rows += _rows({"processor, seconds": measured.processor})
    if measured.steps:
        rows.append(("steps, overlapping", "", "", ""))
        rows += _rows(measured.steps, "  ")
    width = max(len(row[0]) for row in rows)
    return [f"{name:<{width}}  {a:>8}  {b:>8}  {c:>8}".rstrip() for name, a, b, c in rows]


def _rows(
    values: Mapping[str, list[float]], indent: str = "", digits: int = 1
) -> list[tuple[str, str, str, str]]:
    return [
        (
            indent + name,
            f"{min(of):.{digits}f}",
            f"{statistics.median(of):.{digits}f}",
            f"{max(of):.{digits}f}",
        )
        for name, of in values.items()
    ]


def _title(topology: str, arguments: Namespace) -> str:
    runs = "1 run" if arguments.runs == 1 else f"{arguments.runs} runs"
    return f"{topology}, {runs}{' on a kept lab' if arguments.kept else ''}"


def _files(arguments: Namespace, made: Path) -> list[Path]:
    """Files of the scenarios to measure.

    Args:
        made: folder for those that are made for it.
    """
    if arguments.clusters:
        if arguments.scenario:
            raise ScenarioError(
                wanted="scenarios, or numbers of clusters",
                seen="both",
                where="--clusters",
                remedy=f"leave out {' '.join(arguments.scenario)}",
            )
        found = []
        for count in arguments.clusters:
            scenario = many_clusters.mesh_of(count)
            found.append(made / f"{scenario.id}.yaml")
            found[-1].write_text(as_yaml(scenario), encoding="utf-8")
    elif arguments.scenario:
        found = [find_file(name, arguments) for name in arguments.scenario]
    elif arguments.services:
        found = [find_file(_ONE_NETWORK, arguments)]
    else:
        found = scenario_files(folder_of(arguments))
    for file in found:
        load_scenario(file)
    if not found:
        raise ScenarioError(
            wanted="scenario files",
            seen="none",
            where=str(folder_of(arguments)),
            remedy="name a folder by --scenarios, or a file that ends with .yaml",
        )
    return [file.absolute() for file in found]


def _refuse_kept(provider: str, topologies: Sequence[str]) -> None:
    """See to it that nobody keeps a lab which the first run would take over, and the last remove.

    Raises:
        MachineError: somebody does.
    """
    for record in records.load_all():
        if record.provider == provider and record.scenario in topologies and record.kept:
            raise MachineError(
                wanted=f"no kept lab of {record.scenario}, so that runs start from nothing",
                seen=record.id,
                where=str(record.folder),
                remedy=f"mesh-conformance down {record.scenario}",
            )


def _take_down(provider: str, topology: str, sink: Sink) -> None:
    with interruption.holding(), interruption.removing():
        upkeep.take_down_kept(topology, Progress(topology, sink), provider)


def _count(text: str) -> int:
    if not text.isascii() or not text.isdigit() or int(text) < 1:
        raise ArgumentTypeError(f"{text!r} is not a whole number of at least 1")
    return int(text)


def _counts(text: str) -> list[int]:
    found = [_count(each) for each in text.split(",")]
    if max(found) > many_clusters.MOST:
        raise ArgumentTypeError(f"{text!r} has more than {many_clusters.MOST} clusters")
    return found


def _sizes(text: str) -> list[Size]:
    try:
        return [Size.read(each) for each in text.split(",")]
    except ValueError as error:
        raise ArgumentTypeError(str(error)) from error


if __name__ == "__main__":
    sys.exit(main())
