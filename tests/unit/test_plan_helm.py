"""The same installation by Helm: the same steps, with other commands in those that install."""

from __future__ import annotations

import re
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from mesh_examples import BUILT, FOLDER, RELEASED, REPOSITORY, SCENARIOS, meshes
from test_runbook import is_valid, script

from mesh_fixtures.charts import Charts
from mesh_fixtures.errors import MachineError
from mesh_fixtures.install.plan import plan
from mesh_fixtures.install.runbook import render
from mesh_fixtures.install.step import Plan, Step
from mesh_fixtures.scenario import Scenario

FEW = settings(max_examples=30)
INSTALLING = ("istiod", "gateway", "remote")
"""Steps that a method gives their commands, by the first part of the id."""


def calls(step: Step) -> list[str]:
    return [" ".join(command.argv) for command in step.commands]


def values(made: Plan, step_id: str) -> Any:
    (content,) = made[step_id].files.values()
    return yaml.safe_load(content)


@FEW
@given(meshes())
def test_whatever_the_mesh_steps_differ_in_how_they_install_alone(scenario: Scenario) -> None:
    by_istioctl, by_helm = plan(scenario, BUILT), plan(scenario, BUILT, FOLDER)
    assert by_helm.variables == by_istioctl.variables
    assert [step.id for step in by_helm.steps] == [step.id for step in by_istioctl.steps]
    for one, other in zip(by_istioctl.steps, by_helm.steps, strict=True):
        assert (one.needs, one.section, one.title) == (other.needs, other.section, other.title)
        assert (one.deadline, one.observe) == (other.deadline, other.observe)
        if one.id.partition("/")[0] in INSTALLING:
            assert all(call.startswith("istioctl install ") for call in calls(one))
            assert all(call.startswith("helm upgrade --install ") for call in calls(other))
        else:
            assert one == other


@FEW
@given(meshes())
def test_whatever_the_mesh_every_release_waits_within_the_deadline_of_its_step(
    scenario: Scenario,
) -> None:
    for step in plan(scenario, BUILT, FOLDER).steps:
        waits = [re.search(r"--wait --timeout=(\d+)s$", call) for call in calls(step)]
        if step.id.partition("/")[0] in INSTALLING:
            assert sum(int(wait[1]) for wait in waits if wait) < step.deadline
            assert all(waits)
        for command in step.commands:
            for flag, file in zip(command.argv, command.argv[1:], strict=False):
                assert flag != "-f" or file in step.files


@settings(deadline=None, max_examples=20)
@given(meshes())
def test_whatever_the_mesh_the_blocks_form_a_script(scenario: Scenario) -> None:
    assert is_valid(script(render(plan(scenario, BUILT, REPOSITORY))))


def test_the_charts_of_a_primary() -> None:
    made = plan(SCENARIOS["primary-remote"], BUILT, FOLDER)
    base, istiod = calls(made["istiod/cluster1"])
    where = "--kube-context=${CTX_CLUSTER1} -n istio-system"
    assert base.startswith(f"helm upgrade --install istio-base /charts/base {where} --wait ")
    assert istiod.startswith(
        f"helm upgrade --install istiod /charts/istiod {where} -f cluster1.yaml --wait "
    )
    assert values(made, "istiod/cluster1") == {
        "telemetry": {"enabled": False},
        "pilot": {"env": {"PILOT_ENABLE_ALPN_FILTER": "false"}},
        "global": {
            "proxy": {"logLevel": "info", "readinessPeriodSeconds": 1},
            "meshID": "mesh1",
            "multiCluster": {"clusterName": "cluster1"},
            "network": "network1",
            "imagePullPolicy": "IfNotPresent",
            "externalIstiod": True,
            "hub": "localhost",
            "tag": "7",
        },
    }


def test_only_a_primary_with_remotes_is_external() -> None:
    made = plan(SCENARIOS["multi-primary"], BUILT, FOLDER)
    assert "externalIstiod" not in values(made, "istiod/cluster1")["global"]


def test_the_charts_of_a_remote() -> None:
    made = plan(SCENARIOS["primary-remote-multi-network"], BUILT, FOLDER)
    base, istiod = calls(made["remote/cluster2"])
    assert " istio-base /charts/base " in base
    assert " --set profile=remote --wait " in base
    assert " istiod /charts/istiod " in istiod
    assert values(made, "remote/cluster2") == {
        "profile": "remote",
        "telemetry": {"enabled": False},
        "istiodRemote": {"injectionPath": "/inject/cluster/cluster2/net/network2"},
        "global": {
            "proxy": {"logLevel": "info"},
            "remotePilotAddress": "${DISCOVERY_ADDRESS_CLUSTER1}",
            "imagePullPolicy": "IfNotPresent",
            "multiCluster": {"clusterName": "cluster2"},
            "network": "network2",
            "configCluster": True,
            "hub": "localhost",
            "tag": "7",
        },
    }


def test_the_chart_of_a_gateway() -> None:
    made = plan(SCENARIOS["multi-primary-multi-network"], BUILT, FOLDER)
    (gateway,) = calls(made["gateway/cluster2"])
    assert " istio-eastwestgateway /charts/gateway " in gateway
    assert values(made, "gateway/cluster2") == {
        "name": "istio-eastwestgateway",
        "networkGateway": "network2",
        "imagePullPolicy": "IfNotPresent",
    }


def test_charts_of_a_repository() -> None:
    made = plan(SCENARIOS["multi-primary"], RELEASED, REPOSITORY)
    base, _ = calls(made["istiod/cluster2"])
    assert " istio-base base --repo https://charts.example --version 1.31.1 " in base


def test_the_runbook_writes_values_and_calls_helm() -> None:
    text = render(plan(SCENARIOS["primary-remote"], BUILT, FOLDER))
    assert "cat > cluster2.yaml <<EOF\nprofile: remote\n" in text
    assert "remotePilotAddress: ${DISCOVERY_ADDRESS_CLUSTER1}\n" in text
    assert (
        'helm upgrade --install istiod /charts/istiod --kube-context="${CTX_CLUSTER2}" '
        "-n istio-system -f cluster2.yaml --wait --timeout=45s" in text
    )
    assert "istioctl install" not in text
    assert "istioctl create-remote-secret" in text


@pytest.mark.parametrize("version", ["1.23.6", "1.33.0", "unknown"])
def test_charts_that_the_recipe_does_not_know(version: str) -> None:
    charts = Charts(version, FOLDER.references, "")
    with pytest.raises(MachineError, match=r"Helm charts: wanted Istio 1\.24 to 1\.32"):
        plan(SCENARIOS["multi-primary"], BUILT, charts)
