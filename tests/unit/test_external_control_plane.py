"""An istiod outside of the clusters that it serves: scenario, plan, and what is judged of it."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from fake_kube import pod, result
from mesh_examples import BUILT, FOLDER, MORE
from verdicts import FakeView, checked, found, mesh

from mesh_fixtures.contract import EXTERNAL_NAMESPACE, MeshNames, names_in
from mesh_fixtures.diagnosis.cause import Case
from mesh_fixtures.diagnosis.facts import ClusterFacts, Facts, Namespace
from mesh_fixtures.diagnosis.rules import attachment, gateway_exposure, identity
from mesh_fixtures.errors import MachineError, ScenarioError
from mesh_fixtures.flow import overlapped
from mesh_fixtures.install import external, ids
from mesh_fixtures.install.certificates import make_certificates
from mesh_fixtures.install.plan import plan
from mesh_fixtures.install.runbook import render
from mesh_fixtures.install.step import substitute
from mesh_fixtures.install.upgrade import require_no_revision
from mesh_fixtures.kube import Configuration
from mesh_fixtures.kube.admission import Webhook
from mesh_fixtures.lab.kubeconfig.inference import infer
from mesh_fixtures.lab.kubeconfig.survey import Installation, Values
from mesh_fixtures.options import BY_HELM, InstallMethods
from mesh_fixtures.probe.certificates import TrustMaterial
from mesh_fixtures.probe.injectors import Injector
from mesh_fixtures.probe.istiod import KnownClusters, RemoteCluster, read_clusters
from mesh_fixtures.probe.proxies import ProxyAnswers
from mesh_fixtures.probe.workloads import ControlPlane
from mesh_fixtures.report.html.drawing import links, topology_svg
from mesh_fixtures.requirements import control_1, discovery_1, trust_1
from mesh_fixtures.scenario import RemoteSecretSpec, Scenario, load_scenario
from mesh_fixtures.workloads import check_plan, workload_plan

EXTERNAL = MORE["external-control-plane"]
ADDRESS = {"DISCOVERY_ADDRESS_EXTERNAL": "10.0.0.1"}
SOURCE = result().source

GOOD = """\
title: external
mesh: mesh1
networks: [{name: network1}, {name: network2}]
clusters:
  - {name: cluster1, network: network1, role: remote, primary: outside}
  - {name: cluster2, network: network1, role: remote, primary: outside}
  - {name: outside, network: network2, role: external}
