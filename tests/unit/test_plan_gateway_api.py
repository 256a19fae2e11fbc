"""Gateways by the Gateway API: the same installation, but for them and what they pass."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from mesh_examples import BUILT, FOLDER, RELEASED, SCENARIOS, meshes
from test_plan_helm import calls
from test_runbook import is_valid, script

from mesh_fixtures.charts import Charts
from mesh_fixtures.contract import GATEWAY_API_DEFINITIONS
from mesh_fixtures.errors import MachineError
from mesh_fixtures.install import gateway_api, ids
from mesh_fixtures.install.plan import plan
from mesh_fixtures.install.runbook import render
from mesh_fixtures.install.step import Plan
from mesh_fixtures.options import GATEWAY_API, GATEWAY_METHODS, HELM, METHODS, WAYS, InstallMethods
from mesh_fixtures.scenario import Scenario

FEW = settings(max_examples=30)
BY_API = InstallMethods(gateways=GATEWAY_API)


def by_api(scenario: Scenario) -> Plan:
    return plan(scenario, BUILT, methods=BY_API)


def objects(made: Plan, step_id: str) -> list[Mapping[str, Any]]:
    (content,) = made[step_id].files.values()
    return list(yaml.safe_load_all(content))


def ports(gateway: Mapping[str, Any]) -> list[int]:
    return [each["port"] for each in gateway["spec"]["listeners"]]


@FEW
@given(meshes())
def test_whatever_the_mesh_other_steps_are_the_same(scenario: Scenario) -> None:
    made, usual = by_api(scenario), plan(scenario, BUILT)
    defined = [each.name for each in scenario.primaries if scenario.needs_gateway(each.name)]
    more = {ids.gateway_api(each) for each in defined}
    less = {ids.expose_services(each.name) for each in scenario.primaries}
    assert {each.id for each in made.steps} == {each.id for each in usual.steps} - less | more
    for each in usual.steps:
        if each.id.partition("/")[0] not in ("gateway", "expose-istiod", "expose-services"):
            own = made[each.id]
            assert replace(own, needs=tuple(need for need in own.needs if need not in more)) == each
    for cluster in defined:
        assert made.needed_by(ids.istiod(cluster)) >= {ids.gateway_api(cluster)}
    assert ("GATEWAY_API" in made.variables) == bool(defined)


@FEW
@given(meshes())
def test_whatever_the_mesh_gateways_listen_where_other_clusters_need_it(scenario: Scenario) -> None:
    made = by_api(scenario)
    for cluster in scenario.clusters:
        if not scenario.needs_gateway(cluster.name):
            continue
        found = objects(made, ids.gateway(cluster.name))
        if cluster.is_primary:
            (gateway,) = found
            assert {*ports(gateway)} == scenario.gateway_ports(cluster.name)
            assert gateway["metadata"]["labels"] == {"topology.istio.io/network": cluster.network}
        else:
            service = found[-1]
            assert service["kind"] == "Service"
            assert [each["port"] for each in service["spec"]["ports"]] == [15021, 15443]
            assert service["metadata"]["labels"]["topology.istio.io/network"] == cluster.network


@settings(deadline=None, max_examples=20)
@given(meshes())
def test_whatever_the_mesh_the_blocks_form_a_script(scenario: Scenario) -> None:
    values = {GATEWAY_API_DEFINITIONS: "https://crds.example/install.yaml"}
    text = script(render(by_api(scenario), values=values))
    assert is_valid(text)
    assert ("export GATEWAY_API=https://crds.example/install.yaml" in text) == (
        "GATEWAY_API" in by_api(scenario).variables
    )


def test_definitions_come_from_where_the_variable_says() -> None:
    apply, established = calls(
        by_api(SCENARIOS["multi-primary-multi-network"])["gateway-api/cluster1"]
    )
    assert apply.endswith(" apply --server-side -f ${GATEWAY_API}")
    assert "crd/gateways.gateway.networking.k8s.io" in established


def test_a_mesh_without_gateways_defines_nothing() -> None:
    made = plan(SCENARIOS["multi-primary"], BUILT, methods=BY_API)
    assert made == plan(SCENARIOS["multi-primary"], BUILT)


def test_the_gateway_of_a_primary() -> None:
    made = by_api(SCENARIOS["multi-primary-multi-network"])
    (gateway,) = objects(made, "gateway/cluster2")
    assert gateway["metadata"]["annotations"] == {
        "gateway.istio.io/name-override": "istio-eastwestgateway"
    }
    (listener,) = gateway["spec"]["listeners"]
    assert listener == {
        "name": "cross-network",
        "hostname": "*.local",
        "port": 15443,
        "protocol": "TLS",
        "tls": {
            "mode": "Passthrough",
            "options": {"gateway.istio.io/listener-protocol": "auto-passthrough"},
        },
    }
    apply, created, ready = calls(made["gateway/cluster2"])
    assert apply.endswith("-n istio-system apply -f cluster2.eastwest-gateway.yaml")
    assert "wait --for=create deployment/istio-eastwestgateway" in created
    assert "rollout status deployment/istio-eastwestgateway" in ready


def test_istiod_is_passed_on_by_the_names_that_remotes_call_it() -> None:
    made = by_api(SCENARIOS["primary-remote-multi-network"])
    routes = objects(made, "expose-istiod/cluster1")
    (gateway,) = objects(made, "gateway/cluster1")
    listeners = {each["name"]: each["port"] for each in gateway["spec"]["listeners"]}
    passed = {}
    for route in routes:
        (parent,) = route["spec"]["parentRefs"]
        ((backend,),) = (rule["backendRefs"] for rule in route["spec"]["rules"])
        assert parent["name"] == gateway["metadata"]["name"]
        assert route["spec"]["hostnames"] == [
            "istiod.istio-system.svc",
            "istiod.istio-system.svc.cluster.local",
        ]
        passed[listeners[parent["sectionName"]]] = (backend["name"], backend["port"])
    assert passed == {15012: ("istiod", 15012), 15017: ("istiod", 443)}


def test_a_gateway_of_a_remote_has_the_name_by_which_its_primarys_configures_it() -> None:
    made = by_api(SCENARIOS["primary-remote-multi-network"])
    (gateway,) = objects(made, "gateway/cluster1")
    _, deployment, service = objects(made, "gateway/cluster2")
    assert (
        service["metadata"]["name"] == gateway["metadata"]["annotations"][gateway_api.NAME_OVERRIDE]
    )
    template = deployment["spec"]["template"]
    assert template["metadata"]["annotations"] == {"inject.istio.io/templates": "gateway"}
    assert service["spec"]["selector"].items() <= template["metadata"]["labels"].items()
    (proxy,) = template["spec"]["containers"]
    assert proxy["imagePullPolicy"] == BUILT.pull_policy
    assert proxy["env"] == [{"name": "ISTIO_META_REQUESTED_NETWORK_VIEW", "value": "network2"}]


@pytest.mark.parametrize("version", ["1.24.0", "1.29.9"])
def test_an_istio_that_reads_other_definitions(version: str) -> None:
    scenario = SCENARIOS["multi-primary-multi-network"]
    old = replace(RELEASED, istio_version=version)
    plan(scenario, old)
    with pytest.raises(MachineError, match=r"wanted Istio 1\.30 to 1\.32"):
        plan(scenario, old, methods=BY_API)


def test_each_method_installs_its_part() -> None:
    scenario = SCENARIOS["primary-remote-multi-network"]

    def programs(mesh: str, gateways: str, charts: Charts | None = FOLDER) -> dict[str, set[str]]:
        made = plan(scenario, BUILT, charts, methods=InstallMethods(mesh, gateways))
        return {
            what: {
                command.argv[0]
                for step in made.steps
                if step.id.partition("/")[0] == what
                for command in step.commands
            }
            for what in ("istiod", "remote", "gateway")
        }

    for mesh in METHODS:
        for gateways in GATEWAY_METHODS:
            program = "kubectl" if gateways == GATEWAY_API else gateways
            found = programs(mesh, gateways)
            assert found == {"istiod": {mesh}, "remote": {mesh}, "gateway": {program}}
    with pytest.raises(ValueError, match="charts"):
        programs(METHODS[0], HELM, None)


def test_names_of_methods_tell_them_apart() -> None:
    assert len(WAYS) == len(METHODS) * len(GATEWAY_METHODS)
    assert WAYS["istioctl-gateway-api"] == BY_API
    assert WAYS["helm-istioctl"].flags == "--mesh-install helm --mesh-gateways istioctl"
