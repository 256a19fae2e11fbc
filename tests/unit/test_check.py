"""What `check` says of what it has seen, and how it ends."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from fake_api_server import FakeApiServer
from mesh_examples import SCENARIOS
from prometheus_client.parser import text_string_to_metric_families

from mesh_fixtures import cli
from mesh_fixtures.commands import check
from mesh_fixtures.commands.check import CheckedMesh, as_json, as_text
from mesh_fixtures.contract import Discovered, Lab
from mesh_fixtures.diagnosis.cause import (
    Cause,
    Diagnosis,
    Evidence,
    Kind,
    Layer,
    RootCause,
)
from mesh_fixtures.errors import ProbeError
from mesh_fixtures.kube import Source
from mesh_fixtures.lab.kubeconfig import discovery
from mesh_fixtures.requirements import REQUIREMENTS, Outcome
from mesh_fixtures.scenario import as_yaml
from mesh_fixtures.verdict.findings import Finding

SCENARIO = SCENARIOS["multi-primary"]
MET = Outcome.judged([])
UNMET = Outcome.judged(
    [Finding("cluster1", "an istiod", "none", Source("cluster1", "pods", "kubectl get pods"))]
)
UNSEEN = Outcome.inconclusive(ProbeError(wanted="an answer", seen="silence", where="cluster2"))
CAUSE = Cause(
    Kind("istiod-not-running", Layer.CONTROL_PLANE, ("CONTROL-1",)),
    ("cluster1",),
    "there is no istiod",
    (Evidence("no deployment", "kubectl get deployments"),),
    "install it",
)


def seen(**outcomes: Outcome) -> CheckedMesh:
    found: Mapping[str, Outcome] = {
        name.upper().replace("_", "-"): outcome for name, outcome in outcomes.items()
    }
    failed = tuple(name for name, outcome in found.items() if outcome.result == "unmet")
    return CheckedMesh(SCENARIO, found, Diagnosis((RootCause(CAUSE, failed),) if failed else ()))


@pytest.mark.parametrize(
    ("outcomes", "result"),
    [
        ({"trust_1": MET, "control_1": MET}, "met"),
        ({"trust_1": MET, "control_1": UNSEEN}, "inconclusive"),
        ({"trust_1": UNSEEN, "control_1": UNMET}, "unmet"),
    ],
)
def test_the_worst_result_counts(outcomes: dict[str, Outcome], result: str) -> None:
    assert seen(**outcomes).result == result


def test_for_people() -> None:
    lines = list(as_text(seen(trust_1=MET, control_1=UNMET, discovery_1=UNSEEN), 1.25))
    assert lines[0] == "TRUST-1 met"
    assert lines[1] == "CONTROL-1 unmet"
    assert "expected an istiod, but saw none" in lines[2]
    assert "DISCOVERY-1 inconclusive" in lines
    assert "istiod-not-running: there is no istiod" in lines
    assert lines[-1] == "multi-primary: unmet, 1.2 s"


def test_what_is_unusual_is_said() -> None:
    outcome = Outcome.judged([], notes=["no gateway"])
    assert list(as_text(seen(gateway_1=outcome), 1.0))[:2] == [
        "GATEWAY-1 met",
        "  note: no gateway",
    ]
    (said,) = as_json(seen(gateway_1=outcome), 1.0)["requirements"]
    assert said["notes"] == ["no gateway"]


def test_for_programs() -> None:
    said = json.loads(json.dumps(as_json(seen(trust_1=MET, control_1=UNMET), 1.23456)))
    assert (said["kind"], said["topology"], said["result"]) == (
        "MeshCheck",
        "multi-primary",
        "unmet",
    )
    assert said["clusters"] == ["cluster1", "cluster2"]
    assert said["seconds"] == 1.235
    first, second = said["requirements"]
    assert first == {"id": "TRUST-1", "result": "met", "findings": [], "trouble": "", "notes": []}
    assert second["findings"] == [
        {
            "cluster": "cluster1",
            "expected": "an istiod",
            "seen": "none",
            "asked": "kubectl get pods",
        }
    ]
    (cause,) = said["causes"]
    assert cause["id"] == "istiod-not-running"
    assert cause["certainty"] == "certain"
    assert cause["consequences"] == ["CONTROL-1"]
    assert cause["evidence"] == [{"seen": "no deployment", "asked": "kubectl get deployments"}]


@pytest.fixture
def kubeconfigs(tmp_path: Path) -> Iterator[list[str]]:
    """Options that name two clusters, which answer nothing."""
    with FakeApiServer().running(tmp_path) as kubeconfig:
        yield [f"--kubeconfig={each.name}={kubeconfig}@cluster1" for each in SCENARIO.clusters]


def looking(monkeypatch: pytest.MonkeyPatch, outcome: Outcome) -> list[Lab]:
    """Have every look end like that; what was looked at, later."""
    labs: list[Lab] = []

    def look(lab: Lab) -> CheckedMesh:
        labs.append(lab)
        assert all(each.kubeconfig.exists() for each in lab.clusters.values())
        return seen(control_1=outcome)

    monkeypatch.setattr(check, "check", look)
    return labs


@pytest.mark.parametrize(("outcome", "status"), [(MET, 0), (UNMET, 1), (UNSEEN, 1)])
def test_exit_status(
    outcome: Outcome,
    status: int,
    kubeconfigs: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    labs = looking(monkeypatch, outcome)
    file = tmp_path / f"{SCENARIO.id}.yaml"
    file.write_text(as_yaml(SCENARIO))
    assert cli.main(["check", str(file), "--output=json", *kubeconfigs]) == status
    assert json.loads(capsys.readouterr().out)["result"] == outcome.result
    (lab,) = labs
    assert lab.external
    assert not any(each.kubeconfig.exists() for each in lab.clusters.values())


def test_metrics(
    kubeconfigs: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    looking(monkeypatch, UNMET)
    scenario, file = tmp_path / f"{SCENARIO.id}.yaml", tmp_path / "collector" / "mesh.prom"
    scenario.write_text(as_yaml(SCENARIO))
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    endpoint = f"--otlp=http://127.0.0.1:{port}"
    more = [f"--metrics={file}", endpoint]
    assert cli.main(["check", str(scenario), *kubeconfigs, *more]) == 1
    read = {
        sample.name: sample.labels
        for family in text_string_to_metric_families(file.read_text())
        for sample in family.samples
        if sample.value == 1
    }
    mesh = {
        "command": "check",
        "topology": SCENARIO.id,
        "provider": "kubeconfig",
        "install": "skip",
    }
    requirement = {**mesh, "requirement": "CONTROL-1", "level": "core"}
    assert read["mesh_conformance_requirement_result"] == {**requirement, "result": "unmet"}
    assert read["mesh_conformance_requirement_met"] == {**requirement, "cluster": "cluster2"}
    cause = {"cause": CAUSE.id, "certainty": "certain", "cluster": "cluster1"}
    assert read["mesh_conformance_cause"] == mesh | cause
    assert f"warning: metrics were not sent to {endpoint[7:]}/v1/metrics" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("option", "said"),
    [
        ("--metrics=/sys/kernel/mesh.prom", "wanted a file that can be written"),
        ("--otlp=localhost:4318", "is not a collector's URL"),
    ],
)
def test_metrics_that_cannot_be_written_or_sent(
    option: str,
    said: str,
    kubeconfigs: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    labs = looking(monkeypatch, MET)
    assert cli.main(["check", *kubeconfigs, option]) == 4
    assert said in capsys.readouterr().err
    assert labs == []


def test_a_mesh_that_cannot_be_looked_at(
    kubeconfigs: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["check", *kubeconfigs]) == 4
    printed = capsys.readouterr()
    assert not printed.out
    assert "cluster1" in printed.err


def test_clusters_of_another_mesh(
    kubeconfigs: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / f"{SCENARIO.id}.yaml"
    file.write_text(as_yaml(SCENARIO))
    assert cli.main(["check", str(file), kubeconfigs[0]]) == 4
    assert "a kubeconfig for each of cluster1, cluster2" in capsys.readouterr().err


def test_discovered(
    kubeconfigs: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    looking(monkeypatch, MET)
    found = Discovered(SCENARIO, ("the mesh is odd",))
    monkeypatch.setattr(
        discovery, "discover", lambda references, system_namespace, *, forwards: found
    )
    assert cli.main(["check", *kubeconfigs]) == 0
    printed = capsys.readouterr()
    assert "CONTROL-1 met" in printed.out
    assert printed.err == "note: the mesh is odd\n"


def test_what_a_look_covers() -> None:
    looked_at = [each for each in REQUIREMENTS if each.without_samples]
    assert {each.id for each in looked_at} == {
        *("TRUST-1", "TRUST-2", "CONTROL-1", "CONTROL-2", "CONTROL-3", "DISCOVERY-1"),
        *("DISCOVERY-3", "GATEWAY-1"),
    }
    assert not any(each.disruptive for each in looked_at)
