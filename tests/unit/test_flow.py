"""From a lab to a mesh: what is run, in which order, and what is not run again."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import pytest
from mesh_examples import BUILT, SCENARIOS
from plugin_stub import Behaviour, StubLab

from mesh_fixtures import flow
from mesh_fixtures.contract import Lab
from mesh_fixtures.install import ids
from mesh_fixtures.install.step import Plan
from mesh_fixtures.progress import Progress
from mesh_fixtures.rehearsal.replay import Replay

SCENARIO = SCENARIOS["multi-primary"]
QUIET = Progress(SCENARIO.id)


class Ran:
    """Plans that were run, with what performed some of their commands."""

    def __init__(self) -> None:
        self.plans: list[Plan] = []
        self.performers: list[object] = []

    def __call__(self, plan: Plan, lab: Lab, progress: Progress, performer: Any = None) -> None:
        del lab, progress
        self.plans.append(plan)
        self.performers.append(performer)

    @property
    def steps(self) -> list[set[str]]:
        return [{step.id for step in plan.steps} for plan in self.plans]


@pytest.fixture
def ran(monkeypatch: pytest.MonkeyPatch) -> Ran:
    ran = Ran()
    monkeypatch.setattr("mesh_fixtures.install.executor.run_in_lab", ran)
    monkeypatch.setattr(flow, "_deployed", set())
    return ran


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    class Installable(StubLab):
        """Has what an installation asks for."""

        @property
        def images(self) -> Any:
            return BUILT

        @property
        def folder(self) -> Path:
            return tmp_path

    return cast("Lab", Installable(SCENARIO, tmp_path / "log", Behaviour()))


def test_by_default_istioctl_is_run_and_workloads_follow(ran: Ran, lab: Lab) -> None:
    flow.install(lab, QUIET)
    flow.deploy_sample(lab, QUIET)
    mesh, samples = ran.steps
    assert ids.istiod("cluster1") in mesh
    assert ids.ingress_ready("cluster1") not in mesh
    assert {ids.helloworld("cluster1"), ids.sleep_ready("cluster2")} <= samples
    assert not mesh & samples
    assert ran.performers == [None, None]


def test_an_installation_as_recorded_waits_for_all_at_its_end(ran: Ran, lab: Lab) -> None:
    flow.install(lab, QUIET, recorded=True)
    (mesh,) = ran.steps
    assert ids.ingress_ready("cluster1") in mesh
    (performer,) = ran.performers
    assert isinstance(performer, Replay)


def test_workloads_that_overlap_are_deployed_once(ran: Ran, lab: Lab) -> None:
    flow.install(lab, QUIET, overlap=True)
    flow.deploy_sample(lab, QUIET)
    (mesh,) = ran.steps
    assert ids.sleep_ready("cluster2") in mesh


def test_workloads_of_a_kept_lab_are_looked_at(
    ran: Ran, lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    flow.install(lab, QUIET, overlap=True)
    monkeypatch.setattr(flow, "_deployed", set())  # in another process
    flow.deploy_sample(lab, QUIET)
    assert {each.split("/")[0] for each in ran.steps[1]} == {"helloworld-ready", "sleep-ready"}


def test_workloads_that_were_not_all_deployed_are_deployed_again(ran: Ran, lab: Lab) -> None:
    folder = lab.folder / "install"
    folder.mkdir()
    (folder / "sample.begun").touch()
    flow.deploy_sample(lab, QUIET)
    removal, samples = ran.steps
    assert removal == {f"sample-removal/{cluster}" for cluster in ("cluster1", "cluster2")}
    assert ids.helloworld("cluster1") in samples
