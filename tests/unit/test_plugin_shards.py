"""`--mesh-shard` in runs of pytest: with other selections, under pytest-xdist, and refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from plugin_stub import QUICK, Behaviour, conftest, recorded
from report_examples import report

from mesh_fixtures.report import write
from mesh_fixtures.report.model import StepReport

SCENARIO = """\
title: {name}
mesh: mesh1
networks: [{{name: network1}}]
clusters:
  - {{name: cluster1, network: network1, role: primary}}
  - {{name: cluster2, network: network1, role: primary, nodes: {nodes}}}
"""
NODES = {"one": 3, "two": 2, "three": 1, "four": 1}
"""By topology; nobody has measured any of them, so that their sizes count."""

TESTS = """\
import pytest

@pytest.mark.requirement("TRAFFIC-1")
def test_traffic(mesh_sample): pass

@pytest.mark.requirement("TRUST-1")
def test_trust(mesh_installed): pass

def test_plain(): pass
"""

Start = Callable[..., pytest.RunResult]


@pytest.fixture
def log(pytester: pytest.Pytester) -> Path:
    return pytester.path / "log"


@pytest.fixture
def start(pytester: pytest.Pytester, log: Path, monkeypatch: pytest.MonkeyPatch) -> Start:
    monkeypatch.setenv("XDG_STATE_HOME", str(pytester.path / "state"))
    folder = pytester.mkdir("scenarios")
    for name, nodes in NODES.items():
        (folder / f"{name}.yaml").write_text(SCENARIO.format(name=name, nodes=nodes))
    pytester.makepyfile(test_mesh=TESTS)
    pytester.makeconftest(conftest(log, Behaviour()))
    return lambda *arguments: pytester.runpytest(*QUICK, *arguments)


def opened(log: Path) -> set[str]:
    found = {line.removeprefix("open ") for line in recorded(log) if line.startswith("open ")}
    log.unlink(missing_ok=True)
    return found


@pytest.mark.parametrize("workers", ["0", "2"])
def test_shards_verify_all_topologies_once(start: Start, log: Path, workers: str) -> None:
    first = start("--mesh-shard=1/2", "-n", workers)
    first.assert_outcomes(passed=5, deselected=0 if workers == "2" else 4)
    assert opened(log) == {"one", "three"}
    first.stdout.fnmatch_lines(["shard 1/2: one, three"])
    second = start("--mesh-shard=2/2", "-n", workers)
    second.assert_outcomes(passed=4, deselected=0 if workers == "2" else 5)
    assert opened(log) == {"two", "four"}


def test_what_else_is_selected_is_split(start: Start, log: Path) -> None:
    start("--mesh-shard=1/2", "-k", "trust and (two or four)").assert_outcomes(
        passed=1, deselected=8
    )
    assert opened(log) == {"two"}
    start("--mesh-shard=2/2", "--mesh-topology=two", "--mesh-topology=three")
    assert opened(log) == {"three"}
    start("--mesh-shard=2/2", "-m", "requirement", "--mesh-topology=one").assert_outcomes(
        deselected=3
    )
    assert opened(log) == set()


def test_a_shard_without_topologies_verifies_nothing(start: Start, log: Path) -> None:
    result = start("--mesh-shard=5/5")
    assert result.ret == pytest.ExitCode.NO_TESTS_COLLECTED
    assert opened(log) == set()


def test_reports_of_earlier_runs_say_how_long_topologies_take(
    start: Start, pytester: pytest.Pytester, log: Path
) -> None:
    slow = report().topology.scenario.model_copy(update={"id": "three"})
    steps = (StepReport(phase="boot", began=0.0, seconds=1000.0),)
    write(report(scenario=slow, steps=steps), pytester.path / "earlier" / "three-report.yaml")
    start("--mesh-shard=1/2", "--mesh-shard-times=earlier", "-k", "trust")
    assert opened(log) == {"three"}


@pytest.mark.parametrize("workers", ["0", "2"])
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--mesh-shard=3/2",), "ERROR: --mesh-shard: '3/2': of 2 shards, there is no number 3"),
        (("--mesh-shard=half",), "ERROR: --mesh-shard: 'half' is not of the form I/N, as in 1/3"),
        (("--mesh-shard=1/2", "--mesh-shard-times=nowhere"), "ERROR: *nowhere: wanted *"),
    ],
)
def test_bad_values_are_refused_before_anything_is_made(
    start: Start, log: Path, workers: str, arguments: tuple[str, ...], message: str
) -> None:
    result = start("-n", workers, *arguments)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([message])
    assert opened(log) == set()
