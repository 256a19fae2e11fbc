from __future__ import annotations

import json
import shlex
import threading
from dataclasses import replace
from ipaddress import IPv4Address
from pathlib import Path

import pytest
import yaml
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.x509.oid import ExtendedKeyUsageOID

from mesh_fixtures.lab.addressing import LabAddresses, assign_addresses
from mesh_fixtures.lab.booted import Kubectl
from mesh_fixtures.lab.netns.components import (
    NodeSpec,
    cni_configuration,
    kubelet_configuration,
    services_of,
)
from mesh_fixtures.lab.netns.coredns import dns_manifests
from mesh_fixtures.lab.netns.network import (
    network_namespace,
    node_namespace,
    node_rules,
    pod_routes,
    router_namespace,
    router_rules,
)
from mesh_fixtures.lab.netns.node_files import ClusterKeys
from mesh_fixtures.lab.pki import ClusterAuthority, kubeconfig, merge_kubeconfigs, with_servers
from mesh_fixtures.scenario import Scenario


def addresses() -> LabAddresses:
    return assign_addresses(
        Scenario.model_validate(
            {
                "id": "example",
                "title": "Example",
                "mesh": "mesh1",
                "networks": [{"name": "network1"}, {"name": "network2"}],
                "clusters": [
                    {"name": "a", "network": "network1", "role": "primary", "helloworld": "v1"},
                    {
                        "name": "b",
                        "network": "network1",
                        "role": "primary",
                        "helloworld": "v2",
                        "nodes": 2,
                    },
                    {"name": "c", "network": "network2", "role": "primary", "helloworld": "v3"},
                ],
            }
        ),
        slot=0,
    )


def test_pod_routes_lead_to_every_other_node_of_the_network_and_no_further() -> None:
    lab = addresses()
    a, b, c = (lab.clusters[name] for name in "abc")
    assert pod_routes(lab, a, "a-node1") == [(n.pod_cidr, str(n.address)) for n in b.nodes]
    assert pod_routes(lab, b, "b-node2") == [
        (a.nodes[0].pod_cidr, str(a.nodes[0].address)),
        (b.nodes[0].pod_cidr, str(b.nodes[0].address)),
    ]
    assert pod_routes(lab, c, "c-node1") == []


def test_router_lets_only_api_servers_and_load_balancers_pass() -> None:
    lab = addresses()
    rules = router_rules(lab)
    assert "policy drop" in rules
    for cluster in lab.clusters.values():
        assert str(cluster.pool) in rules
        assert str(cluster.control_plane.address) in rules
        assert str(cluster.pod_cidr) not in rules
    assert str(lab.clusters["b"].nodes[1].address) not in rules


def test_pods_keep_their_address_on_their_own_network_only() -> None:
    lab = addresses()
    rules = node_rules(lab, lab.clusters["a"])
    kept = rules.split("!= {")[1].split("}")[0]
    assert str(lab.clusters["b"].pod_cidr) in kept
    assert str(lab.clusters["c"].pod_cidr) not in kept


def test_no_two_namespaces_of_a_lab_share_a_name() -> None:
    names = [
        router_namespace("lab"),
        *(network_namespace("lab", name) for name in ("router", "a-node1", "node-a-node1")),
        *(node_namespace("lab", name) for name in ("router", "a-node1", "net-router")),
    ]
    assert len(set(names)) == len(names)


def test_a_worker_has_no_control_plane() -> None:
    b = addresses().clusters["b"]
    first, second = ([s.name for s in services_of(b, node, 60.0)] for node in b.nodes)
    assert {"etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler"} <= set(first)
    assert second == ["containerd", "kubelet", "kube-proxy"]


def test_a_node_registers_in_its_locality() -> None:
    b = addresses().clusters["b"]
    node = replace(b.nodes[1], locality="region1/zone2")
    kubelet = next(s for s in services_of(b, node, 60.0) if s.name == "kubelet")
    labels = "topology.kubernetes.io/region=region1,topology.kubernetes.io/zone=zone2"
    assert f"--node-labels={labels}" in kubelet.argv


def test_a_worker_waits_for_the_control_planes_api_server() -> None:
    b = addresses().clusters["b"]
    kubelet = next(s for s in services_of(b, b.nodes[1], 60.0) if s.name == "kubelet")
    assert kubelet.wants[0] == f"https://{b.nodes[0].address}:6443/readyz"


def test_api_server_of_a_slow_machine_works_longer_on_a_request() -> None:
    a = addresses().clusters["a"]
    (server,) = (s for s in services_of(a, a.nodes[0], 900.0) if s.name == "kube-apiserver")
    assert "--request-timeout=900s" in server.argv


def test_nodes_of_one_cluster_hand_out_different_pod_addresses() -> None:
    first, second = (json.loads(cni_configuration(n)) for n in addresses().clusters["b"].nodes)
    subnets = [c["plugins"][0]["ipam"]["ranges"][0][0]["subnet"] for c in (first, second)]
    assert len(set(subnets)) == 2


