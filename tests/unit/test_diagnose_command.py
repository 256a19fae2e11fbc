"""`diagnose` checks what it can, whatever fails of that which it rests on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import inf
from pathlib import Path

import pytest
from diagnosis_recordings import recorded
from plugin_stub import Behaviour, StubLab

from mesh_fixtures import requirements
from mesh_fixtures.commands import diagnose
from mesh_fixtures.diagnosis import Facts, bundle, diagnostician
from mesh_fixtures.errors import ProbeError
from mesh_fixtures.probe.view import MeshView
from mesh_fixtures.progress import Progress
from mesh_fixtures.requirements import ObservedMesh, Outcome, Requirement
from mesh_fixtures.verdict.findings import Finding, Subject

MULTI = "healthy-multi-primary-multi-network"
SILENCE = ProbeError(wanted="an answer", seen="silence", where="cluster2")
MET = Outcome.judged(())


def unmet(what: str) -> Outcome:
    return Outcome.judged([Finding("cluster1", what, "none", about=Subject(("cluster1",)))])


@dataclass(frozen=True)
class Examined:
    """What came of a mesh that fails three requirements and hides a fourth.

    Attributes:
        waited: how long each requirement that was checked may wait for the mesh, by its id.
    """

    waited: dict[str, float]
    output: str
    errors: str


@pytest.fixture
def examined(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> Examined:
    waited: dict[str, float] = {}
    outcomes = {
        "CONTROL-2": unmet("a connection to istiod"),
        "DISCOVERY-2": unmet("an endpoint"),
        "TRAFFIC-1": Outcome.inconclusive(SILENCE),
        "SECURITY-1": unmet("an identity"),
    }

    def judging(name: str) -> Callable[[ObservedMesh], Outcome]:
        def judge(mesh: ObservedMesh) -> Outcome:
            waited[name] = mesh.settling_seconds
            return outcomes.get(name, MET)

        return judge

    def stub(known: Requirement) -> Requirement:
        return Requirement(known.id, known.level, known.title, judging(known.id))

    scenario = recorded(MULTI).scenario
    observable = tuple(map(stub, requirements.observable(scenario)))
    monkeypatch.setattr(requirements, "observable", lambda scenario: observable)
    monkeypatch.setattr(diagnostician, "gather", _facts)
    monkeypatch.setattr(bundle, "write_bundle", lambda file, view, documents: None)
    lab = StubLab(scenario, tmp_path / "log", Behaviour())
    assert diagnose.examine(lab, tmp_path, Progress("test")) == 1
    return Examined(waited, *capsys.readouterr())


def _facts(view: MeshView) -> Facts:
    return recorded(MULTI).facts


def test_what_rests_on_a_requirement_that_fails_is_checked(examined: Examined) -> None:
    known = requirements.applicable(recorded(MULTI).scenario)
    left_out = {each.id for each in known if each.disruptive or each.upgrades}
    assert {"RESILIENCE-1", "UPGRADE-1", "SKEW-1"} <= left_out
    assert [*examined.waited] == [each.id for each in known if each.id not in left_out]
    for each in ("CONTROL-2 unmet", "DISCOVERY-2 unmet", "SECURITY-1 unmet"):
        assert each in examined.errors
    assert "TRAFFIC-1 could not be checked: it rests on CONTROL-2" in examined.errors


def test_what_rests_on_a_requirement_that_fails_is_given_less_time(examined: Examined) -> None:
    assert examined.waited["CONTROL-2"] == examined.waited["DISCOVERY-1"] == inf
    for each in ("DISCOVERY-2", "TRAFFIC-1", "TRAFFIC-2", "TRAFFIC-3", "SECURITY-1"):
        assert examined.waited[each] < inf


def test_all_that_fails_is_explained(examined: Examined) -> None:
    lines = [line for line in examined.output.splitlines() if "consequences:" in line]
    for each in ("CONTROL-2", "DISCOVERY-2", "SECURITY-1"):
        assert any(each in line for line in lines), examined.output
