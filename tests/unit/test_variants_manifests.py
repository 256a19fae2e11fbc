"""What variants make of objects and plans: pure functions."""

from __future__ import annotations

from mesh_examples import BUILT, SCENARIOS

from mesh_fixtures.install import ids
from mesh_fixtures.install.plan import plan
from tests.variants.clusters import with_other_names
from tests.variants.gateways import (
    by_other_load_balancer,
    exposing_services,
    gateway_of_api,
    moved,
    with_external_address,
)
from tests.variants.reinstallation import in_variables_of

TWO = SCENARIOS["multi-primary-multi-network"]
SERVICE = {
    "apiVersion": "v1",
    "kind": "Service",
    "metadata": {"name": "gateway", "namespace": "istio-system", "labels": {"a": "b"}},
    "spec": {
        "type": "LoadBalancer",
        "clusterIP": "10.0.0.1",
        "selector": {"istio": "eastwestgateway"},
        "ports": [{"port": 15443, "nodePort": 30443}],
    },
}


def test_an_object_in_another_namespace() -> None:
    binding = {"metadata": {"name": "b", "namespace": "one"}, "subjects": [{"namespace": "one"}]}
    assert moved(binding, "two") == {
        "metadata": {"name": "b"},
        "subjects": [{"namespace": "two"}],
    }
    assert binding["metadata"] == {"name": "b", "namespace": "one"}


def test_services_are_asked_for_anew() -> None:
    inside = with_external_address(SERVICE, "192.0.2.1")["spec"]
    assert (inside["type"], inside["externalIPs"]) == ("ClusterIP", ["192.0.2.1"])
    outside = by_other_load_balancer(SERVICE)["spec"]
    assert outside["type"] == "LoadBalancer"
    for spec in (inside, outside):
        assert spec["ports"] == [{"port": 15443}]
        assert "clusterIP" not in spec
    assert with_external_address(SERVICE, "192.0.2.1")["metadata"]["labels"] == {"a": "b"}


def test_what_passes_services() -> None:
    assert exposing_services()["spec"]["selector"] == {"istio": "eastwestgateway"}
    assert exposing_services({"istio": "other"})["spec"]["selector"] == {"istio": "other"}
    labels = gateway_of_api("network2")["metadata"]["labels"]
    assert labels == {"topology.istio.io/network": "network2"}


def test_a_plan_of_other_names_runs_on_the_labs_clusters() -> None:
    scenario = with_other_names(TWO)
    name = scenario.clusters[0].name
    made = in_variables_of(plan(scenario, BUILT), {name: "cluster1", "cluster2": "cluster2"})
    assert {*made.variables} == {*plan(TWO, BUILT).variables}
    secret = made[ids.remote_secret(of=name, installed_in="cluster2")]
    ((command,),) = ([each.argv for each in secret.commands],)
    assert "--context=${CTX_CLUSTER1}" in command
    assert f"--name={name}" in command
    assert name in "".join(made[ids.istiod(name)].files.values())
