"""Watching a mesh that is broken and repaired, by requirements that say what they are told to."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from mesh_fixtures.errors import LabError, ProbeError
from mesh_fixtures.requirements import Outcome
from mesh_fixtures.verdict.findings import Finding
from tests.faults import healthy, trial
from tests.faults.healthy import HealthyMesh
from tests.faults.target import Target
from tests.faults.trial import ImpatientMesh, await_met, detect

MET = Outcome.judged(())
UNMET = Outcome.judged([Finding("cluster1", "two endpoints", "one")])
UNSEEN = Outcome.inconclusive(ProbeError(wanted="an answer", seen="none", where="cluster1"))


class Mesh:
    """A mesh whose requirements have these outcomes, the last one for good."""

    def __init__(self, **outcomes: list[Outcome]) -> None:
        self.outcomes = {name.replace("_", "-"): list(each) for name, each in outcomes.items()}
        self.scenario = SimpleNamespace(id="example")
        self.forgotten = 0
        self.twins = 0
        self.tainted: LabError | None = None

    def forget(self) -> None:
        self.forgotten += 1

    def taint(self, error: LabError) -> None:
        self.tainted = error

    def outcome(self, name: str) -> Outcome:
        left = self.outcomes[name]
        return left.pop(0) if len(left) > 1 else left[0]

    def twin(self, settling_seconds: float) -> Mesh:
        self.twins += 1
        return self

    def as_mesh(self) -> ImpatientMesh:
        return cast("ImpatientMesh", self)


@pytest.fixture(autouse=True)
def prescribed(monkeypatch: pytest.MonkeyPatch) -> None:
    def by_id(name: str) -> Any:
        return SimpleNamespace(
            check=lambda mesh: mesh.outcome(name), disruptive=name.startswith("DISRUPTIVE")
        )

    monkeypatch.setattr(trial, "by_id", by_id)
    monkeypatch.setattr(trial, "_INTERVAL", 0.0)


def test_a_fault_is_detected_once_all_its_requirements_are_unmet() -> None:
    mesh = Mesh(A_1=[MET, UNSEEN, UNMET], B_1=[UNMET], C_1=[MET])
    seen = detect(mesh.as_mesh(), ["A-1", "B-1"], ["C-1"])
    assert {name: each.result for name, each in seen.outcomes.items()} == {
        "A-1": "unmet",
        "B-1": "unmet",
        "C-1": "met",
    }
    assert mesh.forgotten == 3
    assert [line.split()[0] for line in seen.unmet] == ["A-1", "B-1"]


def test_a_fault_that_shows_nowhere_is_not_waited_for_without_an_end() -> None:
    mesh = Mesh(A_1=[MET])
    seen = detect(mesh.as_mesh(), ["A-1"], [], seconds=0.0)
    assert seen.outcomes["A-1"].result == "met"
    assert seen.unmet == ()


def test_a_mesh_that_is_to_be_disrupted_is_looked_at_before_and_disrupted_once() -> None:
    mesh = Mesh(DISRUPTIVE_1=[UNMET, MET], C_1=[UNMET, MET])
    seen = detect(mesh.as_mesh(), ["DISRUPTIVE-1"], ["C-1"])
    results = {name: each.result for name, each in seen.outcomes.items()}
    assert results == {"DISRUPTIVE-1": "unmet", "C-1": "met"}
    assert mesh.twins == 1


def test_what_could_not_be_seen_is_not_met() -> None:
    mesh = Mesh(A_1=[UNSEEN])
    seen = await_met(mesh.as_mesh(), ["A-1"], seconds=0.0)
    assert len(seen.unmet) == 1
    assert "inconclusive" in seen.unmet[0]


@pytest.fixture
def basic(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[Mesh], HealthyMesh]:
    def make(mesh: Mesh) -> HealthyMesh:
        target = SimpleNamespace(lab=SimpleNamespace(id="lab-1", folder=tmp_path))
        return HealthyMesh(mesh.as_mesh(), cast("Target", target))

    monkeypatch.setattr(healthy, "BASIC", ("A-1", "OTHER-1"))
    known = [SimpleNamespace(id="A-1"), SimpleNamespace(id="B-1")]
    monkeypatch.setattr(healthy, "applicable", lambda scenario: known)
    return make


def test_a_mesh_is_healthy_when_what_applies_is_met(basic: Callable[[Mesh], HealthyMesh]) -> None:
    mesh = Mesh(A_1=[UNMET, MET], B_1=[MET])
    of = basic(mesh)
    of.require_healthy("B-1")
    assert of.is_healthy
    assert mesh.tainted is None


def test_a_mesh_that_is_not_healthy_again_is_tainted(
    basic: Callable[[Mesh], HealthyMesh], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(healthy, "REPAIRED_SECONDS", 0.0)
    mesh = Mesh(A_1=[UNMET])
    of = basic(mesh)
    with pytest.raises(LabError, match="A-1 unmet: cluster1: expected two endpoints"):
        of.require_healthy()
    assert not of.is_healthy
    assert mesh.tainted is not None