"""


def loaded(folder: Path, text: str) -> Scenario:
    file = folder / "mine.yaml"
    file.write_text(text)
    return load_scenario(file)


def files_of(step_id: str) -> list[Any]:
    (content,) = plan(EXTERNAL, BUILT)[step_id].files.values()
    return list(yaml.safe_load_all(substitute(content, ADDRESS)))


def argv_of(step_id: str) -> list[str]:
    made = plan(EXTERNAL, BUILT)[step_id].commands
    return [" ".join((*command.argv, *command.pipe_to)) for command in made]


def test_pods_of_the_mesh_are_in_its_remotes_alone() -> None:
    assert EXTERNAL.external is not None
    assert [each.name for each in EXTERNAL.data_planes] == ["cluster1", "cluster2"]
    assert [each.name for each in EXTERNAL.primaries] == ["external"]
    assert [each.name for each in EXTERNAL.mesh_networks] == ["network1", "network2"]
    assert EXTERNAL.features == {"multi-network", "external-control-plane", "multi-cluster"} | {
        "east-west-gateway"
    }
    assert not EXTERNAL.has_choice_behind_gateway


def test_the_first_remote_has_the_configuration() -> None:
    assert EXTERNAL.config_clusters == ("cluster1",)
    assert EXTERNAL.read_by("external") == ("cluster1", "cluster2")
    assert EXTERNAL.remote_secrets == (RemoteSecretSpec(of="cluster2", installed_in="external"),)
    assert EXTERNAL.exposes_services("cluster1")
    assert not EXTERNAL.exposes_services("cluster2")


def test_gateways_of_the_mesh_pass_services_and_that_of_istiod_passes_istiod() -> None:
    ports = {each.name: EXTERNAL.gateway_ports(each.name) for each in EXTERNAL.clusters}
    assert ports == {"cluster1": {15443}, "cluster2": {15443}, "external": {15012, 15017}}
    needing = [each.name for each in EXTERNAL.clusters if EXTERNAL.needs_gateway(each.name)]
    assert needing == ["cluster1", "cluster2"]


def test_remotes_on_one_network_need_no_gateway(tmp_path: Path) -> None:
    scenario = loaded(tmp_path, GOOD)
    assert not scenario.is_multi_network
    assert not any(scenario.needs_gateway(each.name) for each in scenario.clusters)
    present = {each.id for each in plan(scenario, BUILT).steps}
    assert ids.expose_istiod("outside") in present
    assert ids.gateway("cluster1") not in present


@pytest.mark.parametrize(
    ("old", "new", "where", "wanted"),
    [
        (
            "{name: outside, network: network2, role: external}",
            "{name: outside, network: network2, role: external, primary: cluster1}",
            "clusters[2].primary",
            "no such key in a cluster with role external",
        ),
        (
            "role: remote, primary: outside}\n  - {name: outside",
            "role: primary}\n  - {name: outside",
            "clusters[1].role",
            "remote, as outside is an external control plane, the only one",
        ),
        (
            "cluster2, network: network1, role: remote, primary: outside",
            "cluster2, network: network1, role: external",
            "clusters[1].role",
            "at least one remote with `primary: cluster2`",
        ),
        (
            "title: external",
            "title: external\nrevision: canary",
            "revision",
            "external control planes are installed without a revision",
        ),
    ],
)
def test_a_scenario_that_contradicts_itself_is_refused(
    old: str, new: str, where: str, wanted: str, tmp_path: Path
) -> None:
    assert old in GOOD
    with pytest.raises(ScenarioError) as refused:
        loaded(tmp_path, GOOD.replace(old, new))
    assert where in str(refused.value)
    assert wanted in str(refused.value)


def test_its_names_are_those_of_the_guide() -> None:
    assert names_in(EXTERNAL) == MeshNames(EXTERNAL_NAMESPACE, EXTERNAL_NAMESPACE)


def test_steps_come_after_what_they_rely_on() -> None:
    made = plan(EXTERNAL, BUILT)
    before = {each.id: made.needed_by(each.id) for each in made.steps}
    istiod = before[ids.istiod("external")]
    assert {ids.config_secret("cluster1"), ids.cacerts("external")} <= istiod
    assert ids.remote("cluster1") in before[ids.config_secret("cluster1")]
    for cluster in ("cluster1", "cluster2"):
        assert ids.gateway_address("external") in before[ids.remote(cluster)]
        assert ids.istiod("external") in before[ids.attached(cluster)]
        assert ids.expose_istiod("external") in before[ids.gateway(cluster)]
    secret = ids.remote_secret(of="cluster2", installed_in="external")
    assert ids.control_plane_annotation("cluster2") in before[secret]
    assert secret in before[ids.attached("cluster2")]
    assert ids.control_plane_annotation("cluster1") not in before
    whole = overlapped(made, EXTERNAL, BUILT)
    assert ids.expose_istiod("external") in whole.needed_by(ids.sleep("cluster2"))


def test_its_variables_are_contexts_and_the_api_servers_that_istiod_reads() -> None:
    assert set(plan(EXTERNAL, BUILT).variables) == {
        *("CTX_CLUSTER1", "CTX_CLUSTER2", "CTX_EXTERNAL"),
        *("API_SERVER_CLUSTER1", "API_SERVER_CLUSTER2"),
    }


def test_what_is_istiods_is_in_its_namespace_and_its_gateway_in_another() -> None:
    made = plan(EXTERNAL, BUILT)
    for each in made.steps:
        for command in each.commands:
            words = (*command.argv, *command.pipe_to)
            is_gateways = each.id == ids.gateway_address("external")
            assert ("istio-system" in words) == is_gateways, each.id
    (gateway,) = files_of(ids.control_plane_gateway("external"))
    assert gateway["metadata"] == {"namespace": "istio-system"}


def test_istiod_reads_its_configuration_elsewhere() -> None:
    (operator,) = files_of(ids.istiod("external"))
    spec = operator["spec"]
    assert operator["metadata"]["namespace"] == EXTERNAL_NAMESPACE
    assert spec["profile"] == "empty"
    assert spec["meshConfig"]["rootNamespace"] == EXTERNAL_NAMESPACE
    assert spec["meshConfig"]["defaultConfig"]["discoveryAddress"] == "10.0.0.1:15012"
    variables = {each["name"]: each["value"] for each in spec["components"]["pilot"]["k8s"]["env"]}
    assert variables == {
        "INJECTION_WEBHOOK_CONFIG_NAME": "istio-sidecar-injector-external-istiod",
        "VALIDATION_WEBHOOK_CONFIG_NAME": "istio-validator-external-istiod",
        "EXTERNAL_ISTIOD": "true",
        "LOCAL_CLUSTER_SECRET_WATCHER": "true",
        "CLUSTER_ID": "cluster1",
        "SHARED_MESH_CONFIG": "istio",
    }
    assert spec["values"]["pilot"] == BUILT.istio_values["pilot"]
    assert spec["values"]["global"]["proxy"]["logLevel"] == "info"


def test_remotes_find_istiod_at_its_gateway_and_one_has_the_configuration() -> None:
    values = {
        cluster: files_of(ids.remote(cluster))[0]["spec"]["values"]
        for cluster in ("cluster1", "cluster2")
    }
    for cluster, number in (("cluster1", 1), ("cluster2", 2)):
        path = values[cluster]["istiodRemote"]["injectionPath"]
        assert path == f"/inject/cluster/{cluster}/net/network{number}"
        assert values[cluster]["global"]["remotePilotAddress"] == "10.0.0.1"
    assert values["cluster1"]["global"]["configCluster"] is True
    assert values["cluster1"]["pilot"] == {"configMap": True}
    assert "configCluster" not in values["cluster2"]["global"]
    (generated,) = argv_of(ids.remote("cluster1"))
    assert "manifest generate -f cluster1.yaml --set values.defaultRevision=default" in generated


def test_secrets_of_both_kinds_are_for_istiod() -> None:
    (config,) = argv_of(ids.config_secret("cluster1"))
    (remote,) = argv_of(ids.remote_secret(of="cluster2", installed_in="external"))
    for argv, kind in ((config, "config"), (remote, "remote")):
        assert f"--type={kind} --namespace=external-istiod" in argv
        assert argv.endswith("--context=${CTX_EXTERNAL} -n external-istiod apply -f -")
    assert "--service-account=istiod" in config


def test_the_gateway_passes_tls_through_to_istiod() -> None:
    gateway, service = files_of(ids.expose_istiod("external"))
    servers = gateway["spec"]["servers"]
    assert {each["port"]["number"] for each in servers} == {15012, 15017}
    assert {each["tls"]["mode"] for each in servers} == {"PASSTHROUGH"}
    passed = {
        each["match"][0]["port"]: each["route"][0]["destination"]["port"]["number"]
        for each in service["spec"]["tls"]
    }
    assert passed == {15012: 15012, 15017: 443}


def test_workloads_and_checks_leave_its_cluster_out() -> None:
    for made in (workload_plan(EXTERNAL, BUILT), check_plan(EXTERNAL)):
        assert {each.cluster for each in made.steps} == {"cluster1", "cluster2"}


def test_one_istiod_signs_for_all() -> None:
    folders = {name.partition("/")[0] for name in make_certificates(EXTERNAL) if "/" in name}
    assert folders == {"external"}


def test_the_runbook_has_the_guides_sections_in_their_order() -> None:
    text = render(plan(EXTERNAL, BUILT))
    sections = [line[3:] for line in text.splitlines() if line.startswith("## ")]
    assert sections == [
        *("Environment Variables", "Certificates", external.TRUST, external.GATEWAY),
        *(external.CONFIG_CLUSTER, external.CONTROL_PLANE, external.NEW_CLUSTER),
        external.EAST_WEST,
    ]
    assert "istioctl manifest generate -f cluster2.yaml |" in text


@pytest.mark.parametrize("methods", [BY_HELM, InstallMethods("istioctl", "gateway-api")])
def test_other_methods_are_refused(methods: InstallMethods) -> None:
    with pytest.raises(MachineError, match="external control plane to be installed by istioctl"):
        plan(EXTERNAL, BUILT, FOLDER, methods=methods)


def test_upgrades_are_refused() -> None:
    with pytest.raises(MachineError, match="--mesh-upgrade-from"):
        require_no_revision(EXTERNAL)


def test_the_drawing_shows_istiod_alone_in_its_cluster() -> None:
    drawing = topology_svg(EXTERNAL, "it")
    assert drawing.count("HelloWorld") == 2
    assert "ingress gateway 15012, 15017" in drawing
    found_links = {(each.kind, each.begin, each.end) for each in links(EXTERNAL)}
    assert found_links == {
        ("control-plane", "cluster1", "external"),
        ("control-plane", "cluster2", "external"),
        ("remote-secret", "external", "cluster1"),
        ("remote-secret", "external", "cluster2"),
    }


def known(*clusters: str) -> tuple[KnownClusters, ...]:
    read = tuple(RemoteCluster(each, "", "synced", "istiod-1") for each in clusters)
    return (KnownClusters(SOURCE, "istiod-1", read),)


@pytest.mark.parametrize(
    ("clusters", "finding"),
    [
        (("cluster1", "cluster2"), ""),
        (("cluster2", "external"), "to read cluster1, cluster2"),
        (("cluster1",), "to read cluster1, cluster2"),
    ],
)
def test_istiod_is_to_read_the_clusters_of_the_mesh(
    clusters: tuple[str, ...], finding: str
) -> None:
    asked: list[str] = []

    def remote_clusters(kube: Any) -> tuple[KnownClusters, ...]:
        asked.append(kube.name)
        return known(*clusters)

    probes = discovery_1.Probes(remote_clusters, lambda kube, view: ())
    outcome = checked(discovery_1, mesh(FakeView(EXTERNAL)), probes)
    assert {*asked} == {"external"}
    assert bool(found(outcome)) == bool(finding)
    assert finding in found(outcome)


def test_its_own_cluster_may_be_read_by_two_names() -> None:
    answer = [
        {"id": "cluster1", "syncStatus": "synced"},
        {"id": "config", "secretName": f"{EXTERNAL_NAMESPACE}/istio-kubeconfig"},
        {"id": "cluster2", "secretName": f"{EXTERNAL_NAMESPACE}/istio-remote-secret-cluster2"},
    ]
    text = json.dumps([{"syncStatus": "synced", **each} for each in answer])
    known = read_clusters(SOURCE, "istiod-1", text)
    assert [each.id for each in known.clusters] == ["cluster1", "cluster2"]
    probes = discovery_1.Probes(lambda kube: (known,), lambda kube, view: ())
    outcome = checked(discovery_1, mesh(FakeView(EXTERNAL)), probes)
    assert outcome.result == "met"
    (note,) = outcome.notes
    assert "a second time, as config" in note


def test_istiod_is_looked_for_in_its_cluster_alone() -> None:
    def control_plane(kube: Any) -> ControlPlane:
        return ControlPlane(SOURCE, kube.name, (), (pod("istiod-1"),))

    outcome = checked(control_1, mesh(FakeView(EXTERNAL)), control_1.Probes(control_plane))
    assert [each.cluster for each in outcome.findings] == ["external"]


def test_its_authority_needs_no_proxies_beside_it() -> None:
    signing: Any = SimpleNamespace(
        secret="cacerts", defects=(), source=SOURCE, material=TrustMaterial(None, (), ())
    )
    probes = trust_1.Probes(
        lambda kube: signing, lambda kube: ProxyAnswers((), ()), lambda kube: None
    )
    looked = mesh(FakeView(EXTERNAL), has_samples=False)
    assert checked(trust_1, looked, probes).result == "met"


def case(**facts: ClusterFacts) -> Case:
    empty = {each.name: ClusterFacts(each.name) for each in EXTERNAL.clusters}
    seen = Facts(0.0, "sample", {**empty, **facts}, names_in(EXTERNAL))
    return Case(EXTERNAL, seen, {})


def namespace(cluster: str, label: str = "", in_charge: str = "") -> ClusterFacts:
    labels = {"topology.istio.io/network": label} if label else {}
    annotations = {"topology.istio.io/controlPlaneClusters": in_charge} if in_charge else {}
    made = Namespace(EXTERNAL_NAMESPACE, labels, annotations)
    return ClusterFacts(cluster, namespaces=(made,))


def test_a_healthy_external_control_plane_has_no_cause() -> None:
    seen = case(
        cluster1=namespace("cluster1", "network1"),
        cluster2=namespace("cluster2", "network2", "cluster1"),
        external=namespace("external"),
    )
    assert not [*identity.network_label(seen)]
    assert not [*attachment.annotation(seen)]


def test_who_is_in_charge_goes_by_the_name_of_the_cluster_with_the_configuration() -> None:
    seen = case(cluster2=namespace("cluster2", "network2", "external"))
    (cause,) = attachment.annotation(seen)
    assert cause.kind is attachment.WRONG
    assert cause.clusters == ("cluster2", "external")
    assert "controlPlaneClusters=cluster1" in cause.remedy


def test_services_are_exposed_where_istiod_reads_it() -> None:
    nothing = ClusterFacts("cluster1", configuration=())
    (cause,) = gateway_exposure.services(case(cluster1=nothing))
    assert cause.clusters == ("cluster1",)


def test_istiod_is_exposed_by_its_own_cluster() -> None:
    unrelated = Configuration("Gateway", EXTERNAL_NAMESPACE, "else", {"servers": []})
    seen = ClusterFacts("external", configuration=(unrelated,))
    (cause,) = gateway_exposure.istiod(case(external=seen))
    assert cause.kind is gateway_exposure.ISTIOD
    assert "ingress gateway" in cause.statement
    assert external.EXPOSURE_FILE in cause.remedy


def webhook(namespace: str, path: str) -> Webhook:
    service = {"namespace": namespace, "name": "istiod", "path": path}
    return Webhook.read({"name": "w", "clientConfig": {"service": service}})


def existing(name: str, network: str, *in_charge: str) -> Installation:
    """What the guide leaves in a remote."""
    hook = webhook(EXTERNAL_NAMESPACE, f"/inject/cluster/{name}/net/{network}")
    return Installation(
        name,
        EXTERNAL_NAMESPACE,
        f"uid of {name}",
        network,
        in_charge,
        injectors=(Injector("default", name, network, hook),),
        discovery=frozenset({"10.0.0.1"}),
        gateways=frozenset({f"gateway of {name}"}),
    )


ISTIOD = Installation(
    "anything",
    EXTERNAL_NAMESPACE,
    "uid of istiod",
    istiods={"istiod": "cluster1"},
    values=(Values("mesh1"),),
    injectors=(Injector("default", "", "", webhook("istio-system", "/inject")),),
    discovery=frozenset({"10.0.0.1"}),
    reads=frozenset({"cluster1", "cluster2"}),
)


def test_an_existing_one_is_described_by_whom_it_reads() -> None:
    found = [ISTIOD, existing("cluster2", "network2", "cluster1"), existing("cluster1", "network1")]
    described = infer(found)
    assert described.notes == ("the control plane is in namespace external-istiod",)
    scenario = described.scenario
    assert scenario.title == "Mesh mesh1: external control plane and 2 remotes on 2 networks"
    assert {each.name: each.role for each in scenario.clusters} == {
        "cluster1": "remote",
        "cluster2": "remote",
        "anything": "external",
    }
    assert scenario.config_clusters == ("cluster1",)
    assert scenario.is_multi_network
    renamed = EXTERNAL.model_copy(
        update={
            "clusters": tuple(
                each.model_copy(
                    update={"name": "anything"} if each.is_external else {"primary": "anything"}
                )
                for each in EXTERNAL.clusters
            )
        }
    )
    assert renamed.describes_same(scenario)


def test_an_annotation_that_names_somebody_else_is_odd() -> None:
    found = [ISTIOD, existing("cluster1", "network1"), existing("cluster2", "network2", "anything")]
    assert any(
        "cluster2: topology.istio.io/controlPlaneClusters is anything" in each
        for each in infer(found).notes
    )
