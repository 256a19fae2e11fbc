"""Handshakes with gateways: where they are tried, and what is kept of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, cast

import pytest
from cryptography import x509
from diagnosis_recordings import recorded
from fake_kube import FakeKube, result

from mesh_fixtures.diagnosis import facts
from mesh_fixtures.diagnosis.facts import GATEWAY, GATEWAY_POD, NetworkGateway
from mesh_fixtures.diagnosis.gather import handshakes
from mesh_fixtures.errors import ProbeError
from mesh_fixtures.probe.tls import Hello, TlsAttempt
from mesh_fixtures.probe.untrusted import untrusted_client
from mesh_fixtures.workloads import PLAIN_CLIENT

MULTI = "healthy-multi-primary-multi-network"
HELLOWORLD = "spiffe://cluster.local/ns/sample/sa/helloworld"
WORKLOAD = x509.load_pem_x509_certificate(untrusted_client(HELLOWORLD).chain)
NOBODY = x509.load_pem_x509_certificate(untrusted_client("https://gateway.example").chain)
PLAIN = facts.Pod("sample", "plain-1", {"app": PLAIN_CLIENT}, "10.1.0.7", "1/1 Running", True)
ADDRESSES = {"cluster1": "10.64.24.1", "cluster2": "10.64.40.0"}
PODS = {"cluster1": "10.68.0.6", "cluster2": "10.68.32.10"}


@dataclass
class Gateways:
    """What is at addresses; nothing accepts connections at others."""

    certificates: Mapping[str, x509.Certificate | None]
    asked: list[tuple[str, str, int, str]] = field(default_factory=list)

    def attempt(
        self, kube: Any, pod: Any, address: str, port: int, request: bytes, hello: Hello, _: float
    ) -> TlsAttempt:
        self.asked.append((kube.name, address, port, hello.server_name))
        if address not in self.certificates:
            raise ProbeError(wanted="a connection", seen="none", where=address)
        return TlsAttempt(result().source, None, "alert", "", self.certificates[address])


@dataclass
class View:
    """As much of a view as queries need."""

    scenario: Any
    kube: dict[str, Any]


def tried(
    monkeypatch: pytest.MonkeyPatch, gateways: Gateways, client: facts.Pod = PLAIN
) -> tuple[facts.Handshake, ...]:
    """What is kept where every cluster has a client."""
    monkeypatch.setattr(handshakes, "attempt", gateways.attempt)
    recording = recorded(MULTI)
    known = {name: _with(each, client) for name, each in recording.facts.clusters.items()}
    kube = {name: FakeKube(lambda argv: "", name=name) for name in known}
    advertised = [
        NetworkGateway("network1", "cluster1", ADDRESSES["cluster1"], 15443),
        NetworkGateway("network2", "cluster2", ADDRESSES["cluster2"], 15443),
    ]
    view = cast("Any", View(recording.scenario, kube))
    asked = handshakes.queries(view, known, advertised)
    return handshakes.handshakes_in({key: query.ask() for key, query in asked.items()})


def _with(cluster: facts.ClusterFacts, client: facts.Pod) -> facts.ClusterFacts:
    others = [each for each in cluster.pods or () if each.labels.get("app") != PLAIN_CLIENT]
    return replace(cluster, pods=(*others, client))


def test_addresses_are_tried_from_other_networks_and_pods_from_their_own_cluster(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    gateways = Gateways(dict.fromkeys((*ADDRESSES.values(), *PODS.values())))
    seen = tried(monkeypatch, gateways)
    assert {(each.client, each.server, each.kind, each.target) for each in seen} == {
        ("cluster1", "cluster2", GATEWAY, "10.64.40.0:15443"),
        ("cluster2", "cluster1", GATEWAY, "10.64.24.1:15443"),
        ("cluster1", "cluster1", GATEWAY_POD, "10.68.0.6:15443"),
        ("cluster2", "cluster2", GATEWAY_POD, "10.68.32.10:15443"),
    }
    assert not any(each.presented for each in seen)
    names = {name for *_, name in gateways.asked}
    assert names == {"outbound_.5000_._.helloworld.sample.svc.cluster.local"}


def test_workloads_are_told_from_others_by_their_certificates(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    shown = {ADDRESSES["cluster1"]: WORKLOAD, ADDRESSES["cluster2"]: NOBODY}
    of_first, of_last = sorted(tried(monkeypatch, Gateways(shown)), key=lambda each: each.server)
    assert (of_first.workloads, of_first.is_by_no_workload) == ((HELLOWORLD,), False)
    assert (of_last.workloads, of_last.is_by_no_workload) == ((), True)
    assert str(of_last) == "10.64.40.0:15443 shows a certificate of nobody by CN=Foreign Root CA"


def test_only_the_plain_client_tries(monkeypatch: pytest.MonkeyPatch) -> None:
    proxied = replace(PLAIN, labels={"app": "sleep"}, proxy={"cluster": "cluster1"})
    assert tried(monkeypatch, Gateways({}), proxied) == ()
