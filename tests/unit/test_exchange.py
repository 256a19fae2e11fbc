"""The folder of controller and workers: whose it is, and when it goes."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from mesh_fixtures.errors import MachineError
from mesh_fixtures.ownership import Owner, started_at
from mesh_fixtures.progress import ProgressEvent
from mesh_fixtures.session.exchange import Exchange, exchanges_folder, remove_abandoned


@pytest.fixture(autouse=True)
def own_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


@pytest.fixture
def other() -> Iterator[Owner]:
    """Some process that lives."""
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    started = started_at(process.pid)
    assert started is not None
    yield Owner(process.pid, started)
    process.communicate()


def of_killed(name: str = "") -> Exchange:
    """What a controller left whose pid another process has now."""
    living = Owner.this_process()
    folder = exchanges_folder() / f"{Owner(living.pid, living.started - 1)}-{name}"
    folder.mkdir(parents=True)
    (folder / "events.jsonl").touch()
    return Exchange(folder)


def test_it_lies_in_the_state_folder_and_is_removed(tmp_path: Path) -> None:
    exchange = Exchange.create()
    assert exchange.folder.parent == tmp_path / "state" / "mesh-conformance" / "exchanges"
    assert Owner.named(exchange.folder.name) == Owner.this_process()
    exchange.remove()
    assert not exchange.folder.exists()


def test_what_killed_controllers_left_is_removed() -> None:
    used, abandoned = Exchange.create(), of_killed()
    (exchanges_folder() / "nobody-knows").mkdir()
    assert remove_abandoned() == [abandoned.folder.name, "nobody-knows"]
    assert list(exchanges_folder().iterdir()) == [used.folder]


def test_nothing_to_remove_where_nothing_ever_ran() -> None:
    assert remove_abandoned() == []


def test_it_stays_while_a_worker_removes_its_lab(other: Owner) -> None:
    abandoned = of_killed()
    marker = abandoned.folder / f"holds-lab-{other}"
    marker.touch()
    assert abandoned.holders() == (other.pid,)
    assert remove_abandoned() == []
    marker.rename(abandoned.folder / f"holds-lab-{Owner(other.pid, other.started - 1)}")
    assert remove_abandoned() == [abandoned.folder.name]


def test_a_worker_holds_a_lab_as_long_as_it_says() -> None:
    exchange = Exchange.create()
    with exchange.holding_lab():
        assert exchange.holders() == (Owner.this_process().pid,)
    assert exchange.holders() == ()


def test_a_worker_may_outlive_the_folder() -> None:
    exchange = Exchange.create()
    with exchange.holding_lab():
        exchange.remove()
        exchange.sink(ProgressEvent("one", "teardown", "", "done"))
    assert not exchange.folder.exists()


def test_a_folder_that_cannot_be_made_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "file"))
    with pytest.raises(MachineError, match="XDG_STATE_HOME"):
        Exchange.create()
    assert remove_abandoned() == []
