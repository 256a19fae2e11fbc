"""What rules of a whole mesh say of TLS, which a rule for one service has to repeat."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from mesh_fixtures.kube import Configuration
from mesh_fixtures.probe.root_configuration import tls_in
from mesh_fixtures.workloads import fresh_connections_manifest

HOST = "helloworld.sample.svc.cluster.local"
MUTUAL = {"mode": "ISTIO_MUTUAL"}
PLAIN = {"mode": "DISABLE"}


def rule(host: str, tls: Any = None, **more: Any) -> Configuration:
    policy = {"trafficPolicy": {"tls": tls}} if tls else {}
    return Configuration("DestinationRule", "istio-system", host, {"host": host, **policy, **more})


@pytest.mark.parametrize(
    ("rules", "tls"),
    [
        ([], {}),
        ([rule("*.local")], {}),
        ([rule("*.local", MUTUAL)], MUTUAL),
        ([rule("*", PLAIN), rule("*.local", MUTUAL)], MUTUAL),
        ([rule("*.local", PLAIN), rule(HOST, MUTUAL)], MUTUAL),
        ([rule("*.local", MUTUAL), rule("*.sample.svc.cluster.local")], {}),
        ([rule("*.shop.svc.cluster.local", PLAIN)], {}),
        ([rule("*.local", MUTUAL, workloadSelector={"matchLabels": {"app": "shop"}})], {}),
    ],
)
def test_the_most_specific_rule_says_how_clients_ask(rules: list[Configuration], tls: Any) -> None:
    assert tls_in(rules, HOST) == tls


@pytest.mark.parametrize("tls", [{}, MUTUAL])
def test_a_rule_of_ones_own_repeats_it(tls: Any) -> None:
    (made,) = yaml.safe_load_all(fresh_connections_manifest("sample", tls=tls))
    policy = made["spec"]["trafficPolicy"]
    assert policy.get("tls", {}) == tls
    assert policy["connectionPool"]["http"]["maxRequestsPerConnection"] == 1
