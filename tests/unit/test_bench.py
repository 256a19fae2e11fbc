"""What measures runs: one real run of pytest on a stub, and the tables of others."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from mesh_examples import SCENARIOS as EXAMPLES
from plugin_stub import QUICK, Behaviour, StubProvider, conftest, recorded

from mesh_fixtures import records
from mesh_fixtures.contract import Lab
from mesh_fixtures.lab.upkeep import Removed
from mesh_fixtures.options import Choice
from mesh_fixtures.progress import Progress
from tools import bench
from tools.measuring import Measurement
from tools.service_scale import NOTHING, Figures, Size

SCENARIOS = ("--scenarios", str(Path(__file__).parents[2] / "scenarios"))


@pytest.fixture(autouse=True)
def provider(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> StubProvider:
    """What is measured in place of a real one."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    stub = StubProvider(tmp_path / "log", Behaviour())
    monkeypatch.setattr("mesh_fixtures.providers.make", lambda choice: stub)
    monkeypatch.setattr("os.geteuid", lambda: 0)
    return stub


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[tuple[str, bool]]]:
    """Lets runs take as long as told; returns the list in which they leave topology and keep."""

    def measured(*totals: float) -> list[tuple[str, bool]]:
        runs: list[tuple[str, bool]] = []
        left = iter(totals)

        def measure(file: Path, choice: Choice, *, keep: bool) -> tuple[Measurement, float]:
            runs.append((file.stem, keep))
            total = next(left)
            return Measurement({"clusters": total - 1}, {"boot": total / 2}, 1500.0), total

        monkeypatch.setattr(bench, "measure", measure)
        return runs

    return measured


def rows(lines: Sequence[str]) -> list[list[str]]:
    return [line.split() for line in lines]


