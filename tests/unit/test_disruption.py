"""What is taken down comes back in any case, and is known to have come back."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest
from mesh_examples import SCENARIOS

from mesh_fixtures.errors import LabError, ProbeError
from mesh_fixtures.kube import Container, Deployment, Meta, Pod
from mesh_fixtures.probe.view import MeshView
from mesh_fixtures.records import is_disrupted
from mesh_fixtures.requirements import ObservedMesh, Outcome, Requirement, disruption
from mesh_fixtures.requirements.disruption import Disruption, disrupting
from mesh_fixtures.requirements.resilience_traffic import judged_while
from mesh_fixtures.verdict.findings import Finding

SCENARIO = SCENARIOS["multi-primary"]
HELLOWORLD = Deployment(Meta("helloworld-v1", "sample"), wanted=1, ready=1)


@dataclass
class World:
    """A mesh whose only quality is what its Deployment wants.

    Attributes:
        refusals: how many changes are refused first.
        heals: whether it is sound again when its Deployment wants what it did.
        external: whether it is an existing mesh.
        draining: what is still to be removed by its server's proxy, one time it is asked after the
            other; nothing in the end.
    """

    folder: Path
    wants: int = 1
    refusals: int = 0
    heals: bool = True
    external: bool = False
    draining: list[int] = field(default_factory=list)
    done: list[str] = field(default_factory=list)
    harmed: bool = False

    def mesh(self) -> ObservedMesh:
        lab = SimpleNamespace(
            id="mesh-1",
            folder=self.folder,
            clusters={"cluster1": None},
            external=self.external,
        )
        containers = (Container("istio-proxy", ""),)
        server = Pod(Meta("helloworld"), "", "Running", False, True, containers)
        kube = SimpleNamespace(sample_namespace="sample", list=lambda *_: [server])
        view = SimpleNamespace(
            lab=lab, scenario=SCENARIO, each=lambda probe: {"cluster1": probe(kube)}
        )
        return ObservedMesh(cast("MeshView", view), requests=70)

    def scale(self, namespace: str, name: str, replicas: int) -> None:
        if self.refusals:
            self.refusals -= 1
            raise ProbeError(wanted="a change", seen="refused", where="cluster1")
        self.done.append(f"{namespace}/{name}={replicas}")
        self.wants = replicas
        self.harmed = self.harmed or replicas == 0

    def judge(self, mesh: ObservedMesh) -> Outcome:
        _ = mesh.view
        sound = self.wants == 1 and (self.heals or not self.harmed)
        return Outcome.judged([] if sound else [Finding("cluster1", "a pod", "none")])


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    world = World(tmp_path)

    class Editor:
        def __init__(self, cluster: object) -> None:
            self.scale = world.scale

        def __enter__(self) -> Editor:
            return self

        def __exit__(self, *_: object) -> None:
            world.done.append("closed")

    requirement = Requirement("SOUND-1", "core", "It is sound.", world.judge)
    monkeypatch.setattr(disruption, "SOUND", (requirement,))
    monkeypatch.setattr(disruption, "KubeEditor", Editor)
    monkeypatch.setattr(disruption, "RESTORE_SECONDS", 0.0)
    monkeypatch.setattr(disruption, "draining", lambda *_: (world.draining or [0]).pop(0))
    monkeypatch.setattr(disruption, "_INTERVAL", 0.0)
    return world


def disrupt(mesh: ObservedMesh, *then: Callable[[Disruption], object]) -> Disruption:
    """Take HelloWorld away, and do other things."""
    with disrupting(mesh, "helloworld") as disrupted:
        disrupted.scale("cluster1", HELLOWORLD, 0)
        for each in then:
            each(disrupted)
    return disrupted


def raising(error: BaseException) -> Callable[[Disruption], object]:
    def fail(disrupted: Disruption) -> object:
        raise error

    return fail


def refuse() -> None:
    raise ProbeError(wanted="a change", seen="refused", where="cluster1")


def test_connections_from_before_other_policies_are_gone_first(world: World) -> None:
    world.draining = [7, 7, 0, 9]
    with disrupting(world.mesh(), "helloworld"):
        assert world.draining == [9]


def test_connections_that_servers_do_not_end_are_waited_for_no_longer(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(disruption, "DRAINED_SECONDS", 0.0)
    world.draining = [7, 7]
    with disrupting(world.mesh(), "helloworld"):
        assert world.draining == [7]


def test_nothing_of_an_existing_mesh_is_taken_down(world: World) -> None:
    """Whatever a requirement says of itself."""
    world.external = True
    with pytest.raises(ProbeError, match="an existing mesh"):
        disrupt(world.mesh())
    assert not world.done
    assert not is_disrupted(world.folder)


def test_what_was_taken_down_is_brought_back_last_first(world: World) -> None:
    seen: list[bool] = []
    disrupted = disrupt(
        world.mesh(),
        lambda disrupted: disrupted.undo_by("it", lambda: world.done.append("undone")),
        lambda disrupted: seen.append(is_disrupted(world.folder)),
    )
    assert world.done == ["sample/helloworld-v1=0", "undone", "sample/helloworld-v1=1", "closed"]
    assert seen == [True]
    assert not is_disrupted(world.folder)
    assert list(disrupted.figures) == ["helloworld.seconds_to_restore"]


def test_what_is_scaled_back_before_is_undone_once_more(world: World) -> None:
    disrupt(world.mesh(), lambda disrupted: disrupted.scale_back())
    assert world.done == [f"sample/helloworld-v1={n}" for n in (0, 1, 1)] + ["closed"]


def test_nothing_is_done_to_a_mesh_that_is_not_sound(world: World) -> None:
    world.wants = 0
    with pytest.raises(ProbeError, match="SOUND-1: cluster1: expected a pod, but saw none"):
        disrupt(world.mesh())
    assert world.done == []
    assert not is_disrupted(world.folder)


def test_trouble_meanwhile_is_raised_once_the_mesh_is_sound(world: World) -> None:
    trouble = ProbeError(wanted="an answer", seen="none", where="cluster1")
    mesh = world.mesh()
    with pytest.raises(ProbeError) as raised:
        disrupt(mesh, raising(trouble))
    assert raised.value is trouble
    assert world.wants == 1
    assert not is_disrupted(world.folder)
    _ = mesh.view


def test_a_mesh_that_does_not_heal_is_an_error_and_stays_one(world: World) -> None:
    world.heals = False
    mesh = world.mesh()
    with pytest.raises(LabError, match="SOUND-1: cluster1: expected a pod, but saw none"):
        disrupt(mesh)
    assert is_disrupted(world.folder)
    later = Requirement("LATER-1", "core", "It is sound.", world.judge)
    outcome = later.check(mesh)
    assert outcome.result == "inconclusive"
    assert isinstance(outcome.trouble, LabError)


def test_what_could_not_be_undone_is_tried_again(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(disruption, "RESTORE_SECONDS", 10.0)
    disrupt(world.mesh(), lambda _: setattr(world, "refusals", 1))
    assert world.wants == 1


def test_what_cannot_be_undone_is_named_and_does_not_keep_the_rest(world: World) -> None:
    with pytest.raises(LabError, match="repair the other: refused"):
        disrupt(world.mesh(), lambda disrupted: disrupted.undo_by("repair the other", refuse))
    assert world.wants == 1


class OutOfTime(BaseException):
    """As pytest's own exceptions."""


