"""What faults make of objects: pure functions."""

from __future__ import annotations

import base64
from typing import Any

import pytest
import yaml
from mesh_examples import BUILT, SCENARIOS

from mesh_fixtures.install import ids
from mesh_fixtures.install.exposure import istiod_manifest
from mesh_fixtures.install.plan import plan
from tests.faults.gateways import unassigned
from tests.faults.policies import weights
from tests.faults.remote_secrets import named_after, pointed_at, token_of
from tests.faults.target import applicable_again, only, reference, references
from tests.faults.trust import cacerts
from tests.faults.underlay import table

KUBECONFIG = {
    "clusters": [{"name": "cluster2", "cluster": {"server": "https://10.0.0.2:6443"}}],
    "users": [{"name": "cluster2", "user": {"token": "s3cret"}}],
}
SECRET = {
    "apiVersion": "v1",
    "kind": "Secret",
    "metadata": {
        "name": "istio-remote-secret-cluster2",
        "namespace": "istio-system",
        "labels": {"istio/multiCluster": "true"},
        "annotations": {"networking.istio.io/cluster": "cluster2"},
    },
    "data": {"cluster2": base64.b64encode(yaml.safe_dump(KUBECONFIG).encode()).decode()},
}


def kubeconfig(secret: Any, cluster: str) -> Any:
    return yaml.safe_load(base64.b64decode(secret["data"][cluster]))


def test_only_the_server_changes() -> None:
    changed = pointed_at(SECRET, "https://127.0.0.1:6443")
    assert kubeconfig(changed, "cluster2")["clusters"][0]["cluster"]["server"] == (
        "https://127.0.0.1:6443"
    )
    assert kubeconfig(changed, "cluster2")["users"] == KUBECONFIG["users"]
    assert changed["metadata"] == SECRET["metadata"]
    assert pointed_at(changed, "https://10.0.0.2:6443") == SECRET


def test_only_the_name_changes() -> None:
    changed = named_after(SECRET, "cluster1")
    assert changed["metadata"]["name"] == "istio-remote-secret-cluster1"
    assert changed["metadata"]["annotations"]["networking.istio.io/cluster"] == "cluster1"
    assert changed["metadata"]["labels"] == {"istio/multiCluster": "true"}
    assert kubeconfig(changed, "cluster1") == KUBECONFIG


def test_token_of_a_remote_secret() -> None:
    assert token_of(SECRET) == "s3cret"


def test_an_object_can_be_applied_again_without_what_the_server_wrote() -> None:
    last = "kubectl.kubernetes.io/last-applied-configuration"
    found = {
        "kind": "Thing",
        "metadata": {
            "name": "thing",
            "uid": "1",
            "resourceVersion": "7",
            "managedFields": [],
            "annotations": {last: "{}", "mine": "kept"},
        },
        "spec": {"size": 1},
        "status": {"ready": True},
    }
    assert applicable_again(found) == {
        "kind": "Thing",
        "metadata": {"name": "thing", "annotations": {"mine": "kept"}},
        "spec": {"size": 1},
    }


def test_a_service_without_what_it_was_assigned() -> None:
    service = {
        "metadata": {"name": "gateway"},
        "spec": {
            "type": "LoadBalancer",
            "clusterIP": "10.0.0.1",
            "clusterIPs": ["10.0.0.1"],
            "ports": [{"name": "tls", "port": 15443, "nodePort": 30001}],
        },
    }
    assert unassigned(service)["spec"] == {
        "type": "LoadBalancer",
        "ports": [{"name": "tls", "port": 15443}],
    }


def test_how_kubectl_names_objects() -> None:
    assert reference({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "a"}}) == (
        "Secret/a"
    )
    assert references(istiod_manifest()) == [
        "Gateway.networking.istio.io/istiod-gateway",
        "VirtualService.networking.istio.io/istiod-vs",
    ]


def test_cacerts_hold_the_files() -> None:
    secret = cacerts({"ca-cert.pem": b"certificate"})
    assert base64.b64decode(secret["data"]["ca-cert.pem"]) == b"certificate"


def test_some_steps_of_a_plan_follow_each_other() -> None:
    complete = plan(SCENARIOS["multi-primary-multi-network"], BUILT)
    some = only(complete, ids.gateway("cluster2"), ids.gateway_address("cluster2"))
    assert [step.id for step in some.ordered] == [
        ids.gateway("cluster2"),
        ids.gateway_address("cluster2"),
    ]
    with pytest.raises(KeyError):
        only(complete, "coffee/cluster2")


def test_some_steps_lack_a_variable_that_another_captures() -> None:
    complete = plan(SCENARIOS["primary-remote"], BUILT)
    with pytest.raises(ValueError, match="DISCOVERY_ADDRESS_CLUSTER1"):
        only(complete, ids.remote("cluster2"))


@pytest.mark.parametrize("scenario", SCENARIOS.values(), ids=SCENARIOS)
def test_weights_add_up(scenario: Any) -> None:
    rule, route = weights(scenario, 90, 10)
    routed = route["spec"]["http"][0]["route"]
    assert sum(each["weight"] for each in routed) == 100
    assert [each["destination"]["subset"] for each in routed] == [
        each["name"] for each in rule["spec"]["subsets"]
    ]


def test_a_table_of_nftables_has_each_statement_in_a_line() -> None:
    lines = table("numgen random mod 2 < 1 drop").splitlines()
    assert "numgen random mod 2 < 1 drop" in lines
    assert "\n".join(lines).count("{") == "\n".join(lines).count("}")
