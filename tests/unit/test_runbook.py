"""The runbook is what a person types, and a script that does what the executor does."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mesh_examples import BUILT, SCENARIOS, SHIPPED, meshes

from mesh_fixtures.install.plan import plan
from mesh_fixtures.install.runbook import render
from mesh_fixtures.install.step import Command, Plan, Step
from mesh_fixtures.scenario import Scenario
from mesh_fixtures.workloads import check_plan, workload_plan


def script(runbook: str) -> str:
    return "\n".join(re.findall(r"^```bash\n(.*?)^```$", runbook, re.MULTILINE | re.DOTALL))


def is_valid(text: str) -> bool:
    checked = subprocess.run(["bash", "-n"], input=text, text=True, check=False)
    return checked.returncode == 0


@pytest.mark.parametrize("scenario", SHIPPED.values(), ids=SHIPPED.keys())
def test_the_blocks_form_a_script(scenario: Scenario) -> None:
    assert is_valid(script(render(plan(scenario, BUILT))))
    assert is_valid(script(render(workload_plan(scenario, BUILT))))


@settings(deadline=None, max_examples=20)
@given(meshes())
def test_whatever_the_mesh_the_blocks_form_a_script(scenario: Scenario) -> None:
    assert is_valid(script(render(plan(scenario, BUILT))))


def test_what_a_person_reads() -> None:
    made = plan(SCENARIOS["primary-remote-multi-network"], BUILT)
    text = render(made, title="Primary-Remote, Multi-Network")
    assert text.startswith("# Primary-Remote, Multi-Network\n")
    sections = re.findall(r"^## (.*)$", text, re.MULTILINE)
    assert sections == [
        "Environment Variables",
        "Certificates",
        "Configure Trust",
        "Configure cluster1 as a primary",
        "Configure cluster2 as a remote",
    ]
    assert "mesh-conformance certificates primary-remote-multi-network" in text
    assert 'kubectl --context="${CTX_CLUSTER1}" create namespace istio-system' in text
    assert "export CTX_CLUSTER2=cluster2" in text
    assert "DISCOVERY_ADDRESS_CLUSTER1=$(kubectl" in text
    assert "cat > cluster2.yaml <<EOF" in text
    assert "cat > cluster1.yaml <<'EOF'" in text


def test_values_take_the_place_of_defaults() -> None:
    made = plan(SCENARIOS["primary-remote"], BUILT)
    values = {"CTX_CLUSTER1": "my context", "API_SERVER_CLUSTER2": "https://10.0.0.2:6443"}
    text = render(made, values=values)
    assert "export CTX_CLUSTER1='my context'" in text
    assert "export API_SERVER_CLUSTER2=https://10.0.0.2:6443" in text


def test_workloads_need_no_certificates() -> None:
    assert "certificates" not in render(workload_plan(SCENARIOS["primary-remote"], BUILT)).lower()


def test_it_installs_what_the_executor_would(tmp_path: Path) -> None:
    """Run the script with recording stand-ins for the tools."""
    tools = tmp_path / "tools"
    tools.mkdir()
    for name in ("kubectl", "istioctl", "mesh-conformance"):
        stand_in = tools / name
        stand_in.write_text(
            f'#!/bin/sh\necho "{name} $*" >> "$CALLS"\n'
            'case "$*" in\n'
            '*"get service"*) echo 10.9.8.7;;\n*"config view"*) echo https://api;;\nesac\n'
        )
        stand_in.chmod(0o755)
    folder = tmp_path / "work"
    folder.mkdir()
    text = script(render(plan(SCENARIOS["primary-remote"], BUILT)))
    environment = {**os.environ, "PATH": f"{tools}:{os.environ['PATH']}"}
    environment["CALLS"] = str(tmp_path / "calls")
    subprocess.run(
        ["bash", "-eo", "pipefail"], input=text, text=True, check=True, cwd=folder, env=environment
    )
    calls = (tmp_path / "calls").read_text()
    assert "remotePilotAddress: 10.9.8.7\n" in (folder / "cluster2.yaml").read_text()
    assert "kubectl --context=cluster1 create namespace istio-system\n" in calls
    assert "create-remote-secret --context=cluster2 --name=cluster2 --server=https://api" in calls


@given(
    st.text(st.characters(codec="utf-8", exclude_characters="\x00\r\n"), max_size=30),
    st.sampled_from(["", "${X}"]),
)
@settings(deadline=None, max_examples=60)
def test_arguments_and_files_arrive_as_they_are(text: str, variable: str) -> None:
    argument, content = f"{text}{variable}", f"{text}{variable}\n"
    if "${" in text:
        return
    step = Step(
        id="a",
        cluster="c",
        section="S",
        title="t",
        needs=(),
        commands=(Command(("printf", "%s\\n", argument)), Command(("cat",), stdin=content)),
        deadline=1,
    )
    made = script(render(Plan("x", (step,), ("X",)), values={"X": "value $HOME"}))
    ran = subprocess.run(["bash"], input=made.encode(), capture_output=True, check=True)
    expected = f"{text}{'value $HOME' if variable else ''}\n"
    assert ran.stdout.decode() == expected * 2


def test_several_plans_are_one_runbook_that_ends_with_the_guides_check() -> None:
    scenario = SCENARIOS["primary-remote"]
    text = render(plan(scenario, BUILT), workload_plan(scenario, BUILT), check_plan(scenario))
    assert text.count("export CTX_CLUSTER1=") == 1
    end = text.rsplit("## Verifying Cross-Cluster Traffic", 1)[1]
    for cluster in ("CLUSTER1", "CLUSTER2"):
        assert f'--context="${{CTX_{cluster}}}" -n sample exec deploy/sleep' in end
