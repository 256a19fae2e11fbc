"""What clients must know is looked at while it is waited for: pods come and go meanwhile."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import count
from types import SimpleNamespace
from typing import Any, cast

import pytest
from fake_kube import pod
from mesh_examples import SCENARIOS
from verdicts import SOURCE, FakeView, checked, gateway, mesh

from mesh_fixtures.kube import Meta, ServicePort
from mesh_fixtures.probe.envoy import PLAIN, Balancing, Endpoint, Endpoints
from mesh_fixtures.probe.view import MeshView
from mesh_fixtures.requirements import discovery_2
from mesh_fixtures.verdict import client_endpoints as module
from mesh_fixtures.verdict.client_endpoints import ClientEndpoints, client_endpoints

ONE_NETWORK = SCENARIOS["multi-primary"]
ADDRESSES = {"cluster1": "10.101.0.5", "cluster2": "10.102.0.5"}
VERSIONS = {each.name: each.helloworld for each in ONE_NETWORK.clusters}

Serves = Callable[[str, int], bool]
"""Whether a cluster's HelloWorld is ready when its pods are looked at for the n-th time."""


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> Callable[[Serves], dict[str, ClientEndpoints]]:
    """What is said of clients that know both pods all the time."""
    looks = {name: count() for name in ADDRESSES}

    def known(kube: Any, sleep: Any, cluster: str) -> Endpoints:
        return Endpoints(
            SOURCE, True, tuple(Endpoint(ip, 5000, 1, True, "", "", 0) for ip in ADDRESSES.values())
        )

    def look(serves: Serves) -> dict[str, ClientEndpoints]:
        def workloads(kube: Any) -> tuple[Any, ...]:
            ready = serves(kube.name, next(looks[kube.name]))
            found = SimpleNamespace(
                name=pod(f"v-{kube.name}").name, ip=ADDRESSES[kube.name], serving=ready
            )
            return (
                SimpleNamespace(cluster=kube.name, version=VERSIONS[kube.name], pod=found),
                SimpleNamespace(cluster=kube.name, version="", pod=found),
            )

        monkeypatch.setattr(module, "workloads", workloads)
        return client_endpoints(cast("MeshView", FakeView(ONE_NETWORK)), 0.2)

    monkeypatch.setattr(module, "endpoints", known)
    monkeypatch.setattr(module, "balancing", lambda kube, sleep, cluster: PLAIN)
    monkeypatch.setattr(module, "REFRESH_SECONDS", 0.0)
    monkeypatch.setattr(module, "INTERVAL_SECONDS", 0.001)
    return look


def test_a_pod_that_is_ready_again_is_no_false_failure(
    seen: Callable[[Serves], dict[str, ClientEndpoints]],
) -> None:
    found = seen(lambda cluster, look: cluster == "cluster1" or look > 2)
    assert all(each.verdict.complete for each in found.values())
    assert all(len(each.wanted) == 2 for each in found.values())


def test_what_weights_of_localities_leave_out_is_not_waited_for(
    seen: Callable[[Serves], dict[str, ClientEndpoints]], monkeypatch: pytest.MonkeyPatch
) -> None:
    own = Endpoints(SOURCE, True, (Endpoint(ADDRESSES["cluster1"], 5000, 1, True, "", "", 0),))
    monkeypatch.setattr(module, "endpoints", lambda kube, sleep, cluster: own)
    weighted = Balancing(by_locality=True)
    monkeypatch.setattr(module, "balancing", lambda kube, sleep, cluster: weighted)
    found = seen(lambda cluster, look: True)
    assert all(each.leaves_out and each.prefers for each in found.values())
    assert all(each.seconds < 0.2 for each in found.values())


def test_a_pod_that_has_gone_is_not_wanted_any_more(
    seen: Callable[[Serves], dict[str, ClientEndpoints]],
) -> None:
    found = seen(lambda cluster, look: cluster == "cluster1" or look < 1)
    gone = found["cluster2"]
    assert [each.name for each in gone.wanted] == ["v1"]
    assert str(gone.verdict) == "unexpected 10.102.0.5:5000"


def test_gateways_are_asked_that_pass_services_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not those of a Service that has the label of a network alone, nor pods without a proxy."""
    asked: set[str] = set()
    east = gateway("cluster1", "192.0.2.1")
    users = replace(
        east,
        service=replace(east.service, ports=(ServicePort(443, "https", ""),)),
        pods=(replace(east.pods[0], meta=Meta("users-1", "edge")),),
    )
    front = replace(east, pods=(pod("front-1"),))

    def known(kube: Any, proxy: Any, cluster: str) -> Endpoints:
        asked.add(proxy.name)
        return Endpoints(SOURCE, True, ())

    monkeypatch.setattr(module, "workloads", lambda kube: ())
    monkeypatch.setattr(module, "advertised", lambda kube: ())
    monkeypatch.setattr(module, "gateways", lambda kube: (east, users, front))
    monkeypatch.setattr(module, "endpoints", known)
    monkeypatch.setattr(module, "balancing", lambda kube, sleep, cluster: PLAIN)
    client_endpoints(cast("MeshView", FakeView(SCENARIOS["multi-primary-multi-network"])), 0.2)
    assert asked == {"sleep-cluster1", "sleep-cluster2", "gw-1"}


def test_that_no_pod_is_ready_is_what_is_said(
    seen: Callable[[Serves], dict[str, ClientEndpoints]],
) -> None:
    found = seen(lambda cluster, look: False)
    outcome = checked(discovery_2, mesh(FakeView(ONE_NETWORK), found))
    texts = [str(each) for each in outcome.findings]
    assert any("a ready pod of HelloWorld v1 as an endpoint, but saw none" in one for one in texts)
    assert not any("exactly the healthy endpoints  in" in one for one in texts)
