"""What is removed from the cache, and what never is."""

from __future__ import annotations

import argparse
import os
import time
from pathlib import Path

import pytest
from filelock import FileLock
from mesh_examples import SCENARIOS

from mesh_fixtures import records
from mesh_fixtures.artifacts import catalog
from mesh_fixtures.artifacts.cache import Cache, Entry, cache_root, remove_leftovers
from mesh_fixtures.artifacts.eviction import DAY, PULLED, STALE, evict, evict_stale, prune
from mesh_fixtures.artifacts.folders import remove
from mesh_fixtures.artifacts.parts import Part, Work, keys_of
from mesh_fixtures.commands import artifacts as command
from mesh_fixtures.progress import Progress, discard

QUIET = Progress("artifacts")


def fill(work: Work) -> None:
    (work.into / "file").write_text(work.part)


def old_and_new(root: Path) -> tuple[list[Part], Path, Path]:
    """Two versions of a part, the first last used a long time ago; the parts are the second's."""
    parts = [Part("a", {"version": "old"}, fill)]
    old = Cache(root).ensure(parts, QUIET)["a"].folder
    age(old)
    parts = [Part("a", {"version": "new"}, fill)]
    return parts, old, Cache(root).ensure(parts, QUIET)["a"].folder


def current(parts: list[Part]) -> dict[str, set[str]]:
    return {name: {key} for name, key in keys_of(parts).items()}


def age(folder: Path, seconds: float = 100 * DAY) -> None:
    then = time.time() - seconds
    for path in (folder, folder.with_name(f"{folder.name}.json")):
        os.utime(path, (then, then))


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty machine, without a lab; the cache's folder."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return cache_root()


def make_lab() -> records.Record:
    with records.exclusive():
        return records.claim(SCENARIOS["multi-primary"], "artifacts", provider="netns")


def test_part_that_nothing_uses_goes_and_the_current_one_stays(tmp_path: Path) -> None:
    parts, old, new = old_and_new(tmp_path)
    age(new)
    assert evict(tmp_path, current(parts), unused_for=DAY) == [f"a {old.name}"]
    assert not old.exists()
    assert {path.suffix for path in (tmp_path / "a").glob(f"{old.name}*")} == {".lock"}
    assert (new / "file").is_file()
    assert set(Cache(tmp_path).find(parts)) == {"a"}
    assert evict(tmp_path, current(parts), unused_for=DAY) == []


def test_use_keeps_a_part(tmp_path: Path) -> None:
    _, old, _ = old_and_new(tmp_path)
    Cache(tmp_path).ensure([Part("a", {"version": "old"}, fill)], QUIET)
    assert evict(tmp_path, {}, unused_for=DAY) == []
    assert (old / "file").is_file()


def test_looking_is_not_using(tmp_path: Path) -> None:
    parts, old, _ = old_and_new(tmp_path)
    Cache(tmp_path).find([Part("a", {"version": "old"}, fill)])
    assert evict(tmp_path, current(parts), unused_for=DAY) == [f"a {old.name}"]


def test_part_that_is_marked_during_eviction_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    parts, old, _ = old_and_new(tmp_path)
    rename = Path.rename

    def use_and_rename(path: Path, target: Path) -> Path:
        if path.name == f"{old.name}.json":
            Entry(old.parent, old.name).mark_used()
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", use_and_rename)
    assert evict(tmp_path, current(parts), unused_for=DAY) == []
    assert set(Cache(tmp_path).find([Part("a", {"version": "old"}, fill)])) == {"a"}


def test_part_that_is_locked_stays(tmp_path: Path) -> None:
    parts, old, _ = old_and_new(tmp_path)
    with FileLock(tmp_path / "a" / f"{old.name}.lock"):
        assert evict(tmp_path, current(parts), unused_for=DAY) == []
    assert old.is_dir()


def test_removal_that_was_killed_is_finished_later(tmp_path: Path) -> None:
    parts, old, _ = old_and_new(tmp_path)
    # the record is out of the way, the folder still in place; then both
    record = old.with_name(f"{old.name}.json")
    record.rename(old.with_name(f"{old.name}.partial-1.json"))
    assert evict(tmp_path, current(parts), unused_for=DAY) == [f"a {old.name}"]
    left = old.with_name(f"{old.name}.partial-1")
    left.mkdir()
    remove_leftovers(tmp_path)
    assert not list((tmp_path / "a").glob("*.partial-*"))
    assert not old.exists()


def test_nothing_is_evicted_unasked_while_a_lab_exists(machine: Path) -> None:
    parts, old, _ = old_and_new(machine)
    lab = make_lab()
    assert evict_stale(machine, keys_of(parts)) == []
    assert old.is_dir()
    remove(lab.folder)
    assert evict_stale(machine, keys_of(parts)) == [f"a {old.name}"]


def test_pulled_images_of_several_builds_stay_for_as_long_as_they_are_used(tmp_path: Path) -> None:
    for part in PULLED:
        parts = [Part(part, {"images": str(number)}, fill) for number in range(3)]
        first, second, third = (Cache(tmp_path).ensure([each], QUIET)[part] for each in parts)
        age(first.folder)
        age(second.folder, STALE - DAY)
        assert evict(tmp_path, {}, unused_for=0) == [f"{part} {first.key}"]
        assert second.folder.is_dir()
        assert third.folder.is_dir()


def control_plane(machine: Path, name: str) -> Path:
    folder = machine.parent / "control-planes" / name
    (folder / "etcd").mkdir(parents=True)
    return folder


def test_prune_removes_what_is_stale_and_control_planes(machine: Path) -> None:
    _, old, recent = old_and_new(machine)
    planes = [control_plane(machine, name) for name in ("0123", ".new-abc")]
    left = machine / "a" / "key.partial-1"
    left.mkdir()
    removed = prune().removed
    assert removed == [f"a {old.name}", "control plane .new-abc", "control plane 0123"]
    assert not [path for path in (old, left, *planes) if path.exists()]
    assert recent.is_dir(), "it was used a moment ago"
    assert prune().removed == []


def test_prune_removes_recordings(machine: Path) -> None:
    folder = machine.parent / "recordings"
    folder.mkdir(parents=True)
    (folder / "0123.gz").touch()
    assert prune().removed == ["recordings: 1"]
    assert prune().removed == []


def test_prune_leaves_control_planes_that_are_being_made(machine: Path) -> None:
    plane = control_plane(machine, ".new-abc")
    with FileLock(plane.parent / ".lock"):
        assert prune().removed == []
    assert plane.is_dir()


def test_prune_removes_nothing_while_a_lab_exists(
    machine: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _, old, _ = old_and_new(machine)
    plane = control_plane(machine, "0123")
    lab = make_lab()
    assert command.run(argparse.Namespace(prune=True), discard) == 0
    output = capsys.readouterr().out
    assert lab.id in output
    assert "down --all" in output
    assert old.is_dir()
    assert plane.is_dir()


def test_prune_says_what_it_removed(machine: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = argparse.Namespace(prune=True)
    assert command.run(arguments, discard) == 0
    assert "removed: nothing" in capsys.readouterr().out
    _, old, _ = old_and_new(machine)
    assert command.run(arguments, discard) == 0
    assert f"removed: a {old.name}" in capsys.readouterr().out


def test_current_parts_are_those_of_the_catalog(
    machine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    parts, old, new = old_and_new(machine)
    monkeypatch.setattr(catalog, "parts", lambda *_: tuple(parts))
    age(new)
    assert prune().removed == [f"a {old.name}"]
    assert new.is_dir()
