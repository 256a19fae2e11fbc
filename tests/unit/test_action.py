"""The GitHub action: its steps, run by bash as a runner would, with the real command."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from plugin_stub import QUICK, Behaviour, conftest

from mesh_fixtures.providers import all_options

ROOT = Path(__file__).parents[2]
ACTION: dict[str, Any] = yaml.safe_load((ROOT / "action.yml").read_text(encoding="utf-8"))
EXAMPLES = ROOT / "docs" / "examples"


class Runner:
    """Runs steps of the action in a workspace.

    Attributes:
        outputs: of the steps that have run.
    """

    def __init__(self, folder: Path) -> None:
        self.workspace, self.temp = folder / "workspace", folder / "temp"
        self._output, self.summary = folder / "output", folder / "summary"
        for each in (self.workspace, self.temp / "mesh-conformance"):
            each.mkdir(parents=True)
        (self.temp / "mesh-conformance" / "bin").symlink_to(Path(sys.executable).parent)
        self.summary.touch()
        self.outputs: dict[str, str] = {}

    def step(self, name: str, **inputs: str) -> subprocess.CompletedProcess[str]:
        """Run a step.

        Args:
            inputs: of the action; others have their defaults.
        """
        (step,) = (each for each in ACTION["runs"]["steps"] if each["name"] == name)
        assert not inputs.keys() - ACTION["inputs"].keys()
        values = {key: each["default"] for key, each in ACTION["inputs"].items()} | inputs
        known = {f"inputs.{key}": value for key, value in values.items()}
        known |= {f"steps.verify.outputs.{key}": value for key, value in self.outputs.items()}
        environment = {
            key: known[str(value).removeprefix("${{ ").removesuffix(" }}")]
            for key, value in step["env"].items()
        }
        self._output.write_text("", encoding="utf-8")
        # as GitHub Docs says of `shell: bash`: Workflow syntax > jobs.<job_id>.steps[*].shell
        done = subprocess.run(
            ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", step["run"]],
            cwd=self.workspace,
            env={
                **{k: v for k, v in os.environ.items() if not k.startswith(("MESH_", "PYTEST_"))},
                "MESH_PATIENCE": "1",
                "PYTHONPATH": str(ROOT) + os.pathsep + os.environ.get("PYTHONPATH", ""),
                "RUNNER_TEMP": str(self.temp),
                "GITHUB_OUTPUT": str(self._output),
                "GITHUB_STEP_SUMMARY": str(self.summary),
                **environment,
            },
            capture_output=True,
            text=True,
            check=False,
            timeout=100,
        )
        lines = self._output.read_text(encoding="utf-8").splitlines()
        self.outputs |= dict(line.split("=", 1) for line in lines)
        return done


@pytest.fixture
def runner(tmp_path: Path) -> Runner:
    return Runner(tmp_path)


def test_every_variable_is_that_of_an_option() -> None:
    (verify,) = (each for each in ACTION["runs"]["steps"] if each.get("id") == "verify")
    variables = {option.variable for option in all_options()}
    assert {name for name in verify["env"] if name.startswith("MESH_")} <= variables


def test_inputs_reach_the_command(runner: Runner) -> None:
    (runner.workspace / "mesh.toml").write_text("install = 'helm'", encoding="utf-8")
    done = runner.step(
        "Verify",
        topologies="multi-primary primary-remote",
        select="multi-primary",
        options="mesh.toml",
        arguments="--plan -p 'no:faulthandler' --provider=netns",
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "# Multi-Primary (multi-primary)" in done.stdout
    assert "(primary-remote)" not in done.stdout
    assert "helm upgrade --install" in done.stdout
    assert runner.outputs == {"report": str(runner.workspace / "mesh-report")}


def test_arguments_are_words_and_no_commands(runner: Runner) -> None:
    done = runner.step("Verify", arguments="--keep '$(touch made)' ; touch made")
    assert done.returncode != 0
    assert "$(touch made)" in done.stderr
    assert not (runner.workspace / "made").exists()


def test_a_kubeconfig_is_there_for_the_run_only(runner: Runner) -> None:
    content = (
        "apiVersion: v1\nkind: Config\nclusters: [{name: c, cluster: {server: 'http://127.0.0.1:1'}}]\n"
        "contexts: [{name: one, context: {cluster: c, user: u}}]\nusers: [{name: u, user: {}}]\n"
    )
    done = runner.step("Verify", kubeconfig=content, clusters="cluster1@one cluster2@two")
    assert done.returncode == pytest.ExitCode.USAGE_ERROR, done.stdout + done.stderr
    said = done.stdout + done.stderr
    assert "cluster2" in said
    assert "two" in said
    assert [each.name for each in runner.temp.iterdir()] == ["mesh-conformance"]


def test_reports_are_summarised_and_compared(runner: Runner) -> None:
    shutil.copytree(EXAMPLES, runner.workspace / "mesh-report")
    runner.outputs["report"] = str(runner.workspace / "mesh-report")
    assert runner.step("Summarise").returncode == 0
    assert "## Mesh conformance" in runner.summary.read_text(encoding="utf-8")
    done = runner.step("Gate", baseline="mesh-report/baseline.yaml")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "gate: pass" in done.stdout


def test_without_reports_there_is_no_summary(runner: Runner) -> None:
    runner.outputs["report"] = str(runner.workspace)
    assert runner.step("Summarise").returncode == 0
    assert runner.summary.read_text(encoding="utf-8") == ""


def test_failures_are_annotated_on_github(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("pytest_github_actions_annotate_failures", reason="an extra")
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    monkeypatch.setenv("GITHUB_WORKSPACE", str(pytester.path))
    monkeypatch.setenv("XDG_STATE_HOME", str(pytester.path / "state"))
    (pytester.mkdir("scenarios") / "one.yaml").write_text(
        "title: one\nmesh: mesh1\nnetworks: [{name: network1}]\n"
        "clusters: [{name: cluster1, network: network1, role: primary}]\n",
        encoding="utf-8",
    )
    pytester.makeconftest(conftest(pytester.path / "log", Behaviour()))
    pytester.makepyfile(
        test_mesh="""
        import pytest
        from mesh_fixtures.verdict.findings import Finding, Unmet

        @pytest.mark.requirement("CONTROL-1")
        def test_control(mesh_installed):
            raise Unmet((Finding("cluster1", "one istiod", "two"),))
        """
    )
    said = pytester.runpytest_subprocess(*QUICK).stderr.str()
    assert "::error" in said
    assert "cluster1: expected one istiod, but saw two" in said
