"""The console script: commands that need no cluster, and how errors are told."""

from __future__ import annotations

import importlib
from argparse import Namespace
from ipaddress import IPv4Network
from pathlib import Path

import pytest
from plugin_stub import Behaviour, StubLab, StubProvider, recorded

from mesh_fixtures import __version__, cli, providers
from mesh_fixtures.artifacts.istio_source import DescribedIstio
from mesh_fixtures.commands import doctor, find_scenario, up
from mesh_fixtures.contract import Cluster, Lab, Problem
from mesh_fixtures.errors import MachineError, StepFailed
from mesh_fixtures.images import ImageSet
from mesh_fixtures.lab import upkeep
from mesh_fixtures.lab.upkeep import Removed
from mesh_fixtures.options import Choice
from mesh_fixtures.progress import Progress
from mesh_fixtures.scenario import load_scenario
from mesh_fixtures.session.exchange import exchanges_folder

SCENARIOS = Path(__file__).parents[2] / "scenarios"
NAMED = ("multi-primary", "--scenarios", str(SCENARIOS))
IMAGES = ImageSet("built", "1.31.0", "localhost", "1", {"v1": "one", "v2": "two"}, "sleep")


NETNS = Choice("netns")


@pytest.fixture
def provider(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> StubProvider:
    """What the commands get in place of a real one."""
    stub = StubProvider(tmp_path / "log", Behaviour())
    monkeypatch.setattr("mesh_fixtures.providers.make", lambda choice: stub)
    monkeypatch.setattr("mesh_fixtures.providers.istio_of", lambda choice: DescribedIstio(IMAGES))
    return stub


@pytest.mark.usefixtures("provider")
def test_plan_is_a_runbook(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["plan", *NAMED]) == 0
    text = capsys.readouterr().out
    assert text.startswith("# Multi-Primary (multi-primary)\n")
    assert "\n## Deploy HelloWorld v1\n" in text


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


def test_the_version_is_the_packages(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_:
        cli.main(["--version"])
    assert exit_.value.code == 0
    assert capsys.readouterr().out == f"mesh-conformance {__version__}\n"


@pytest.mark.parametrize("arguments", [[], ["pony"], ["plan"], ["down"]])
def test_bad_arguments(arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as exit_:
        cli.main(arguments)
    assert exit_.value.code == 2


def test_errors_are_text(
    provider: StubProvider, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(lab: Lab, progress: Progress, **how: bool) -> None:
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
    monkeypatch.setattr("mesh_fixtures.flow.bring_up", lambda lab, progress, **how: None)
    monkeypatch.setattr(up, "instructions", lambda lab, *_, **__: f"use {lab.id}")
    assert cli.main(["up", *NAMED]) == 0
    assert capsys.readouterr().out == "use stub\n"
    assert recorded(provider.log) == ["open multi-primary", "keep multi-primary"]


def test_up_installs_as_it_is_asked_to(
    provider: StubProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[dict[str, bool]] = []
    monkeypatch.setattr("mesh_fixtures.flow.bring_up", lambda *_, **how: asked.append(how))
    monkeypatch.setattr(up, "instructions", lambda *_, **__: "")
    assert cli.main(["up", *NAMED]) == 0
    assert cli.main(["up", *NAMED, "--overlap", "--apply", "recorded"]) == 0
    monkeypatch.setenv("MESH_APPLY", "recorded")
    assert cli.main(["up", *NAMED]) == 0
    assert asked == [
        {"overlap": False, "recorded": False},
        {"overlap": True, "recorded": True},
        {"overlap": False, "recorded": True},
    ]


def test_only_what_istioctl_does_is_recorded(
    provider: StubProvider, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["up", *NAMED, "--install", "helm", "--apply", "recorded"]) == 1
    assert "--apply: recorded" in capsys.readouterr().err
    assert not recorded(provider.log)


def test_interruption_removes_the_lab(
    provider: StubProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(lab: Lab, progress: Progress, **how: bool) -> None:
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
    text = up.instructions(lab, lab.kubeconfig, "", bare=False)
    assert f"export KUBECONFIG={tmp_path}/kubeconfig " in text
    assert "kubectl --context=cluster1 -n sample exec deploy/sleep -- curl" in text
    assert "mesh-conformance down multi-primary" in text
    bare = up.instructions(lab, tmp_path / "other", "nsenter --net=/there", bare=True)
    assert f"export KUBECONFIG={tmp_path}/other " in bare
    assert "  nsenter --net=/there kubectl --context=cluster2 get pods" in bare
    assert "sleep" not in bare
    assert "istioctl" not in bare


def test_bare_lab_gets_no_mesh(
    provider: StubProvider, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(lab: Lab, progress: Progress, **how: bool) -> None:
        raise AssertionError("a mesh is installed")

    monkeypatch.setattr("mesh_fixtures.flow.bring_up", refuse)
    monkeypatch.setattr(up, "instructions", lambda lab, *_, bare: f"use {lab.id}, bare: {bare}")
    assert cli.main(["up", "--bare", *NAMED]) == 0
    assert capsys.readouterr().out == "use stub, bare: True\n"
    assert recorded(provider.log) == ["open multi-primary", "keep multi-primary"]


def test_doctor_lists_what_is_missing(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    found = [Problem("the program nsenter", "apt-get install -y util-linux"), Problem("luck", "")]
    monkeypatch.setattr(doctor, "problems", lambda choice: found)
    assert cli.main(["doctor", "--provider", "netns"]) == 1
    assert capsys.readouterr().out.splitlines() == [
        "provider: netns (as asked)",
        "missing: the program nsenter",
        "    fix: apt-get install -y util-linux",
        "missing: luck",
        "    fix: (nothing known)",
    ]
    monkeypatch.setattr(doctor, "problems", lambda choice: [])
    assert cli.main(["doctor"]) == 0


def test_unfit_machine_is_found_before_all_else(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    assert [problem.missing for problem in doctor.problems(NETNS)] == ["root"]


def test_other_systems_than_linux_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform.system", lambda: "Darwin")
    assert [problem.missing for problem in doctor.problems(NETNS)] == ["Linux (this is Darwin)"]
    with pytest.raises(MachineError, match="provider netns: wanted Linux"):
        providers.check_machine(providers.make(NETNS))


def test_what_needs_root_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    assert cli.main(["up", *NAMED, "--provider", "netns"]) == 1
    assert "wanted root" in capsys.readouterr().err
    assert not (tmp_path / "state").exists()


def test_what_the_system_refuses_is_told_without_a_traceback(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    assert cli.main(["certificates", *NAMED, "--into", str(tmp_path / "file")]) == 1
    error = capsys.readouterr().err
    assert error.startswith("mesh-conformance certificates: [Errno 20] Not a directory")
    assert len(error.splitlines()) == 1


@pytest.mark.parametrize("command", cli.COMMANDS)
def test_help_says_what_a_command_does(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_:
        cli.main([command, "--help"])
    assert exit_.value.code == 0
    module = command.replace("-", "_")
    summary = importlib.import_module(f"mesh_fixtures.commands.{module}").SUMMARY
    assert summary[1:] in " ".join(capsys.readouterr().out.split())


@pytest.fixture
def labs(monkeypatch: pytest.MonkeyPatch, provider: StubProvider) -> dict[str, Removed]:
    """What the removal of labs says, by what was asked for: an id, `all`, or `abandoned`."""
    said: dict[str, Removed] = {}
    monkeypatch.setattr(
        upkeep, "take_down_kept", lambda topology, progress: said[topology or "all"]
    )
    monkeypatch.setattr(upkeep, "clean_abandoned", lambda progress: said["abandoned"])
    return said


def test_down(labs: dict[str, Removed], capsys: pytest.CaptureFixture[str]) -> None:
    labs["multi-primary"] = Removed(("mesh-1",), ())
    for name in ("multi-primary", str(SCENARIOS / "multi-primary.yaml")):
        assert cli.main(["down", name]) == 0
        assert capsys.readouterr().out == "removed: mesh-1\n"
    labs["all"] = Removed((), ())
    assert cli.main(["down", "--all"]) == 0
    assert capsys.readouterr().out == "removed: nothing, none was kept\n"


def test_down_of_what_is_not_there_or_in_use_is_a_failure(
    labs: dict[str, Removed], capsys: pytest.CaptureFixture[str]
) -> None:
    labs["pony"] = Removed((), ())
    assert cli.main(["down", "pony"]) == 1
    assert capsys.readouterr().err == "no lab of pony is kept\n"
    labs["pony"] = Removed((), (("mesh-1", "in use by process 7"),))
    assert cli.main(["down", "pony"]) == 1
    assert "left alone: mesh-1 (in use by process 7)" in capsys.readouterr().err


def test_clean(
    labs: dict[str, Removed],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    (exchanges_folder() / "1-0-abc").mkdir(parents=True)
    labs["abandoned"] = Removed(("mesh-1",), (("mesh-2", "kept, scenario multi-primary"),))
    assert cli.main(["clean"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "removed: mesh-1, exchange 1-0-abc",
        "left alone: mesh-2 (kept, scenario multi-primary)",
    ]
    labs["abandoned"] = Removed((), ())
    assert cli.main(["clean"]) == 0
    assert capsys.readouterr().out == "removed: nothing, all was clean\n"


def test_scenarios_are_found_in_the_projects_own_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert find_scenario("multi-primary", Namespace(scenarios=None)).id == "multi-primary"


def test_both_endings_of_a_scenario_file(tmp_path: Path) -> None:
    text = (SCENARIOS / "multi-primary.yaml").read_text(encoding="utf-8")
    (tmp_path / "mine.yml").write_text(text, encoding="utf-8")
    assert find_scenario("mine", Namespace(scenarios=str(tmp_path))).id == "mine"
    assert find_scenario(str(tmp_path / "mine.yml"), Namespace(scenarios=None)).id == "mine"


def test_scenarios_that_are_used_only_by_name(capsys: pytest.CaptureFixture[str]) -> None:
    named = Namespace(scenarios=str(SCENARIOS))
    assert find_scenario("four-networks", named).id == "four-networks"
    assert cli.main(["plan", "pony", "--scenarios", str(SCENARIOS)]) == 2
    assert "four-networks" in capsys.readouterr().err


def test_a_folder_that_is_not_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["plan", "pony", "--scenarios", str(tmp_path / "nowhere")]) == 2
    assert "nowhere: wanted a folder of scenario files" in capsys.readouterr().err