@pytest.mark.parametrize("interrupt", [KeyboardInterrupt, OutOfTime])
def test_an_interrupt_is_passed_on_once_everything_is_undone(
    world: World, interrupt: type[BaseException]
) -> None:
    mesh = world.mesh()
    with pytest.raises(interrupt):
        disrupt(mesh, raising(interrupt()))
    assert world.wants == 1
    assert is_disrupted(world.folder)
    with pytest.raises(LabError, match="cut short"):
        _ = mesh.view


def test_no_signal_cuts_the_undoing_short(world: World) -> None:
    def interrupted_meanwhile() -> None:
        os.kill(os.getpid(), signal.SIGINT)
        world.done.append("went on")

    with pytest.raises(KeyboardInterrupt):
        disrupt(world.mesh(), lambda disrupted: disrupted.undo_by("it", interrupted_meanwhile))
    assert world.done[-3:] == ["went on", "sample/helloworld-v1=1", "closed"]


def test_parts_are_restored_one_by_one(world: World) -> None:
    with disrupting(world.mesh(), "last") as disrupted:
        for part in ("one", "two"):
            disrupted.scale("cluster1", HELLOWORLD, 0)
            disrupted.restore(part)
            assert not is_disrupted(world.folder)
    assert list(disrupted.figures) == ["one.seconds_to_restore", "two.seconds_to_restore"]


def unmet_while_down(disrupted: Disruption) -> Iterator[Outcome]:
    disrupted.scale("cluster1", HELLOWORLD, 0)
    yield Outcome.judged([Finding("cluster2", "an answer", "none")])
    raise AssertionError("nothing more is taken down")


def test_what_was_found_counts_where_the_mesh_does_not_recover(world: World) -> None:
    world.heals = False
    mesh = world.mesh()
    outcome = judged_while(mesh, "helloworld", unmet_while_down)
    assert [each.seen for each in outcome.findings] == ["none"]
    assert "SOUND-1: cluster1: expected a pod" in str(outcome.figures["helloworld.not_restored"])
    with pytest.raises(LabError, match="SOUND-1"):
        _ = mesh.view


def test_a_mesh_that_does_not_recover_from_what_it_took_well_is_an_error(world: World) -> None:
    def met_while_down(disrupted: Disruption) -> Iterator[Outcome]:
        disrupted.scale("cluster1", HELLOWORLD, 0)
        yield Outcome.judged(())

    world.heals = False
    with pytest.raises(LabError, match="SOUND-1"):
        judged_while(world.mesh(), "helloworld", met_while_down)


def test_nothing_more_is_taken_down_once_something_is_not_met(world: World) -> None:
    outcome = judged_while(world.mesh(), "helloworld", unmet_while_down)
    assert outcome.result == "unmet"
    assert list(outcome.figures) == ["helloworld.seconds_to_restore"]
    assert world.wants == 1
