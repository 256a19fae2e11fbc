"""A mesh in clusters whose DNS has another domain than Kubernetes' default."""

from __future__ import annotations

from ipaddress import IPv4Network
from pathlib import Path

import pytest
import yaml
from mesh_examples import BUILT, SCENARIOS

from mesh_fixtures import contract, scenario
from mesh_fixtures.errors import ScenarioError
from mesh_fixtures.install import exposure, ids
from mesh_fixtures.install.plan import plan
from mesh_fixtures.lab.addressing import assign_addresses
from mesh_fixtures.lab.kind.configuration import addresses_beside, cluster_configuration
from mesh_fixtures.lab.netns.components import kubelet_configuration
from mesh_fixtures.scenario import Scenario, as_yaml, load_scenario
from mesh_fixtures.workloads import workload_plan

DOMAIN = "corp.test"
PLAIN = SCENARIOS["primary-remote-multi-network"]
THREE = SCENARIOS["three-clusters-two-networks"]


def elsewhere(of: Scenario) -> Scenario:
    return of.model_copy(update={"cluster_domain": DOMAIN})


def written(folder: Path, text: str) -> Path:
    file = folder / "mesh.yaml"
    file.write_text(text)
    return file


def test_there_is_one_default() -> None:
    assert PLAIN.cluster_domain == scenario.CLUSTER_DOMAIN == contract.CLUSTER_DOMAIN


def test_a_scenario_says_it_where_it_is_another(tmp_path: Path) -> None:
    assert "clusterDomain" not in as_yaml(PLAIN)
    text = as_yaml(elsewhere(PLAIN))
    assert f"clusterDomain: {DOMAIN}\n" in text
    read = load_scenario(written(tmp_path, text))
    assert read.cluster_domain == DOMAIN
    assert read.describes_same(elsewhere(PLAIN))
    assert not read.describes_same(PLAIN)
    assert read.digest == elsewhere(PLAIN).digest != PLAIN.digest


def test_the_default_may_be_written_down(tmp_path: Path) -> None:
    text = f"{as_yaml(PLAIN)}clusterDomain: cluster.local\n"
    assert load_scenario(written(tmp_path, text)).digest == PLAIN.digest


@pytest.mark.parametrize("domain", ["Corp.test", "corp..test", ".test", "corp_test", "''", "[a]"])
def test_a_domain_that_can_be_none(domain: str, tmp_path: Path) -> None:
    file = written(tmp_path, f"{as_yaml(PLAIN)}clusterDomain: {domain}\n")
    with pytest.raises(ScenarioError) as raised:
        load_scenario(file)
    assert "clusterDomain" in raised.value.where


def test_istiod_is_installed_with_it() -> None:
    made = plan(elsewhere(PLAIN), BUILT)
    (operator,) = map(yaml.safe_load, made[ids.istiod("cluster1")].files.values())
    assert operator["spec"]["values"]["global"]["proxy"]["clusterDomain"] == DOMAIN
    (usual,) = map(yaml.safe_load, plan(PLAIN, BUILT)[ids.istiod("cluster1")].files.values())
    assert "clusterDomain" not in usual["spec"]["values"]["global"]["proxy"]


def test_what_is_exposed_goes_by_it() -> None:
    _, service = yaml.safe_load_all(exposure.istiod_manifest(DOMAIN))
    (host,) = {tls["route"][0]["destination"]["host"] for tls in service["spec"]["tls"]}
    assert host == f"istiod.istio-system.svc.{DOMAIN}"
    (server,) = yaml.safe_load(exposure.services_manifest(DOMAIN))["spec"]["servers"]
    assert server["hosts"] == ["*.test"]
    made = plan(elsewhere(PLAIN), BUILT)
    texts = [content for step in made.steps for content in step.files.values()]
    assert any(host in text for text in texts)
    assert not any("cluster.local" in text or "*.local" in text for text in texts)


def test_the_rule_for_connections_goes_by_it() -> None:
    made = workload_plan(elsewhere(THREE), BUILT)
    (rule,) = map(yaml.safe_load, made[ids.fresh_connections("cluster1")].files.values())
    assert rule["spec"]["host"] == f"helloworld.sample.svc.{DOMAIN}"


def test_kubelets_of_the_embedded_lab_have_it() -> None:
    cluster = assign_addresses(elsewhere(PLAIN), 1).clusters["cluster1"]
    assert yaml.safe_load(kubelet_configuration(cluster, "/lab"))["clusterDomain"] == DOMAIN


def test_kubeadm_is_told_of_it_by_kind() -> None:
    subnet = IPv4Network("172.18.0.0/16")
    mesh = elsewhere(THREE)
    made = cluster_configuration(mesh, "cluster1", addresses_beside(mesh, subnet))
    (patch,) = map(yaml.safe_load, made["kubeadmConfigPatches"])
    assert patch == {"kind": "ClusterConfiguration", "networking": {"dnsDomain": DOMAIN}}
    usual = cluster_configuration(THREE, "cluster1", addresses_beside(THREE, subnet))
    assert "kubeadmConfigPatches" not in usual
