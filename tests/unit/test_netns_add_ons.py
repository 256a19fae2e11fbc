from __future__ import annotations

import base64
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any, cast

import pytest
import yaml
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from mesh_fixtures.artifacts.build import Artifacts
from mesh_fixtures.contract import AddressPool
from mesh_fixtures.lab import load_balancer
from mesh_fixtures.lab.addressing import ClusterAddresses, assign_addresses
from mesh_fixtures.lab.netns.add_ons import AddOns, add_ons
from mesh_fixtures.lab.netns.scrub import is_kept
from mesh_fixtures.scenario import Scenario


def named(kind: str, name: str, **more: Any) -> dict[str, Any]:
    return {"kind": kind, "metadata": {"name": name}, **more}


METALLB = [
    named("Namespace", "metallb-system"),
    named("CustomResourceDefinition", "ipaddresspools.metallb.io"),
    named("ServiceAccount", "speaker"),
    named("ClusterRole", "speaker"),
    named("DaemonSet", "speaker"),
    named("Secret", "metallb-webhook-cert"),
    named("ConfigMap", "metallb-excludel2"),
    named("Service", "metallb-webhook-service"),
    named("ValidatingWebhookConfiguration", "metallb-webhook-configuration"),
]


class StandIn:
    """The two things of `Artifacts` that add-ons are made of."""

    coredns_image = "localhost/coredns:1"

    def __init__(self, folder: Path) -> None:
        self.metallb_manifest = folder / "metallb.yaml"
        self.metallb_manifest.write_text(yaml.safe_dump_all(METALLB))


@pytest.fixture
def cluster() -> ClusterAddresses:
    scenario = Scenario.model_validate(
        {
            "id": "example",
            "title": "Example",
            "mesh": "mesh1",
            "networks": [{"name": "network1"}],
            "clusters": [
                {"name": "a", "network": "network1", "role": "primary", "helloworld": "v1"}
            ],
        }
    )
    return assign_addresses(scenario, slot=0).clusters["a"]


@pytest.fixture
def made(tmp_path: Path, cluster: ClusterAddresses) -> AddOns:
    return add_ons(cast("Artifacts", StandIn(tmp_path)), cluster)


def kinds(manifests: tuple[dict[str, Any], ...]) -> list[str]:
    return [manifest["kind"] for manifest in manifests]


def test_nothing_is_lost_or_made_twice(made: AddOns) -> None:
    everything = [*made.nodes, *made.definitions, *made.shared, *made.of_cluster]
    identities = [(m["kind"], m["metadata"]["name"]) for m in everything]
    assert len(set(identities)) == len(identities)
    assert {(m["kind"], m["metadata"]["name"]) for m in METALLB} <= set(identities)


def test_workloads_come_after_what_they_mount(made: AddOns) -> None:
    order = kinds(made.of_cluster)
    last_mounted = max(n for n, kind in enumerate(order) if kind in ("Secret", "ConfigMap"))
    assert last_mounted < order.index("DaemonSet")
    assert last_mounted < order.index("Deployment")


def test_the_pool_comes_before_the_webhook_that_would_check_it(made: AddOns) -> None:
    order = kinds(made.of_cluster)
    assert order.index("IPAddressPool") < order.index("ValidatingWebhookConfiguration")


def test_what_is_shared_has_no_address_and_no_key(made: AddOns) -> None:
    assert not {"Service", "Secret", "ConfigMap", "Namespace", "Node"} & set(kinds(made.shared))


def test_the_node_is_there_for_kube_proxy(made: AddOns, cluster: ClusterAddresses) -> None:
    (node,) = made.nodes
    assert node["spec"]["podCIDR"] == str(cluster.nodes[0].pod_cidr)
    assert node["status"]["addresses"][0]["address"] == str(cluster.nodes[0].address)


def test_the_webhook_certificate_is_one_that_metallb_accepts() -> None:
    manifest = load_balancer.with_webhook_certificate(named("Secret", "metallb-webhook-cert"))
    data = {name: base64.b64decode(value) for name, value in manifest["data"].items()}
    authority = x509.load_pem_x509_certificate(data["ca.crt"])
    server = x509.load_pem_x509_certificate(data["tls.crt"])
    server.verify_directly_issued_by(authority)
    key = serialization.load_pem_private_key(data["ca.key"], password=None)
    assert isinstance(key, rsa.RSAPrivateKey)
    for certificate, name in (
        (authority, "cert"),
        (server, "metallb-webhook-service.metallb-system.svc"),
    ):
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
        assert names.value.get_values_for_type(x509.DNSName) == [name]


def test_other_manifests_stay_as_they_are() -> None:
    manifest = named("Secret", "another")
    assert load_balancer.with_webhook_certificate(manifest) is manifest


@pytest.mark.parametrize(
    "key",
    [
        "/registry/namespaces/default",
        "/registry/services/specs/default/kubernetes",
        "/registry/servicecidrs/kubernetes",
        "/registry/ranges/serviceips",
        "/registry/ipaddresses/10.4.16.1",
        "/registry/configmaps/kube-system/extension-apiserver-authentication",
        "/registry/configmaps/default/kube-root-ca.crt",
        "/registry/secrets/metallb-system/metallb-webhook-cert",
        "/registry/leases/kube-system/apiserver",
        "/registry/masterleases/10.0.16.2",
        "/registry/events/default/x",
        "/registry/minions/node",
    ],
)
def test_what_belongs_to_one_cluster_is_scrubbed(key: str) -> None:
    assert not is_kept(key)


@pytest.mark.parametrize(
    "key",
    [
        "/registry/clusterroles/admin",
        "/registry/rolebindings/kube-system/system:controller:token-cleaner",
        "/registry/priorityclasses/system-node-critical",
        "/registry/apiextensions.k8s.io/customresourcedefinitions/ipaddresspools.metallb.io",
        "/registry/serviceaccounts/metallb-system/speaker",
    ],
)
def test_what_is_the_same_everywhere_is_kept(key: str) -> None:
    assert is_kept(key)


def test_a_pool_names_its_first_and_last_address() -> None:
    pool = AddressPool(IPv4Address("10.0.24.0"), IPv4Address("10.0.24.63"))
    first, advertisement = load_balancer.pool_manifests(pool)
    assert first["spec"]["addresses"] == ["10.0.24.0-10.0.24.63"]
    assert advertisement["spec"]["ipAddressPools"] == [first["metadata"]["name"]]
