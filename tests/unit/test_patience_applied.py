"""On a slow machine, what is run, asked and judged gets more time, and messages say how much."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pyroute2
import pytest
from fake_api_server import FakeApiServer
from fake_kube import FakeKube, pod
from filelock import FileLock
from kube_client import client_of
from mesh_examples import SCENARIOS
from plugin_stub import Behaviour, StubLab
from test_verdicts_resilience import (
    BOTH,
    COMES_BACK,
    EVERY_OTHER_FAILS,
    ONE,
    absence,
    judged,
    restart,
)
from verdicts import SOURCE, FakeView, checked, mesh

from mesh_fixtures import patience, records
from mesh_fixtures.contract import Tools
from mesh_fixtures.errors import LabError, ProbeError, StepFailed
from mesh_fixtures.install import executor
from mesh_fixtures.install.step import Command, Plan, Step
from mesh_fixtures.kube import KubeClient, Pod, client
from mesh_fixtures.lab.addressing import assign_addresses
from mesh_fixtures.lab.booted import Kubectl
from mesh_fixtures.lab.netns import network
from mesh_fixtures.lab.netns.node_files import write_router
from mesh_fixtures.patience import Patience
from mesh_fixtures.probe.network import Connection, Reach, connections
from mesh_fixtures.probe.traffic import requests
from mesh_fixtures.progress import Progress
from mesh_fixtures.requirements import network_1

STDOUT = 1


def slow(factor: float) -> None:
    patience.use(Patience(factor, "given"))


def program(folder: Path, script: str) -> Path:
    file = folder / "program"
    file.write_text(f"#!/bin/sh\n{script}\n")
    file.chmod(0o755)
    return file


def kubectl(folder: Path, script: str) -> Kubectl:
    stopping = threading.Event()
    return Kubectl(program(folder, script), folder / "kubeconfig", "cluster1", {}, stopping)


@pytest.mark.parametrize(("factor", "flag"), [(1, "--timeout=90s"), (2.5, "--timeout=225s")])
def test_kubectl_waits_for_longer(tmp_path: Path, factor: float, flag: str) -> None:
    slow(factor)
    at = tmp_path / "asked"
    kubectl(tmp_path, f'echo "$@" > {at}').await_rollout("kube-system", "deployment", "coredns")
    assert flag in at.read_text().split()


def test_an_error_says_how_long_kubectl_has_waited(tmp_path: Path) -> None:
    slow(2.5)
    with pytest.raises(LabError, match="deployment coredns to be ready within 225 s"):
        kubectl(tmp_path, "exit 1").await_rollout("kube-system", "deployment", "coredns")


def test_a_lock_is_waited_for_longer(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    monkeypatch.setattr(records, "_LOCK_DEADLINE", 0.05)
    slow(3)
    records.labs_folder().mkdir(parents=True)
    with (
        FileLock(records.labs_folder() / ".lock"),
        pytest.raises(LabError, match=r"within 0\.15 s"),
        records.exclusive(),
    ):
        pytest.fail("the lock was given away twice")


class _Entered(Exception):
    """A namespace would be entered now."""


@pytest.mark.parametrize("enter", [network.inside, partial(network._create, record=lambda _: None)])
def test_namespaces_may_be_entered_later(
    monkeypatch: pytest.MonkeyPatch, enter: Callable[[str], object]
) -> None:
    def entered(*_: object, **__: object) -> None:
        raise _Entered

    monkeypatch.setattr("mesh_fixtures.lab.netns.network.IPRoute", entered)
    monkeypatch.setattr("pyroute2.netns.create", entered)
    monkeypatch.setattr(pyroute2.config, "default_communicate_timeout", 2)
    slow(3)
    with pytest.raises(_Entered):
        enter("lab-router")
    assert pyroute2.config.default_communicate_timeout == 90


def test_nodes_wait_longer_for_their_services(tmp_path: Path) -> None:
    slow(2.5)
    addresses = assign_addresses(SCENARIOS["multi-primary"], slot=0)
    artifacts = cast("Any", SimpleNamespace(root_lowers=()))
    spec = json.loads(write_router(tmp_path / "router", "lab", addresses, artifacts).read_text())
    assert (spec["await_seconds"], spec["answer_seconds"]) == (150, 12.5)


def test_a_command_in_a_pod_may_take_longer(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(client, "EXEC_SECONDS", 0.1)
    slow(3)
    server = FakeApiServer(frames=[(STDOUT, b"half")], hangs=threading.Event())
    with (
        client_of(server, tmp_path) as kube,
        pytest.raises(ProbeError, match=r"still running after 0\.3 s"),
    ):
        kube.exec("sample", "sleep-1", "sleep", ["sh"])


def test_steps_of_an_installation_have_longer(tmp_path: Path) -> None:
    asked = tmp_path / "asked"
    tool = program(tmp_path, f'echo "$@" > {asked}; exit 1')
    plan = Plan(
        "one",
        (
            Step(
                "a", "cluster1", "section", "title", (),
                (Command(("kubectl", "wait", "--timeout=60s")),), 75,
            ),
        ),
        (),
    )  # fmt: skip

    class Lab(StubLab):
        @property
        def tools(self) -> Tools:
            return Tools(tool, tool)

    lab = Lab(SCENARIOS["multi-primary"], tmp_path / "log", Behaviour())
    slow(2)
    with pytest.raises(StepFailed, match="kubectl wait --timeout=120s"):
        executor.run_in_lab(plan, lab, Progress("one"))
    assert asked.read_text() == "wait --timeout=120s\n"


def test_requests_may_take_longer() -> None:
    kube = FakeKube(lambda argv: "", [pod("sleep-1")])
    slow(3)
    with pytest.raises(ProbeError):
        requests(kube.as_client(), 200)
    budget, request, *_ = kube.asked[0][5:]
    assert (budget, request) == ("180", "15")


@pytest.mark.parametrize(
    ("topology", "expected"),
    [("multi-primary", {15.0}), ("multi-primary-multi-network", {15.0, 7.5})],
)
def test_connections_may_take_longer(topology: str, expected: set[float]) -> None:
    seen: set[float] = set()

    def connection(
        kube: KubeClient, client: Pod, address: str, port: int, *, seconds: float
    ) -> Connection:
        seen.add(seconds)
        return Connection(SOURCE, address, port, Reach.OPEN, 0, 0, "")

    slow(3)
    view = FakeView(SCENARIOS[topology])
    checked(network_1, mesh(view), network_1.Probes(connection=connection))
    assert seen == expected


def test_a_connection_is_given_the_time_that_it_is_asked_with() -> None:
    kube = FakeKube(lambda argv: "")
    slow(3)
    with pytest.raises(ProbeError):
        connections(kube.as_client(), pod("sleep-1"), [("10.0.0.1", 80)], seconds=7.5)
    asked = kube.asked[0]
    assert asked[asked.index("--max-time") + 1] == "7.5"


def test_a_mesh_may_converge_later() -> None:
    late = absence((22, BOTH), (30, ONE), COMES_BACK)
    assert "15 s after HelloWorld v2 of cluster2 went away" in judged(late)[0]
    slow(2)
    assert not judged(late)[0]


def test_a_gateway_may_restart_later() -> None:
    late = restart((38, EVERY_OTHER_FAILS), (70, BOTH), seconds=34)
    assert "no error later than 30 s after" in judged(late)[0]
    slow(2)
    assert not judged(late)[0]