def test_a_run_is_measured_from_nothing_to_a_clean_machine(
    pytester: pytest.Pytester,
    provider: StubProvider,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pytester.makepyfile("def test_it(mesh_sample): pass")
    pytester.makeconftest(conftest(provider.log, Behaviour()))
    monkeypatch.setattr(bench, "CONFORMANCE_TESTS", pytester.path)
    monkeypatch.setenv("PYTEST_ADDOPTS", " ".join(QUICK))
    assert bench.main(["multi-primary", *SCENARIOS, "--runs", "1"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["multi-primary,", "1", "run", "minimum", "median", "maximum"]
    assert [line[:24].rstrip() for line in lines[1:-1]] == [
        "  clusters",
        "  mesh",
        "  workloads",
        "  tests",
        "  teardown",
        "  start and end",
        "total, seconds",
        "memory, MiB",
        "steps, overlapping",
        "  istiod",
    ]
    assert lines[8].split()[2:] == ["1000", "1000", "1000"]
    assert recorded(provider.log) == [
        f"{what} multi-primary" for what in ("open", "install", "sample", "close")
    ]


def test_a_table_has_minimum_median_and_maximum(
    measured: Callable[..., object], capsys: pytest.CaptureFixture[str]
) -> None:
    measured(32.0, 38.0, 33.0)
    assert bench.main(["multi-primary", *SCENARIOS]) == 0
    assert rows(capsys.readouterr().out.splitlines()) == [
        ["multi-primary,", "3", "runs", "minimum", "median", "maximum"],
        ["clusters", "31.0", "32.0", "37.0"],
        ["start", "and", "end", "1.0", "1.0", "1.0"],
        ["total,", "seconds", "32.0", "33.0", "38.0"],
        ["memory,", "MiB", "1500", "1500", "1500"],
        ["steps,", "overlapping"],
        ["boot", "16.0", "16.5", "19.0"],
        [],
    ]


def test_several_scenarios_have_a_sum(
    measured: Callable[..., list[tuple[str, bool]]], capsys: pytest.CaptureFixture[str]
) -> None:
    runs = measured(30.0, 40.0)
    names = ("primary-remote", "multi-primary")
    assert bench.main([*names, *SCENARIOS, "--runs", "1"]) == 0
    assert runs == [(name, False) for name in names]
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(",")[0] for line in lines if "minimum" in line] == [*names]
    assert lines[-1] == "sum of the medians: 70.0 s"


def test_runs_on_a_kept_lab_come_after_one_that_makes_it(
    measured: Callable[..., list[tuple[str, bool]]],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    runs = measured(35.0, 9.0, 8.0)
    removed = []

    def take_down(topology: str, progress: object, provider: str) -> Removed:
        removed.append(topology)
        return Removed((topology,), ())

    monkeypatch.setattr("mesh_fixtures.lab.upkeep.take_down_kept", take_down)
    assert bench.main(["multi-primary", *SCENARIOS, "--kept", "--runs", "2"]) == 0
    assert runs == [("multi-primary", True)] * 3
    assert removed == ["multi-primary"]
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("multi-primary, 2 runs on a kept lab")
    assert ["total,", "seconds", "8.0", "8.5", "9.0"] in rows(lines)


def test_a_lab_that_somebody_keeps_is_left_alone(
    measured: Callable[..., list[tuple[str, bool]]], capsys: pytest.CaptureFixture[str]
) -> None:
    runs = measured()
    with records.exclusive():
        record = records.claim(EXAMPLES["multi-primary"], "", provider="netns")
        replace(record, kept=True).save()
    assert bench.main(["multi-primary", *SCENARIOS]) == 1
    assert "mesh-conformance down multi-primary" in capsys.readouterr().err
    assert runs == []


def test_numbers_of_clusters_have_a_table_of_their_own(
    measured: Callable[..., list[tuple[str, bool]]], capsys: pytest.CaptureFixture[str]
) -> None:
    runs = measured(40.0, 90.0)
    assert bench.main(["--clusters", "2,4", "--runs", "1"]) == 0
    assert runs == [("clusters-2", False), ("clusters-4", False)]
    assert rows(capsys.readouterr().out.splitlines())[-3:] == [
        ["clusters", "seconds", "each", "processor", "each", "MiB", "each"],
        ["2", "40.0", "20.0", "0.0", "0.0", "1500", "750"],
        ["4", "90.0", "22.5", "0.0", "0.0", "1500", "375"],
    ]


def test_services_are_measured_on_a_lab_that_is_removed(
    provider: StubProvider, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = []

    def measure(lab: Lab, sizes: Sequence[Size], runs: int, progress: Progress) -> list[Figures]:
        asked.append((lab.scenario.id, list(map(str, sizes)), runs))
        return [Figures(NOTHING, 0.1, (0.2,), 0.3, 80.0, 5.0)]

    monkeypatch.setattr("mesh_fixtures.flow.bring_up", lambda lab, progress, **how: None)
    monkeypatch.setattr("tools.service_scale.measure", measure)
    assert bench.main(["--services", "3/7,9/9", "--runs", "2", *SCENARIOS]) == 0
    assert bench.main(["multi-primary", "--services", *SCENARIOS]) == 0
    assert asked == [
        ("multi-primary", ["3/7", "9/9"], 2),
        ("multi-primary", ["50/250", "100/500", "200/1000"], 3),
    ]
    assert "  0/0" in capsys.readouterr().out
    assert recorded(provider.log) == ["open multi-primary", "close multi-primary"] * 2


def test_services_need_one_network(
    provider: StubProvider, capsys: pytest.CaptureFixture[str]
) -> None:
    assert bench.main(["two-regions", "--services", *SCENARIOS]) == 2
    assert "wanted one network" in capsys.readouterr().err
    assert recorded(provider.log) == []


def test_scenarios_or_numbers_of_clusters(capsys: pytest.CaptureFixture[str]) -> None:
    assert bench.main(["multi-primary", "--clusters", "2", *SCENARIOS]) == 2
    assert "leave out multi-primary" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments",
    [
        ["--runs=0"],
        ["--patience=0.5"],
        ["--provider=pony"],
        ["--clusters=2,17"],
        ["--clusters=0"],
        ["--services=multi-primary"],
        ["--clusters=2", "--services"],
    ],
)
def test_bad_arguments(arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as exit_:
        bench.main(arguments)
    assert exit_.value.code == 2


def test_what_the_machine_lacks_is_an_error(
    provider: StubProvider, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    lacking = StubProvider(provider.log, Behaviour(missing="root"))
    monkeypatch.setattr("mesh_fixtures.providers.make", lambda choice: lacking)
    assert bench.main(["multi-primary", *SCENARIOS]) == 1
    assert "wanted root" in capsys.readouterr().err


def test_a_run_that_fails_is_an_error(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.executable", "false")
    assert bench.main(["multi-primary", *SCENARIOS]) == 1
    assert "seen: exit status 1" in capsys.readouterr().err


def test_a_folder_without_scenarios(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert bench.main(["--scenarios", str(tmp_path)]) == 2
    assert "wanted scenario files" in capsys.readouterr().err
