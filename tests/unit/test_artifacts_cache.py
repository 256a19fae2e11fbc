"""The cache of built parts: keys, wholeness, one build at a time, what a failure leaves."""

from __future__ import annotations

import multiprocessing
import os
import sys
import threading
import time
from pathlib import Path

import pytest
from filelock import FileLock

from mesh_fixtures.artifacts.cache import Cache
from mesh_fixtures.artifacts.folders import remove, size_of
from mesh_fixtures.artifacts.parts import Part, Work, keys_of
from mesh_fixtures.errors import ArtifactError
from mesh_fixtures.progress import Progress, ProgressEvent


def fill(work: Work) -> None:
    (work.into / "file").write_text(work.part)


def part(name: str, *needs: str, build=fill, lane: str = "files", **inputs: str) -> Part:  # type: ignore[no-untyped-def]
    return Part(name, inputs, build, needs=needs, lane=lane)


QUIET = Progress("artifacts")


def test_key_is_stable_and_follows_inputs_name_and_needs() -> None:
    def key(**inputs: str) -> dict[str, str]:
        return keys_of([part("a", **inputs), part("b", "a"), part("c")])

    assert key(x="1") == key(x="1")
    changed = key(x="2")
    assert changed["a"] != key(x="1")["a"]
    assert changed["b"] != key(x="1")["b"], "what is made of a changed part changes too"
    assert changed["c"] == key(x="1")["c"]
    assert keys_of([part("a")])["a"] != keys_of([part("c")])["c"]


def test_part_must_come_after_its_needs() -> None:
    with pytest.raises(ValueError, match="b needs a"):
        keys_of([part("b", "a"), part("a")])


def test_builds_once_and_hands_needs_over(tmp_path: Path) -> None:
    calls: list[str] = []

    def joined(work: Work) -> None:
        calls.append(work.part)
        (work.into / "file").write_text((work.needs["a"] / "file").read_text() + "b")

    parts = [part("a"), part("b", "a", build=joined, lane="other")]
    cache = Cache(tmp_path)
    assert cache.find(parts) == {}
    first = cache.ensure(parts, QUIET)
    assert (first["b"].folder / "file").read_text() == "ab"
    assert first["b"].folder == tmp_path / "b" / keys_of(parts)["b"]
    assert first["b"].size > 0
    second = cache.ensure(parts, QUIET)
    assert calls == ["b"]
    assert second["b"].seconds == first["b"].seconds
    assert not list(tmp_path.glob("*/*.partial-*"))


def test_failed_build_leaves_nothing_and_is_named(tmp_path: Path) -> None:
    def fail(work: Work) -> None:
        (work.into / "half").write_text("half")
        raise ArtifactError(wanted="a build", seen="it broke", where="here")

    parts = [part("good"), part("bad", "good", build=fail), part("after", "bad")]
    events: list[ProgressEvent] = []
    with pytest.raises(ArtifactError, match="it broke"):
        Cache(tmp_path).ensure(parts, Progress("artifacts", events.append))
    assert set(Cache(tmp_path).find(parts)) == {"good"}
    assert [path.name for path in (tmp_path / "bad").iterdir() if path.is_dir()] == []
    assert ("bad", "failed") in {(event.phase, event.outcome) for event in events}
    assert not [event for event in events if event.phase == "after"]
    assert Cache(tmp_path).ensure([part("good"), part("bad", "good")], QUIET)["bad"].size > 0


def test_failure_stops_programs_of_other_lanes(tmp_path: Path) -> None:
    started = threading.Event()

    def slow(work: Work) -> None:
        started.set()
        work.run([sys.executable, "-c", "import time; time.sleep(1000)"], what="to sleep")

    def fail(work: Work) -> None:
        assert started.wait(100)
        raise ArtifactError(wanted="a build", seen="the cause", where="here")

    with pytest.raises(ArtifactError, match="the cause"):
        Cache(tmp_path).ensure(
            [part("slow", build=slow, lane="one"), part("bad", build=fail, lane="two")], QUIET
        )


def test_partial_build_is_neither_used_nor_kept(tmp_path: Path) -> None:
    parts = [part("a")]
    key = keys_of(parts)["a"]
    left = tmp_path / "a" / f"{key}.partial-1" / "content"
    left.mkdir(parents=True)
    (left / "file").write_text("half")
    other = tmp_path / "a" / "otherkey.partial-2"
    other.mkdir()
    assert Cache(tmp_path).find(parts) == {}
    assert (Cache(tmp_path).ensure(parts, QUIET)["a"].folder / "file").read_text() == "a"
    assert not list((tmp_path / "a").glob("*.partial-*"))


