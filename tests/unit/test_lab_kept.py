"""Which kept labs are taken over: not those left disrupted, nor those installed otherwise."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from mesh_examples import SCENARIOS

from mesh_fixtures import records
from mesh_fixtures.lab import opening
from mesh_fixtures.lab.opening import Blueprint, open_lab
from mesh_fixtures.progress import Progress

SCENARIO = SCENARIOS["multi-primary"]


@pytest.fixture
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> records.Record:
    """A kept lab with the mesh of the scenario."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    monkeypatch.setattr(opening, "clean_abandoned", lambda *_: None)
    with records.exclusive():
        record = records.claim(SCENARIO, "artifacts", provider="stub", method="istioctl")
    record = replace(record, kept=True, installed=True, owner_pid=0, owner_started=0)
    record.save()
    return record


def opened(method: str = "istioctl", *, bare: bool = False) -> str:
    """Id of the lab that a run gets which takes over what it can."""

    def build(record: records.Record) -> Any:
        return SimpleNamespace(id=record.id, resume=lambda: True, start=lambda: None)

    blueprint = Blueprint(
        SCENARIO, "stub", "", "artifacts", True, build, (RuntimeError,), method, bare
    )
    lab = open_lab(blueprint, Progress(SCENARIO.id, lambda _: None), reuse=True)
    return cast("str", lab.id)


def test_a_kept_lab_is_taken_over(kept: records.Record) -> None:
    assert opened() == kept.id


def test_one_that_was_installed_otherwise_is_left_alone(kept: records.Record) -> None:
    other = opened("helm")
    assert other != kept.id
    assert {each.id: each.method for each in records.load_all()} == {
        kept.id: "istioctl",
        other: "helm",
    }


def test_one_that_was_left_disrupted_is_left_alone(kept: records.Record) -> None:
    records.mark_disrupted(kept.folder)
    assert opened() != kept.id


def test_one_that_was_restored_is_taken_over(kept: records.Record) -> None:
    records.mark_disrupted(kept.folder)
    records.unmark_disrupted(kept.folder)
    records.unmark_disrupted(kept.folder)
    assert opened() == kept.id


def test_one_with_a_mesh_is_not_taken_for_a_bare_one(kept: records.Record) -> None:
    assert opened(bare=True) != kept.id


def test_a_bare_one_is_taken_over_as_such_and_never_as_one_with_a_mesh(
    kept: records.Record,
) -> None:
    replace(kept, installed=False, bare=True).save()
    other = opened()
    assert other != kept.id
    assert opened(bare=True) == kept.id
