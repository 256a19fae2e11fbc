"""HelloWorld and Sleep: what is deployed where, and how it is waited for."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from fake_kube import FakeKube
from hypothesis import given, settings
from mesh_examples import BUILT, SCENARIOS, meshes

from mesh_fixtures import flow
from mesh_fixtures.contract import SAMPLE_NAMESPACE, MeshNames
from mesh_fixtures.install import ids
from mesh_fixtures.install.plan import injection, plan
from mesh_fixtures.probe import envoy, traffic
from mesh_fixtures.scenario import Scenario
from mesh_fixtures.verdict import client_endpoints
from mesh_fixtures.workloads import (
    NO_INJECTION,
    PLAIN_CLIENT,
    helloworld_image,
    helloworld_manifest,
    service_manifest,
    sleep_manifest,
    workload_plan,
)


def deployments(manifest: str) -> list[Any]:
    account, *made = yaml.safe_load_all(manifest)
    assert account["kind"] == "ServiceAccount"
    for each in made:
        template = each["spec"]["template"]
        assert template["spec"]["serviceAccountName"] == account["metadata"]["name"]
        labels = template["metadata"]["labels"].items()
        assert each["spec"]["selector"]["matchLabels"].items() <= labels
    return made


def deployment(manifest: str) -> Any:
    (made,) = deployments(manifest)
    return made


@pytest.mark.parametrize("scenario", SCENARIOS.values(), ids=SCENARIOS.keys())
def test_everything_in_every_cluster(scenario: Scenario) -> None:
    made = workload_plan(scenario, BUILT)
    for cluster in scenario.clusters:
        name = cluster.name
        (ready,) = made[ids.helloworld_ready(name)].commands
        assert f"deployment/helloworld-{cluster.helloworld}" in ready.argv
        for step_id in (ids.helloworld_service(name), ids.sleep_ready(name)):
            assert ids.sample_namespace(name) in made.needed_by(step_id)
    assert made.variables == tuple(f"CTX_{cluster.name.upper()}" for cluster in scenario.clusters)


def test_clusters_do_not_wait_for_each_other() -> None:
    made = workload_plan(SCENARIOS["three-clusters-two-networks"], BUILT)
    for step in made.steps:
        assert all(need.endswith(f"/{step.cluster}") for need in made.needed_by(step.id))


def test_injection_is_on_before_a_pod_is_made() -> None:
    made = workload_plan(SCENARIOS["multi-primary"], BUILT)
    create, label = made[ids.sample_namespace("cluster1")].commands
    assert create.argv[-2:] == ("namespace", SAMPLE_NAMESPACE)
    assert label.argv[-1] == "istio-injection=enabled"


def test_the_service_is_http() -> None:
    service = yaml.safe_load(service_manifest())
    assert service["spec"]["ports"] == [{"name": "http", "port": 5000, "targetPort": 5000}]
    assert service["spec"]["selector"] == {"app": "helloworld"}


def test_helloworld() -> None:
    made = deployment(helloworld_manifest("v2", BUILT))
    assert made["metadata"]["name"] == "helloworld-v2"
    (container,) = made["spec"]["template"]["spec"]["containers"]
    assert container["image"] == "localhost/helloworld:v2"
    assert container["env"] == [{"name": "SERVICE_VERSION", "value": "v2"}]
    assert container["readinessProbe"]["httpGet"] == {"path": "/health", "port": 5000}
    assert container["readinessProbe"]["periodSeconds"] == 1
    assert container["imagePullPolicy"] == BUILT.pull_policy


def test_a_version_without_its_own_image() -> None:
    assert helloworld_image("v3", BUILT) == "localhost/helloworld:v1"


def test_clients_end_at_once() -> None:
    for each in deployments(sleep_manifest(BUILT)):
        pod = each["spec"]["template"]["spec"]
        assert pod["terminationGracePeriodSeconds"] == 0
        assert pod["containers"][0]["image"] == "localhost/sleep:7"


def test_only_the_plain_client_has_no_proxy() -> None:
    made = [*deployments(sleep_manifest(BUILT)), deployment(helloworld_manifest("v1", BUILT))]
    refusing = [
        each["metadata"]["name"]
        for each in made
        if NO_INJECTION.items() <= each["spec"]["template"]["metadata"]["labels"].items()
    ]
    assert refusing == [PLAIN_CLIENT]


def test_pods_comply_with_the_restricted_standard() -> None:
    for each in [*deployments(sleep_manifest(BUILT)), deployment(helloworld_manifest("v1", BUILT))]:
        pod = each["spec"]["template"]["spec"]
        assert pod["securityContext"]["runAsNonRoot"]
        assert pod["securityContext"]["seccompProfile"]["type"] == "RuntimeDefault"
        for container in pod["containers"]:
            context = container["securityContext"]
            assert not context["allowPrivilegeEscalation"]
            assert context["capabilities"] == {"drop": ["ALL"]}
            assert context["runAsUser"] > 0
            assert set(container["resources"]) == {"requests", "limits"}


def test_manifests_have_no_aliases() -> None:
    assert "&id" not in sleep_manifest(BUILT)


def test_connections_are_used_once_where_a_gateway_chooses_the_server() -> None:
    made = workload_plan(SCENARIOS["three-clusters-two-networks"], BUILT)
    rules = [step for step in made.steps if step.id.startswith("fresh-connections/")]
    assert [step.cluster for step in rules] == ["cluster1", "cluster2", "cluster3"]
    (content,) = rules[0].files.values()
    policy = yaml.safe_load(content)["spec"]["trafficPolicy"]
    assert policy == {"connectionPool": {"http": {"maxRequestsPerConnection": 1}}}


@pytest.mark.parametrize("name", sorted(SCENARIOS.keys() - {"three-clusters-two-networks"}))
def test_the_guides_topologies_get_no_rule_for_connections(name: str) -> None:
    made = workload_plan(SCENARIOS[name], BUILT)
    assert not [step for step in made.steps if step.id.startswith("fresh-connections/")]


def test_probes_ask_for_helloworld_by_the_names_that_istio_gives_it() -> None:
    kube = FakeKube(lambda argv: "", sample_namespace="ours").as_client()
    assert envoy.helloworld(kube) == "outbound|5000||helloworld.ours.svc.cluster.local"
    named = client_endpoints.passing_on(kube)
    assert named == "outbound_.5000_._.helloworld.ours.svc.cluster.local"
    names = MeshNames(cluster_domain="corp.test")
    other = FakeKube(lambda argv: "", sample_namespace="ours", names=names).as_client()
    assert envoy.helloworld(other) == "outbound|5000||helloworld.ours.svc.corp.test"
    assert client_endpoints.passing_on(other, "x") == "outbound_.5000_._.x.ours.svc.corp.test"
    assert traffic.helloworld_url("ours") == "http://helloworld.ours:5000/hello"


@given(meshes())
@settings(max_examples=30)
def test_workloads_that_overlap_come_after_injection_and_wait_for_nothing_else(
    scenario: Scenario,
) -> None:
    installation, workloads = plan(scenario, BUILT), workload_plan(scenario, BUILT)
    made = flow.overlapped(installation, scenario, BUILT)
    assert {each.id for each in made.steps} == {
        each.id for each in (*installation.steps, *workloads.steps)
    }
    for cluster in scenario.clusters:
        before = made.needed_by(ids.helloworld(cluster.name))
        injecting = injection(scenario, cluster.name)
        assert before == {
            ids.sample_namespace(cluster.name),
            *injecting,
            *(each for needed in injecting for each in installation.needed_by(needed)),
        }
