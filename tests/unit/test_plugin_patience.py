"""`--mesh-patience` in runs of pytest: what tests, workers, the terminal and reports get of it."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from plugin_stub import QUICK, Behaviour, conftest, recorded

from mesh_fixtures.report import Report, read
from mesh_fixtures.session.options import resolve

SCENARIO = """\
title: {name}
mesh: mesh1
networks: [{{name: network1}}]
clusters:
  - {{name: cluster1, network: network1, role: primary}}
"""

TESTS = """\
import pytest
from mesh_fixtures.patience import patient

def limit(request):
    return float(request.node.get_closest_marker("timeout").kwargs["timeout"])

@pytest.mark.requirement("TRUST-1")
def test_configured(mesh_installed, mesh_settings, request):
    assert (mesh_settings.patience.factor, patient(10), limit(request)) == ({factor}, {factor} * 10,
        {factor} * 200)

@pytest.mark.timeout(50, method="thread")
def test_marked(mesh_installed, request):
    assert limit(request) == {factor} * 50

def test_plain(request):
    assert request.node.get_closest_marker("timeout") is None
"""

BUSY_CONTROLLER = """
import os
from mesh_fixtures import patience

stalled, load = (0.9, 4) if os.getpid() == {controller} else (1.0, 200)
patience.read_pressure = lambda: patience.Pressure(stalled, load)
"""

Start = Callable[..., pytest.RunResult]


@pytest.fixture
def start(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Start:
    """Runs pytest on two topologies with tests that want a factor."""
    monkeypatch.delenv("MESH_PATIENCE")
    monkeypatch.setenv("XDG_STATE_HOME", str(pytester.path / "state"))
    folder = pytester.mkdir("scenarios")
    for name in ("one", "two"):
        (folder / f"{name}.yaml").write_text(SCENARIO.format(name=name))
    pytester.makeini("[pytest]\ntimeout = 200\ntimeout_func_only = true")

    def run(*arguments: str, factor: float = 2.5, more: str = "") -> pytest.RunResult:
        pytester.makepyfile(test_mesh=TESTS.format(factor=factor))
        pytester.makeconftest(conftest(pytester.path / "log", Behaviour()) + more)
        return pytester.runpytest(*QUICK, *arguments)

    return run


def report_of(folder: Path) -> Report:
    return read(Report, folder / "mesh-report" / "one-stub-istioctl-report.yaml")


@pytest.mark.parametrize("workers", ["0", "2"])
def test_deadlines_of_a_run_are_multiplied(
    start: Start, pytester: pytest.Pytester, workers: str
) -> None:
    result = start("-n", workers, "--mesh-patience=2.5")
    result.assert_outcomes(passed=5)
    result.stdout.fnmatch_lines(["patience: 2.5 (--mesh-patience)"])
    run = report_of(pytester.path).run
    assert (run.patience, run.patience_reason) == (2.5, "--mesh-patience")


def test_workers_use_what_their_controller_has_measured(
    start: Start, pytester: pytest.Pytester
) -> None:
    more = BUSY_CONTROLLER.format(controller=os.getpid())
    result = start("-n", "2", factor=4.5, more=more)
    result.assert_outcomes(passed=5)
    result.stdout.fnmatch_lines(["patience: 4.5 (machine under load: 4.0 processes to a core, *)"])
    assert report_of(pytester.path).run.patience == 4.5


def test_a_factor_of_one_changes_nothing_and_is_not_mentioned(
    start: Start, pytester: pytest.Pytester
) -> None:
    result = start("--mesh-patience=1", "-k", "plain")
    result.assert_outcomes(passed=1)
    result.stdout.no_fnmatch_line("patience:*")
    pytester.makepyfile(
        test_mesh="def test_it(mesh_installed, request):\n"
        "    assert request.node.get_closest_marker('timeout') is None"
    )
    pytester.runpytest(*QUICK, "--mesh-patience=1").assert_outcomes(passed=2)


@pytest.mark.parametrize("workers", ["0", "2"])
@pytest.mark.parametrize("value", ["0.5", "0", "-1", "x", "nan", "inf", "1000000"])
def test_bad_factors_are_refused_before_anything_is_made(
    start: Start, pytester: pytest.Pytester, workers: str, value: str
) -> None:
    result = start("-n", workers, f"--mesh-patience={value}")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(
        [f"ERROR: --mesh-patience: '{value}' is not a number from 1 to 100"]
    )
    assert recorded(pytester.path / "log") == []


def test_flag_wins_over_environment_over_ini(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MESH_PATIENCE")
    pytester.makeini("[pytest]\nmesh_patience = 2")
    assert resolve(pytester.parseconfig()).patience.factor == 2
    monkeypatch.setenv("MESH_PATIENCE", "3")
    patience = resolve(pytester.parseconfig()).patience
    assert (patience.factor, patience.reason) == (3, "environment variable MESH_PATIENCE")
    assert resolve(pytester.parseconfig("--mesh-patience=4")).patience.factor == 4


def test_a_bad_variable_is_refused(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MESH_PATIENCE", "much")
    with pytest.raises(pytest.UsageError, match="environment variable MESH_PATIENCE: 'much'"):
        resolve(pytester.parseconfig())


def test_a_runbook_is_the_same_with_any_factor(pytester: pytest.Pytester) -> None:
    pytester.makepyfile("def test_it(mesh_installed): pass")
    plan = (*QUICK, "--mesh-plan", "--mesh-topology=multi-primary")
    usual, slow = (
        [line for line in pytester.runpytest(*plan, more).outlines if "timeout=" in line]
        for more in ("--mesh-patience=1", "--mesh-patience=20")
    )
    assert usual
    assert usual == slow
