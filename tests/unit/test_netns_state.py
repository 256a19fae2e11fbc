from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from mesh_examples import SCENARIOS

from mesh_fixtures import records
from mesh_fixtures.errors import LabError
from mesh_fixtures.journal import Journal, JournalEntry
from mesh_fixtures.lab import processes
from mesh_fixtures.lab.netns.node_files import share_store
from mesh_fixtures.lab.netns.teardown import leftovers, tear_down
from mesh_fixtures.lab.upkeep import clean_abandoned, take_down_kept
from mesh_fixtures.ownership import started_at
from mesh_fixtures.progress import Progress
from mesh_fixtures.records import SLOTS


@pytest.fixture(autouse=True)
def own_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    yield process
    process.kill()
    process.wait()


def claim(scenario: str = "example") -> records.Record:
    with records.exclusive():
        known = SCENARIOS["multi-primary"].model_copy(update={"id": scenario})
        return records.claim(known, "artifacts", provider="netns")


def abandon(record: records.Record, **changes: object) -> records.Record:
    content = json.loads((record.folder / "lab.json").read_text())
    content |= {"owner_pid": 0, "owner_started": 0, **changes}
    (record.folder / "lab.json").write_text(json.dumps(content))
    return next(r for r in records.load_all() if r.id == record.id)


def test_journal_keeps_entries_in_order(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal")
    entries = [JournalEntry("namespace", "mesh-1"), JournalEntry("process", "node", 7, 9)]
    for entry in entries:
        journal.record(entry)
    assert list(journal.entries()) == entries


def test_journal_ignores_a_line_that_was_cut_short(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal")
    journal.record(JournalEntry("namespace", "mesh-1"))
    with journal.path.open("a") as file:
        file.write('{"kind": "proc')
    assert list(journal.entries()) == [JournalEntry("namespace", "mesh-1")]


def test_labs_get_slots_of_their_own() -> None:
    slots = [claim().slot for _ in range(3)]
    assert slots == [0, 1, 2]


def test_a_freed_slot_is_used_again() -> None:
    first, second = claim(), claim()
    tear_down(first)
    assert claim().slot == first.slot
    assert second.slot == 1


def test_more_labs_than_slots_are_refused() -> None:
    for _ in range(SLOTS):
        claim()
    with pytest.raises(LabError, match="mesh-conformance clean"):
        claim()


def test_a_record_survives_writing_and_reading() -> None:
    record = claim()
    assert records.load_all() == [record]
    assert record.in_use


def test_clean_removes_abandoned_labs_only() -> None:
    used, abandoned, kept, half = claim(), claim(), claim(), claim()
    abandon(abandoned)
    abandon(kept, kept=True, booted=True)
    abandon(half, kept=True)
    cleaned = clean_abandoned(Progress("clean"))
    assert set(cleaned.removed) == {abandoned.id, half.id}
    assert {lab for lab, _ in cleaned.left_alone} == {used.id, kept.id}


def test_clean_removes_a_lab_whose_record_is_unreadable() -> None:
    record = claim()
    (record.folder / "lab.json").write_text("{")
    assert clean_abandoned(Progress("clean")).removed == (record.id,)
    assert not record.folder.exists()


def test_down_removes_labs_that_nobody_uses_and_says_which_are_used() -> None:
    used, kept, other = claim(), claim(), claim("other")
    abandon(kept, kept=True, booted=True, installed=True)
    abandon(other, kept=True, booted=True)
    taken = take_down_kept("example", Progress("down"))
    assert taken.removed == (kept.id,)
    assert [lab for lab, _ in taken.left_alone] == [used.id]
    assert {record.id for record in records.load_all()} == {used.id, other.id}


def test_start_time_tells_a_process_from_its_successor(sleeper: subprocess.Popen[bytes]) -> None:
    started = started_at(sleeper.pid)
    assert started is not None
    assert processes.is_alive(sleeper.pid, started)
    assert not processes.is_alive(sleeper.pid, started + 1)


def test_kill_leaves_a_process_with_another_start_time_alone(
    sleeper: subprocess.Popen[bytes],
) -> None:
    started = started_at(sleeper.pid)
    assert started is not None
    processes.kill({sleeper.pid: started + 1}, deadline=1)
    assert sleeper.poll() is None


def test_kill_ends_a_process(sleeper: subprocess.Popen[bytes]) -> None:
    started = started_at(sleeper.pid)
    assert started is not None
    processes.kill({sleeper.pid: started}, deadline=60)
    assert not processes.is_alive(sleeper.pid, started)


def test_teardown_ends_a_marked_process_that_the_journal_does_not_know() -> None:
    record = claim()
    process = subprocess.Popen(
        [sys.executable, "-c", "import time; time.sleep(60)"],
        env={**os.environ, processes.MARK: record.id},
    )
    end = time.monotonic() + 60
    while process.pid not in processes.marked_with(record.id):
        assert time.monotonic() < end
    assert leftovers(record.id, []) == [f"process {process.pid} carries the lab's mark"]
    tear_down(record)
    assert process.wait(60) == -9
    assert not record.folder.exists()


def test_shared_store_links_what_is_immutable_and_copies_the_rest(tmp_path: Path) -> None:
    store, target = tmp_path / "store", tmp_path / "target"
    snapshots = store / "snapshotter" / "snapshots" / "1" / "fs"
    blobs = store / "content" / "blobs" / "sha256"
    for folder in (snapshots, blobs, store / "meta", target):
        folder.mkdir(parents=True)
    (blobs / "abc").write_text("layer")
    (store / "meta" / "meta.db").write_text("database")
    share_store(store, target)
    assert (target / "content" / "blobs" / "sha256" / "abc").is_symlink()
    assert (target / "snapshotter" / "snapshots" / "1").is_symlink()
    assert not (target / "meta" / "meta.db").is_symlink()
    assert (target / "meta" / "meta.db").read_text() == "database"
