"""The console script: commands that need no cluster, and how errors are told."""

from __future__ import annotations

from argparse import Namespace
from ipaddress import IPv4Network
from pathlib import Path

import pytest
from plugin_stub import Behaviour, StubLab, StubProvider, conftest, recorded

from mesh_fixtures import cli
from mesh_fixtures.commands import bench, doctor, up
from mesh_fixtures.errors import StepFailed
from mesh_fixtures.images import ImageSet
from mesh_fixtures.lab.provider import Cluster, Lab, Problem
from mesh_fixtures.progress import Progress
from mesh_fixtures.scenario import load_scenario

SCENARIOS = Path(__file__).parents[2] / "scenarios"
NAMED = ("multi-primary", "--scenarios", str(SCENARIOS))
IMAGES = ImageSet("built", "1.31.0", "localhost", "1", {"v1": "one", "v2": "two"}, "sleep")


@pytest.fixture
def provider(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> StubProvider:
    """What the commands get in place of a real one."""
    stub = StubProvider(tmp_path / "log", Behaviour())
    monkeypatch.setattr("mesh_fixtures.providers.make", lambda name="auto": stub)
    monkeypatch.setattr("mesh_fixtures.providers.images_of", lambda name="auto": IMAGES)
    return stub


@pytest.mark.usefixtures("provider")
def test_plan_is_a_runbook(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["plan", *NAMED]) == 0
    text = capsys.readouterr().out
    assert text.startswith("# Multi-Primary (multi-primary)\n")
    assert "\n# Verify the Installation\n" in text


def test_scenario_may_be_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = SCENARIOS / "multi-primary.yaml"
    assert cli.main(["certificates", str(file), "--into", str(tmp_path)]) == 0
    assert (tmp_path / "certs" / "cluster2" / "ca-cert.pem").is_file()
    assert capsys.readouterr().out.strip() == str(tmp_path / "certs")


def test_unknown_scenario_names_the_known_ones(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["plan", "multi-pony", "--scenarios", str(SCENARIOS)]) == 2
    error = capsys.readouterr().err
    assert "multi-primary-multi-network" in error
    assert "multi-pony" in error


@pytest.mark.parametrize("arguments", [[], ["pony"], ["plan"], ["down"], ["bench", "--runs=0"]])
def test_bad_arguments(arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as exit_:
        cli.main(arguments)
    assert exit_.value.code == 2


def test_errors_are_text(
    provider: StubProvider, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(lab: Lab, progress: Progress) -> None:
        raise StepFailed(
            step="istiod/cluster1",
            command=["istioctl", "install"],
            exit_status=1,
            output="no",
            state="",
            where="cluster1",
        )

    monkeypatch.setattr("mesh_fixtures.flow.bring_up", fail)
    assert cli.main(["up", *NAMED]) == 1
    error = capsys.readouterr().err
    assert "istioctl install" in error
    assert "Traceback" not in error
    assert recorded(provider.log) == ["open multi-primary", "close multi-primary"]


def test_up_keeps_the_lab(
    provider: StubProvider, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mesh_fixtures.flow.bring_up", lambda lab, progress: None)
    monkeypatch.setattr(up, "instructions", lambda lab: f"use {lab.id}")
    assert cli.main(["up", *NAMED]) == 0
    assert capsys.readouterr().out == "use stub\n"
    assert recorded(provider.log) == ["open multi-primary", "keep multi-primary"]


def test_interruption_removes_the_lab(
    provider: StubProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(lab: Lab, progress: Progress) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("mesh_fixtures.flow.bring_up", interrupt)
    assert cli.main(["up", *NAMED]) == 130
    assert recorded(provider.log) == ["open multi-primary", "close multi-primary"]


def test_instructions_name_kubeconfig_and_contexts(tmp_path: Path) -> None:
    def cluster(name: str) -> Cluster:
        cidr = IPv4Network("10.0.0.0/24")
        return Cluster(name, "network1", tmp_path, "https://10.0.0.1", cidr, cidr, (), None)

    scenario = load_scenario(SCENARIOS / "multi-primary.yaml")
    clusters = {name: cluster(name) for name in ("cluster1", "cluster2")}
    lab = StubLab(scenario, tmp_path / "log", Behaviour(), clusters=clusters)
    text = up.instructions(lab)
    assert f"export KUBECONFIG={tmp_path}/kubeconfig " in text
    assert "kubectl --context=cluster1 -n sample exec deploy/sleep -- curl" in text
    assert "mesh-conformance down multi-primary" in text


def test_doctor_lists_what_is_missing(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    found = [Problem("the program nsenter", "apt-get install -y util-linux"), Problem("luck", "")]
    monkeypatch.setattr(doctor, "problems", lambda: found)
    assert cli.main(["doctor"]) == 1
    assert capsys.readouterr().out.splitlines() == [
        "missing: the program nsenter",
        "   mend: apt-get install -y util-linux",
        "missing: luck",
        "   mend: (nothing known)",
    ]
    monkeypatch.setattr(doctor, "problems", list)
    assert cli.main(["doctor"]) == 0


def test_unfit_machine_is_found_before_all_else(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    assert [problem.missing for problem in doctor.problems()] == ["root"]


TESTS = """
def test_it(sample):
    pass
"""


def test_bench_measures_runs_of_pytest(
    pytester: pytest.Pytester,
    provider: StubProvider,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pytester.makepyfile(TESTS)
    pytester.makeconftest(conftest(provider.log, Behaviour()))
    monkeypatch.setattr(bench, "conformance_tests", lambda: pytester.path)
    monkeypatch.setattr(bench, "_prepare", lambda progress: None)
    assert cli.main(["bench", *NAMED, "--runs", "2"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["multi-primary,", "2", "runs", "minimum", "median", "maximum"]
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
    assert recorded(provider.log).count("close multi-primary") == 2


@pytest.mark.usefixtures("provider")
def test_bench_of_a_failing_run_is_an_error(
    pytester: pytest.Pytester,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pytester.makepyfile("def test_it(scenario): assert False")
    monkeypatch.setattr(bench, "conformance_tests", lambda: pytester.path)
    monkeypatch.setattr(bench, "_prepare", lambda progress: None)
    assert cli.main(["bench", *NAMED]) == 1
    assert "exit status 1" in capsys.readouterr().err


def test_find_scenario_in_the_projects_own_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mesh_fixtures.commands import find_scenario

    monkeypatch.chdir(tmp_path)
    assert find_scenario("multi-primary", Namespace(scenarios=None)).id == "multi-primary"
