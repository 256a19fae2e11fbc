"""A mesh that somebody else installed: what is said of it, and that nothing changes but a namespace
of the run's own, which goes away, or what is in one that is provided.

The tests share one mesh and go from clusters without one to a broken one: their order matters.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mesh_fixtures import providers
from mesh_fixtures.errors import MachineError
from mesh_fixtures.lab.kubeconfig.namespace import CLAIM, PROVIDED_LABEL
from mesh_fixtures.options import Choice
from mesh_fixtures.progress import Progress
from mesh_fixtures.scenario import load_scenario
from tests.foreign.by_hand import Administrator, Visitor, ended, follow_runbook
from tests.opened_lab import opened

SCENARIO = load_scenario(Path(__file__).parents[2] / "scenarios/primary-remote-multi-network.yaml")
PATIENCE = 90.0


@pytest.fixture(scope="module")
def administrator() -> Iterator[Administrator]:
    """Bare clusters."""
    provider = providers.make(Choice("netns"))
    try:
        providers.check_machine(provider)
    except MachineError as error:
        pytest.skip(str(error))
    with opened(provider, SCENARIO, Progress(SCENARIO.id)) as lab:
        yield Administrator(lab)


@pytest.fixture(scope="module")
def mesh(administrator: Administrator, tmp_path_factory: pytest.TempPathFactory) -> Administrator:
    """The mesh, installed by the runbook."""
    follow_runbook(administrator.lab, tmp_path_factory.mktemp("runbook"))
    return administrator


@pytest.fixture(scope="module")
def visitor(mesh: Administrator, tmp_path_factory: pytest.TempPathFactory) -> Visitor:
    """With the permissions of the printed roles, and no other."""
    folder = tmp_path_factory.mktemp("visitor")
    printed = mesh.as_visitor(folder).command("rbac", "--service-account", "default/visitor")
    return mesh.visitor("visitor", folder, printed.stdout)


PROVIDED = "verification"
IN_IT = ("--mesh-namespace", PROVIDED)


@pytest.fixture(scope="module")
def tenant(mesh: Administrator, tmp_path_factory: pytest.TempPathFactory) -> Visitor:
    """Who may make no namespaces, and has one provided in each cluster, with the permissions of the
    roles that are printed for it; which take the place of the visitor's.
    """
    folder = tmp_path_factory.mktemp("tenant")
    for cluster in mesh.lab.clusters:
        mesh.kubectl(cluster, "create", "namespace", PROVIDED)
        labels = (PROVIDED_LABEL, "istio-injection=enabled")
        mesh.kubectl(cluster, "label", "namespace", PROVIDED, *labels)
    wanted = ("--namespace", PROVIDED, "--service-account", "default/tenant")
    printed = mesh.as_visitor(folder).command("rbac", *wanted)
    return mesh.visitor("tenant", folder, printed.stdout)


def is_claimed(mesh: Administrator) -> bool:
    """Whether a run has the provided namespace of each cluster."""
    found = ("-n", PROVIDED, "get", "configmaps", "-o", "name")
    return all(f"configmap/{CLAIM}" in mesh.kubectl(each, *found) for each in mesh.lab.clusters)


def test_clusters_without_a_mesh_are_said_to_have_none(
    administrator: Administrator, tmp_path: Path
) -> None:
    visitor, before = administrator.as_visitor(tmp_path), administrator.snapshot()
    found = visitor.command("discover")
    assert found.returncode == 1
    assert "cluster1, cluster2: wanted Istio to be installed" in found.stderr
    for topology in ((), ("--mesh-topology", SCENARIO.id)):
        status, output = visitor.verify(*topology, "-k", "CONTROL-1")
        assert status != pytest.ExitCode.OK
        assert "Istio to be installed" in output
        assert counted(output).keys() <= {"error", "deselected"}
    assert administrator.snapshot() == before


def test_what_is_found_is_what_was_installed(
    mesh: Administrator, visitor: Visitor, tmp_path: Path
) -> None:
    found = visitor.command("discover")
    of_the_mesh = [line for line in found.stderr.splitlines() if not line.startswith("patience: ")]
    assert of_the_mesh == []
    file = tmp_path / f"{SCENARIO.id}.yaml"
    file.write_text(found.stdout)
    discovered = load_scenario(file)
    # those that nodes of a lab have where its scenario says nothing
    regions = {each.name: each.network for each in SCENARIO.clusters}
    assert {each.name: each.locality for each in discovered.clusters} == regions
    placed = [each.model_copy(update={"locality": None}) for each in discovered.clusters]
    assert placed == list(SCENARIO.clusters)
    assert discovered.networks == SCENARIO.networks
    assert discovered.mesh_id == SCENARIO.mesh_id


def test_a_mesh_is_verified_by_the_printed_roles_and_left_as_it_was(
    mesh: Administrator, visitor: Visitor
) -> None:
    assert visitor.command("doctor").returncode == 0
    before = mesh.snapshot()
    status, output = visitor.verify("--mesh-install", "skip")
    assert status == pytest.ExitCode.OK, output
    assert f"[{SCENARIO.id} +" in output
    assert counted(output).keys() <= {"passed", "skipped"}
    assert counted(output)["passed"] >= 9
    assert mesh.snapshot() == before
    assert mesh.own_namespaces() == []


def test_without_permission_nothing_is_begun(mesh: Administrator, tmp_path: Path) -> None:
    stranger = mesh.visitor("stranger", tmp_path)
    before = mesh.snapshot()
    status, output = stranger.verify()
    assert status == pytest.ExitCode.USAGE_ERROR
    assert "permission in cluster1 to create namespaces" in output
    assert "mesh-conformance rbac" in output
    asked = stranger.command("doctor")
    assert asked.returncode == 1
    assert "secrets cacerts, istio-ca-secret in istio-system" in asked.stdout
    assert "TRUST-2) cannot be verified" in asked.stdout
    assert mesh.snapshot() == before


def test_an_interrupted_run_removes_its_namespace(mesh: Administrator, visitor: Visitor) -> None:
    before = mesh.snapshot()
    with visitor.start() as running:
        until(lambda: len(mesh.own_namespaces()) == len(SCENARIO.clusters), running)
        running.send_signal(signal.SIGINT)
        output = ended(running)
    assert running.returncode == pytest.ExitCode.INTERRUPTED, output
    assert mesh.snapshot() == before


def test_what_a_killed_run_leaves_is_removed_by_clean(
    mesh: Administrator, visitor: Visitor
) -> None:
    before = mesh.snapshot()
    with visitor.start() as running:
        until(lambda: len(mesh.own_namespaces()) == len(SCENARIO.clusters), running)
        os.kill(running.pid, signal.SIGKILL)
    assert mesh.own_namespaces() != []
    cleaned = visitor.command("clean")
    assert cleaned.returncode == 0, cleaned.stderr
    assert mesh.own_namespaces() == []
    assert mesh.snapshot() == before


def test_a_mesh_is_verified_in_a_provided_namespace_which_is_left_as_it_was(
    mesh: Administrator, tenant: Visitor
) -> None:
    before = mesh.snapshot()
    status, output = tenant.verify("--mesh-install", "skip")
    assert status == pytest.ExitCode.USAGE_ERROR
    assert "permission in cluster1 to create namespaces" in output
    assert tenant.command("doctor", "--namespace", PROVIDED).returncode == 0
    status, output = tenant.verify("--mesh-install", "skip", *IN_IT)
    assert status == pytest.ExitCode.OK, output
    assert counted(output).keys() <= {"passed", "skipped"}
    assert counted(output)["passed"] >= 9
    assert mesh.snapshot() == before


def test_an_interrupted_run_leaves_nothing_in_a_provided_namespace(
    mesh: Administrator, tenant: Visitor
) -> None:
    before = mesh.snapshot()
    with tenant.start(*IN_IT) as running:
        until(lambda: is_claimed(mesh), running)
        running.send_signal(signal.SIGINT)
        output = ended(running)
    assert running.returncode == pytest.ExitCode.INTERRUPTED, output
    assert mesh.snapshot() == before


def test_the_next_run_removes_what_a_killed_one_left_in_a_provided_namespace(
    mesh: Administrator, tenant: Visitor
) -> None:
    before = mesh.snapshot()
    with tenant.start(*IN_IT) as running:
        until(lambda: is_claimed(mesh), running)
        os.kill(running.pid, signal.SIGKILL)
    assert is_claimed(mesh)
    status, output = tenant.verify("-k", "CONTROL-1 or WORKLOAD-1", *IN_IT)
    assert status == pytest.ExitCode.OK, output
    assert mesh.snapshot() == before


def test_a_broken_mesh_fails_its_requirements(mesh: Administrator, tmp_path: Path) -> None:
    visitor = mesh.as_visitor(tmp_path)
    primary = SCENARIO.primaries[0].name
    mesh.kubectl(primary, "-n", "istio-system", "scale", "deployment/istiod", "--replicas=0")
    gone = ("wait", "--for=delete", "pod", "-l", "app=istiod", "--timeout=60s")
    mesh.kubectl(primary, "-n", "istio-system", *gone)
    status, output = visitor.verify("--mesh-topology", SCENARIO.id, "-k", "CONTROL-1 or WORKLOAD-1")
    assert status == pytest.ExitCode.TESTS_FAILED
    assert counted(output)["failed"] == 2, output
    assert "error" not in counted(output)
    assert "expected an istiod with a ready pod" in output
    assert "expected pods of helloworld v1, sleep only, but saw none" in output
    assert mesh.own_namespaces() == []


def counted(output: str) -> dict[str, int]:
    """Tests of a run by what became of them; empty where none was begun."""
    last = output.strip().splitlines()[-1]
    return {word: int(count) for count, word in re.findall(r"(\d+) ([a-z]+)[, ]", last)}


def until(condition: Callable[[], bool], running: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert running.poll() is None, running.stdout and running.stdout.read()
        assert time.monotonic() < deadline, "took too long"
        time.sleep(0.2)