def test_kubelet_uses_its_own_control_group_and_the_clusters_dns() -> None:
    b = addresses().clusters["b"]
    configuration = yaml.safe_load(kubelet_configuration(b, "/mesh-conformance/lab/b"))
    assert configuration["cgroupRoot"] == "/mesh-conformance/lab/b"
    assert configuration["clusterDNS"] == [str(b.service_cidr[10])]
    assert configuration["clusterDomain"] == "cluster.local"


def test_node_description_loads_the_rules_before_any_service() -> None:
    spec = NodeSpec("node", "/root", ("/lower",), (), "/usr/bin", {}, "/rules.nft", (), 60, 5)
    assert json.loads(spec.as_json())["setup"] == [{"argv": ["nft", "-f", "/rules.nft"]}]


def test_dns_has_no_upstream() -> None:
    manifests = dns_manifests("coredns", [IPv4Address("10.0.0.10")], "corp.test")
    corefile = next(m for m in manifests if m["kind"] == "ConfigMap")["data"]["Corefile"]
    assert "forward" not in corefile
    assert "kubernetes corp.test in-addr.arpa" in corefile


def test_leaves_chain_to_their_authority() -> None:
    authority = ClusterAuthority("a")
    leaf = authority.issue("user", organizations=["group"]).certificate
    leaf.verify_directly_issued_by(authority.credential.certificate)
    usage = leaf.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert list(usage) == [ExtendedKeyUsageOID.CLIENT_AUTH]


def test_servers_carry_their_addresses() -> None:
    server = ClusterAuthority("a").issue(
        "api", addresses=[IPv4Address("10.0.0.1")], names=["localhost"]
    )
    leaf = server.certificate
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.IPAddress) == [IPv4Address("10.0.0.1")]
    assert names.get_values_for_type(x509.DNSName) == ["localhost"]


def test_a_cluster_accepts_no_certificate_of_another() -> None:
    one, other = ClusterKeys.make("a"), ClusterKeys.make("a")
    own, others = one.administrator.certificate, other.administrator.certificate
    own.verify_directly_issued_by(one.authority.credential.certificate)
    with pytest.raises(InvalidSignature):
        others.verify_directly_issued_by(one.authority.credential.certificate)


def test_merged_kubeconfig_has_a_context_for_each_cluster() -> None:
    authority = ClusterAuthority("a")
    client = authority.issue("admin")
    parts = [
        kubeconfig(
            name, f"https://127.0.0.1:{port}", b"root", client.certificate_pem, client.key_pem
        )
        for name, port in (("cluster1", 1), ("cluster2", 2))
    ]
    merged = yaml.safe_load(merge_kubeconfigs(parts))
    assert [c["name"] for c in merged["contexts"]] == ["cluster1", "cluster2"]
    assert merged["current-context"] == "cluster1"


@pytest.mark.parametrize(
    "controller",
    [
        "certificatesigningrequest-signing-controller",
        "persistentvolume-protection-controller",
        "persistentvolumeclaim-protection-controller",
        "volumeattributesclass-protection-controller",
    ],
)
def test_what_the_api_server_leaves_to_a_controller_has_it(controller: str) -> None:
    cluster = addresses().clusters["a"]
    services = services_of(cluster, cluster.control_plane, 60.0)
    (manager,) = [each for each in services if each.name == "kube-controller-manager"]
    options = dict(option.partition("=")[::2] for option in manager.argv)
    assert f"-{controller}" not in options["--controllers"].split(",")
    assert options["--cluster-signing-key-file"].startswith("/etc/kubernetes/pki/")


def test_nodes_are_applied_whoever_made_them_first(tmp_path: Path) -> None:
    program, seen = tmp_path / "kubectl", tmp_path / "seen"
    program.write_text(f'#!/bin/sh\necho "$@" >{shlex.quote(str(seen))}\n')
    program.chmod(0o755)
    kubectl = Kubectl(program, tmp_path / "kubeconfig", "a", {}, threading.Event())
    kubectl.apply([{"kind": "Node", "metadata": {"name": "a-node1"}}])
    assert {"apply", "--server-side", "--force-conflicts"} <= set(seen.read_text().split())


def test_kubeconfig_inside_the_lab_has_the_servers_own_addresses() -> None:
    authority = ClusterAuthority("a-ca")
    user = authority.issue("somebody")
    pem = (authority.credential.certificate_pem, user.certificate_pem, user.key_pem)
    contents = [kubeconfig(name, "https://127.0.0.1:1", *pem) for name in "ab"]
    servers = {"a": "https://10.0.0.2:6443", "b": "https://10.0.1.2:6443"}
    before = yaml.safe_load(merge_kubeconfigs(contents))
    after = yaml.safe_load(with_servers(merge_kubeconfigs(contents), servers))
    assert {each["name"]: each["cluster"]["server"] for each in after["clusters"]} == servers
    assert {**after, "clusters": before["clusters"]} == before
