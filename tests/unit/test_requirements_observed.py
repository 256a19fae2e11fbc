"""What is seen of a mesh is seen once, until it is forgotten."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from math import inf
from typing import Any, cast

import pytest
from mesh_examples import SCENARIOS
from verdicts import FakeView

from mesh_fixtures import patience
from mesh_fixtures.errors import ProbeError
from mesh_fixtures.kube import Source
from mesh_fixtures.probe.traffic import TrafficSample
from mesh_fixtures.probe.view import MeshView
from mesh_fixtures.requirements import ObservedMesh, observed

WAIT = 10.0


@pytest.fixture
def mesh() -> ObservedMesh:
    view = cast("MeshView", FakeView(SCENARIOS["multi-primary"]))
    return ObservedMesh(view, requests=70)


class Counted:
    """An observation that says how often it was made, and can be made to fail or to wait."""

    def __init__(self, error: BaseException | None = None) -> None:
        self.error = error
        self.made = 0
        self.begun = threading.Event()
        self.may_end = threading.Event()
        self.may_end.set()

    def __call__(self, mesh: ObservedMesh) -> int:
        self.made += 1
        seen = self.made
        self.begun.set()
        assert self.may_end.wait(WAIT)
        if self.error is not None:
            raise self.error
        return seen


def test_an_observation_is_made_once_until_it_is_forgotten(mesh: ObservedMesh) -> None:
    first, second = Counted(), Counted()
    assert [mesh.once(first), mesh.once(first), mesh.once(second)] == [1, 1, 1]
    mesh.forget()
    assert [mesh.once(first), mesh.once(second)] == [2, 2]


def test_trouble_is_met_once_until_it_is_forgotten(mesh: ObservedMesh) -> None:
    trouble = ProbeError(wanted="an answer", seen="none", where="cluster1")
    observation = Counted(trouble)
    for _ in range(2):
        with pytest.raises(ProbeError) as raised:
            mesh.once(observation)
        assert raised.value is trouble
    assert observation.made == 1
    mesh.forget()
    observation.error = None
    assert mesh.once(observation) == 2


def test_an_interrupt_is_not_kept(mesh: ObservedMesh) -> None:
    observation = Counted(KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        mesh.once(observation)
    observation.error = None
    assert mesh.once(observation) == 2


def test_threads_wait_for_the_same_observation(mesh: ObservedMesh) -> None:
    observation = Counted()
    observation.may_end.clear()
    with ThreadPoolExecutor(4) as threads:
        asked = [threads.submit(mesh.once, observation) for _ in range(4)]
        assert observation.begun.wait(WAIT)
        observation.may_end.set()
        assert [each.result(WAIT) for each in asked] == [1, 1, 1, 1]


def test_what_was_begun_is_not_made_again(mesh: ObservedMesh) -> None:
    observation = Counted()
    observation.may_end.clear()
    mesh.begin(observation)
    assert observation.begun.wait(WAIT)
    observation.may_end.set()
    assert mesh.once(observation) == 1


def test_trouble_of_what_was_begun_is_for_who_asks(mesh: ObservedMesh) -> None:
    trouble = ProbeError(wanted="an answer", seen="none", where="cluster1")
    observation = Counted(trouble)
    mesh.begin(observation)
    assert observation.begun.wait(WAIT)
    with pytest.raises(ProbeError) as raised:
        mesh.once(observation)
    assert raised.value is trouble


def test_what_is_being_made_when_it_is_forgotten_is_not_kept(mesh: ObservedMesh) -> None:
    observation = Counted()
    observation.may_end.clear()
    with ThreadPoolExecutor(1) as threads:
        asked = threads.submit(mesh.once, observation)
        assert observation.begun.wait(WAIT)
        mesh.forget()
        observation.may_end.set()
        assert asked.result(WAIT) == 1
    assert mesh.once(observation) == 2


def test_traffic_follows_its_endpoints(mesh: ObservedMesh, monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[str] = []

    def endpoints(view: Any, seconds: float) -> dict[str, str]:
        done.append("endpoints")
        return {}

    def requests(kube: Any, count: int, *, budget_seconds: int | None) -> TrafficSample:
        assert budget_seconds is None
        done.append(f"{kube.name} {count}")
        return sample

    sample = TrafficSample(Source("cluster1", "sleep", "curl"), "cluster1", 70, (), (), 0.0, False)
    monkeypatch.setattr(observed, "client_endpoints", endpoints)
    monkeypatch.setattr(observed, "requests", requests)
    monkeypatch.setattr(observed, "served", lambda kube: ())
    assert mesh.traffic == {"cluster1": sample, "cluster2": sample}
    assert mesh.endpoints == {}
    assert mesh.traffic
    assert done == ["endpoints", "cluster1 70", "cluster2 70"]


@pytest.mark.parametrize(("settling_seconds", "expected"), [(inf, 60.0), (5.0, 10.0), (0.0, 0.0)])
def test_a_mesh_is_waited_for_no_longer_than_it_is_given(
    settling_seconds: float, expected: float
) -> None:
    view = cast("MeshView", FakeView(SCENARIOS["multi-primary"]))
    patience.use(patience.Patience(2.0, "a test"))
    mesh = ObservedMesh(view, requests=70, settling_seconds=settling_seconds)
    assert mesh.patient(30.0) == expected