def test_partial_build_that_lives_is_left_alone(tmp_path: Path) -> None:
    other = tmp_path / "a" / "otherkey.partial-2"
    other.mkdir(parents=True)
    with FileLock(tmp_path / "a" / "otherkey.lock"):
        Cache(tmp_path).ensure([part("a")], QUIET)
    assert other.is_dir()


def test_record_without_folder_is_not_there(tmp_path: Path) -> None:
    parts = [part("a")]
    built = Cache(tmp_path).ensure(parts, QUIET)["a"]
    remove(built.folder)
    assert Cache(tmp_path).find(parts) == {}
    assert (Cache(tmp_path).ensure(parts, QUIET)["a"].folder / "file").is_file()


def test_folder_without_record_is_built_again(tmp_path: Path) -> None:
    parts = [part("a")]
    built = Cache(tmp_path).ensure(parts, QUIET)["a"]
    built.folder.with_name(f"{built.key}.json").unlink()
    (built.folder / "other").touch()
    assert Cache(tmp_path).find(parts) == {}
    assert [file.name for file in Cache(tmp_path).ensure(parts, QUIET)["a"].folder.iterdir()] == [
        "file"
    ]


def slow_count(work: Work) -> None:
    with (work.into.parents[2] / "calls").open("a") as calls:
        calls.write(f"{os.getpid()}\n")
    time.sleep(0.7)
    fill(work)


def ensure_in_process(root: str) -> None:
    Cache(Path(root)).ensure([part("a", build=slow_count)], QUIET)


def test_processes_build_once_and_the_other_waits(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=ensure_in_process, args=(str(tmp_path),)) for _ in "ab"]
    for process in processes:
        process.start()
    for process in processes:
        process.join(100)
    assert [process.exitcode for process in processes] == [0, 0]
    assert len((tmp_path / "calls").read_text().splitlines()) == 1


def test_waiting_says_for_whom_and_ends(tmp_path: Path) -> None:
    parts = [part("a")]
    key = keys_of(parts)["a"]
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / f"{key}.owner").write_text("process 4711\n")
    events: list[ProgressEvent] = []
    lock = FileLock(tmp_path / "a" / f"{key}.lock")
    with lock, pytest.raises(ArtifactError, match="still building"):
        Cache(tmp_path, deadline=0.6).ensure(parts, Progress("x", events.append))
    assert any("process 4711 is building it" in event.detail for event in events)


def test_os_error_becomes_artifact_error(tmp_path: Path) -> None:
    def full(work: Work) -> None:
        raise OSError(28, "No space left on device")

    with pytest.raises(ArtifactError, match="XDG_CACHE_HOME") as caught:
        Cache(tmp_path).ensure([part("a", build=full)], QUIET)
    assert "No space left" in caught.value.seen


def test_prefetch_runs_early_and_may_fail(tmp_path: Path) -> None:
    fetched = threading.Event()

    def prefetch(work: Work) -> None:
        fetched.set()
        raise ArtifactError(wanted="a download", seen="no network", where="here")

    def wait(work: Work) -> None:
        assert fetched.wait(100)
        fill(work)

    later = Part("later", {}, fill, lane="one", prefetch=prefetch)
    Cache(tmp_path).ensure([part("first", build=wait, lane="one"), later], QUIET)


def test_size_counts_a_file_with_two_names_once(tmp_path: Path) -> None:
    (tmp_path / "one").write_bytes(b"x" * 100_000)
    alone = size_of(tmp_path)
    os.link(tmp_path / "one", tmp_path / "two")
    assert size_of(tmp_path) == alone


def test_remove_takes_read_only_folders_files_and_links(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    remove(tmp_path / "file")
    (tmp_path / "link").symlink_to(tmp_path)
    remove(tmp_path / "link")
    assert not list(tmp_path.iterdir())
    folder = tmp_path / "module"
    (folder / "inner").mkdir(parents=True)
    (folder / "inner" / "file").write_text("")
    (folder / "inner").chmod(0o500)
    remove(folder)
    remove(folder)
    assert not folder.exists()
