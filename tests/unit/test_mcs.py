"""A mesh with Multi-Cluster Services: how it is described, installed and found; what it exports."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from mesh_examples import BUILT, MORE, SCENARIOS
from test_runbook import is_valid, script

from mesh_fixtures.contract import MCS_DEFINITIONS
from mesh_fixtures.errors import ScenarioError
from mesh_fixtures.install import ids
from mesh_fixtures.install.plan import plan
from mesh_fixtures.install.runbook import render
from mesh_fixtures.kube import Container, Deployment, Meta
from mesh_fixtures.kube.objects import ServiceExport, ServiceImport
from mesh_fixtures.kube.resources import SERVICE_EXPORTS, SERVICE_IMPORTS
from mesh_fixtures.lab.kubeconfig.sample import exports
from mesh_fixtures.lab.kubeconfig.survey import mcs_groups
from mesh_fixtures.probe.mcs import MCSSettings
from mesh_fixtures.scenario import as_yaml, load_scenario
from mesh_fixtures.workloads import (
    export_manifest,
    import_manifest,
    named_services,
    named_services_manifest,
    reserved_manifest,
    workload_plan,
)

PLAIN = SCENARIOS["multi-primary-multi-network"]
EXPORTING = MORE["multi-primary-multi-network-mcs"]
REMOTE = MORE["primary-remote-multi-network-mcs"]


@pytest.mark.parametrize(("value", "exporting"), [("true", True), ("false", False)])
def test_a_scenario_says_it(value: str, exporting: bool, tmp_path: Path) -> None:
    file = tmp_path / "mesh.yaml"
    file.write_text(f"{as_yaml(PLAIN)}mcs: {value}\n", encoding="utf-8")
    read = load_scenario(file)
    assert read.mcs == exporting
    assert ("mcs" in read.features) == exporting
    assert ("mcs: true\n" in as_yaml(read)) == exporting
    assert (read.digest == PLAIN.digest) != exporting
    assert read.describes_same(PLAIN)


def test_what_is_neither_true_nor_false(tmp_path: Path) -> None:
    file = tmp_path / "mesh.yaml"
    file.write_text(f"{as_yaml(PLAIN)}mcs: maybe\n", encoding="utf-8")
    with pytest.raises(ScenarioError, match="true or false"):
        load_scenario(file)


def environment(scenario: Any) -> Mapping[str, str]:
    (operator,) = map(yaml.safe_load, plan(scenario, BUILT)[ids.istiod("cluster1")].files.values())
    found: Mapping[str, str] = operator["spec"]["values"].get("pilot", {}).get("env", {})
    return found


def test_istiod_is_installed_with_it() -> None:
    settings = MCSSettings.read(environment(EXPORTING))
    assert settings == MCSSettings(discovery=True, host=True)
    assert MCSSettings.read(environment(PLAIN)) == MCSSettings()


@pytest.mark.parametrize("scenario", [EXPORTING, REMOTE], ids=lambda each: each.id)
def test_the_kinds_are_defined_before_anything_reads_or_makes_them(scenario: Any) -> None:
    made = plan(scenario, BUILT)
    assert MCS_DEFINITIONS in made.variables
    for cluster in scenario.clusters:
        step = made[ids.mcs_api(cluster.name)]
        files = [each for each in step.commands[0].argv if each.endswith(".yaml")]
        assert files == [
            "${MCS_API}/multicluster.x-k8s.io_serviceexports.yaml",
            "${MCS_API}/multicluster.x-k8s.io_serviceimports.yaml",
        ]
        user = ids.istiod(cluster.name) if cluster.is_primary else ids.attached(cluster.name)
        assert step.id in made.needed_by(user)
    assert MCS_DEFINITIONS not in plan(PLAIN, BUILT).variables
    assert not [each for each in plan(PLAIN, BUILT).steps if each.id.startswith("mcs-api")]


def test_the_blocks_form_a_script() -> None:
    values = {MCS_DEFINITIONS: "https://crds.example"}
    text = script(render(plan(EXPORTING, BUILT), values=values))
    assert is_valid(text)
    assert "export MCS_API=https://crds.example" in text


def exported(made: Any, step_id: str) -> list[str]:
    items = [each for text in made[step_id].files.values() for each in yaml.safe_load_all(text)]
    return [each["metadata"]["name"] for each in items if each["kind"] == "ServiceExport"]


def test_every_service_of_the_samples_is_exported() -> None:
    made = workload_plan(EXPORTING, BUILT)
    for at, cluster in enumerate(("cluster1", "cluster2"), start=1):
        assert exported(made, ids.helloworld_service(cluster)) == ["helloworld"]
        assert tuple(exported(made, ids.named(cluster))) == named_services(at)
        in_existing = [each["metadata"]["name"] for each in exports(EXPORTING, cluster)]
        assert in_existing == ["helloworld", *named_services(at)]
        services = yaml.safe_load_all(named_services_manifest(at))
        assert named_services(at) == tuple(each["metadata"]["name"] for each in services)
    assert not exported(workload_plan(PLAIN, BUILT), ids.helloworld_service("cluster1"))
    assert exports(PLAIN, "cluster1") == ()
    without_dns = EXPORTING.model_copy(update={"dns_proxying": False})
    assert len(exports(without_dns, "cluster1")) == 1


def test_what_is_made_in_place_of_an_implementation() -> None:
    made = yaml.safe_load(import_manifest("a", ["10.96.0.7"]))
    assert (made["apiVersion"], made["kind"]) == (SERVICE_IMPORTS.api, SERVICE_IMPORTS.kind)
    assert ServiceImport.read(made).ips == ("10.96.0.7",)
    assert made["spec"]["ports"] == [{"name": "http", "port": 5000, "protocol": "TCP"}]
    reserved = yaml.safe_load(reserved_manifest("a-set"))
    assert "selector" not in reserved["spec"]
    assert reserved["metadata"]["annotations"] == {"networking.istio.io/exportTo": "~"}


def test_conditions_of_an_export_tell_that_something_takes_notice() -> None:
    made = yaml.safe_load(export_manifest("a"))
    assert (made["apiVersion"], made["kind"]) == (SERVICE_EXPORTS.api, SERVICE_EXPORTS.kind)
    assert not ServiceExport.read(made).conditions
    noticed = {**made, "status": {"conditions": [{"type": "Valid", "status": "True"}]}}
    assert ServiceExport.read(noticed).conditions == {"Valid": "True"}


@pytest.mark.parametrize(
    ("variables", "settings"),
    [
        ({}, MCSSettings()),
        ({"ENABLE_MCS_SERVICE_DISCOVERY": "false"}, MCSSettings()),
        ({"ENABLE_MCS_SERVICE_DISCOVERY": "True"}, MCSSettings(discovery=True)),
        ({"ENABLE_MCS_HOST": "true"}, MCSSettings()),
        ({"ENABLE_MCS_CLUSTER_LOCAL": "true"}, MCSSettings()),
        (
            {"ENABLE_MCS_SERVICE_DISCOVERY": "1", "ENABLE_MCS_CLUSTER_LOCAL": "true"},
            MCSSettings(discovery=True),
        ),
        ({"ENABLE_MCS_AUTO_EXPORT": "true"}, MCSSettings(auto_export=True)),
        ({"MCS_API_GROUP": "net.gke.io"}, MCSSettings(group="net.gke.io")),
    ],
)
def test_a_switch_counts_only_with_those_that_it_requires(
    variables: Mapping[str, str], settings: MCSSettings
) -> None:
    assert MCSSettings.read(variables) == settings


def test_an_existing_mesh_has_it_where_an_istiod_reads_exports() -> None:
    def istiod(**variables: str) -> Deployment:
        container = Container("discovery", env=variables)
        return Deployment(Meta("istiod", "istio-system"), 1, 1, (container,))

    on = {"ENABLE_MCS_SERVICE_DISCOVERY": "true"}
    assert mcs_groups([istiod()]) == frozenset()
    assert mcs_groups([istiod(), istiod(**on)]) == {SERVICE_EXPORTS.group}
    assert mcs_groups([istiod(**on, MCS_API_GROUP="net.gke.io")]) == {"net.gke.io"}
