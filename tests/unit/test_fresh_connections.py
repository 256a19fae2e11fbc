"""HelloWorld's second service: it is there while it is needed, and then it is not."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from fake_api_server import FakeApiServer
from kube_client import cluster
from mesh_examples import SCENARIOS

from mesh_fixtures.contract import GUIDE_NAMES
from mesh_fixtures.kube import Configuration
from mesh_fixtures.requirements.second_service import fresh_connections

SERVICES = "/api/v1/namespaces/ours/services"
RULES = "/apis/networking.istio.io/v1/namespaces/ours/destinationrules"


def of_run(*of_mesh: Configuration) -> SimpleNamespace:
    """A client of a run that finds rules of the mesh."""
    return SimpleNamespace(
        sample_namespace="ours", names=GUIDE_NAMES, list=lambda kind, namespace: of_mesh
    )


def made(
    server: FakeApiServer,
    folder: Path,
    *of_mesh: Configuration,
    name: str = "cluster1",
    foreign: bool = False,
) -> list[str]:
    """What is there while the block runs."""
    with server.running(folder) as kubeconfig:
        lab = SimpleNamespace(clusters={name: cluster(kubeconfig)}, external=foreign)
        kube = {name: of_run(*of_mesh)}
        scenario = SCENARIOS["primary-remote-multi-network"]
        view: Any = SimpleNamespace(lab=lab, kube=kube, data_planes=tuple(kube), scenario=scenario)
        with fresh_connections(view):
            return sorted(server.answers)


def test_a_primary_gets_a_service_and_its_rule(tmp_path: Path) -> None:
    server = FakeApiServer()
    there = made(server, tmp_path)
    assert there == [f"{SERVICES}/helloworld-fresh", f"{RULES}/helloworld-fresh"]
    assert server.answers == {}
    (_, _, rule), (_, _, service), *_ = server.changes
    assert service["spec"]["selector"] == {"app": "helloworld"}
    assert rule["spec"]["host"] == "helloworld-fresh.ours.svc.cluster.local"
    pool = rule["spec"]["trafficPolicy"]["connectionPool"]
    assert pool == {"http": {"maxRequestsPerConnection": 1}}


def test_the_rule_keeps_what_one_of_the_mesh_says_of_tls(tmp_path: Path) -> None:
    server, tls = FakeApiServer(), {"mode": "ISTIO_MUTUAL"}
    spec = {"host": "*.local", "trafficPolicy": {"tls": tls}}
    made(server, tmp_path, Configuration("DestinationRule", "istio-system", "mutual", spec))
    (_, _, rule), *_ = server.changes
    assert rule["spec"]["trafficPolicy"]["tls"] == tls


def test_a_remote_gets_the_service_alone(tmp_path: Path) -> None:
    assert made(FakeApiServer(), tmp_path, name="cluster2") == [f"{SERVICES}/helloworld-fresh"]


def test_what_an_earlier_run_left_is_used_and_removed(tmp_path: Path) -> None:
    left = {"metadata": {"uid": "older"}}
    server = FakeApiServer({f"{SERVICES}/helloworld-fresh": left})
    assert len(made(server, tmp_path)) == 2
    assert server.answers == {}


def test_in_a_mesh_of_others_it_goes_with_the_namespace(tmp_path: Path) -> None:
    server = FakeApiServer()
    made(server, tmp_path, foreign=True)
    assert len(server.answers) == 2
    assert {method for method, _, _ in server.changes} == {"POST"}


def test_it_is_removed_whatever_happens(tmp_path: Path) -> None:
    server = FakeApiServer()
    with server.running(tmp_path) as kubeconfig:
        lab = SimpleNamespace(clusters={"cluster1": cluster(kubeconfig)}, external=False)
        kube = {"cluster1": of_run()}
        view: Any = SimpleNamespace(
            lab=lab, kube=kube, data_planes=tuple(kube), scenario=SCENARIOS["multi-primary"]
        )
        with pytest.raises(KeyboardInterrupt), fresh_connections(view):
            raise KeyboardInterrupt
    assert server.answers == {}
