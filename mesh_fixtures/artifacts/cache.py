"""Keeps built parts by the digest of what they are made of, and builds those that are missing.

A part lies in `<root>/<name>/<key>`. It is made in a folder beside that and renamed, so what is
there is whole. A lock for each key lets other processes wait for a build that is under way; the
folder of a build whose process died is removed by whoever holds the lock next.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from filelock import FileLock, Timeout

from mesh_fixtures.artifacts.command import DISK_REMEDY, Limits
from mesh_fixtures.artifacts.folders import remove, size_of
from mesh_fixtures.artifacts.parts import Built, Part, Work, keys_of
from mesh_fixtures.errors import ArtifactError, MeshConformanceError
from mesh_fixtures.patience import patient
from mesh_fixtures.progress import Progress

_DEADLINE: Final = 3600.0
_POLL_SECONDS: Final = 0.5
_PARTIAL: Final = ".partial-"


def cache_root() -> Path:
    """`$XDG_CACHE_HOME/mesh-conformance/artifacts`, or the same below ~/.cache."""
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(home) / "mesh-conformance" / "artifacts"


@dataclass(frozen=True)
class Entry:
    """The place of a part of one key on disk, whether it is there or not.

    Lock files stay when the rest is removed: a lock file that is unlinked while another process
    waits for it guards nothing.

    Attributes:
        home: folder of all keys of the part.
        key: digest of what the part is made of.
    """

    home: Path
    key: str

    @property
    def folder(self) -> Path:
        """The content; whole whenever it exists."""
        return self.home / self.key

    @property
    def record(self) -> Path:
        """Facts about the build, as JSON; its modification time is when the part was last used."""
        return self.home / f"{self.key}.json"

    @property
    def owner(self) -> Path:
        """Says who holds the lock, for people."""
        return self.home / f"{self.key}.owner"

    @property
    def lock(self) -> FileLock:
        return FileLock(self.home / f"{self.key}.lock")

    @property
    def partial(self) -> Path:
        """What this process makes or unmakes beside the content."""
        return self.home / f"{self.key}{_PARTIAL}{os.getpid()}"

    @contextlib.contextmanager
    def locked_if_free(self) -> Iterator[bool]:
        """Hold the lock if no other process does; whether it is held."""
        lock = self.lock
        try:
            lock.acquire(timeout=0)
        except Timeout:
            yield False
            return
        try:
            yield True
        finally:
            lock.release()

    def mark_used(self) -> None:
        """Remember that the part is used now; nothing when it is not there."""
        with contextlib.suppress(OSError):
            os.utime(self.record)

    def remove_partial(self) -> None:
        """Remove what dead builds of this key left; to be called with the lock held.

        A program that such a build started may still be writing there, unknown to anybody: what
        cannot be removed for that reason is left to a later call.
        """
        for left in self.home.glob(f"{self.key}{_PARTIAL}*"):
            with contextlib.suppress(OSError):
                remove(left)

    def discard(self, *, used_before: float) -> bool:
        """Remove the part unless it was used later; to be called with the lock held.

        The record goes first, and is put back if somebody marked the part as used meanwhile: so a
        part that a process has marked and then found stays.

        Args:
            used_before: seconds since the epoch.

        Returns:
            Whether something was removed.
        """
        aside = self.partial.with_name(f"{self.partial.name}.json")
        try:
            self.record.rename(aside)
        except FileNotFoundError:
            if not self.folder.exists() or self.folder.stat().st_mtime > used_before:
                return False
        else:
            if aside.stat().st_mtime > used_before:
                aside.rename(self.record)
                return False
        remove(self.partial)
        if self.folder.exists():
            self.folder.rename(self.partial)
        self.remove_partial()
        return True


def entries(root: Path) -> Iterator[Entry]:
    """Everything below the cache's folder, whole or partial."""
    if not root.is_dir():
        return
    for home in sorted(root.iterdir()):
        if home.is_dir():
            left = [path.name for path in home.iterdir() if path.suffix not in (".lock", ".owner")]
            for key in sorted({name.partition(".")[0] for name in left}):
                yield Entry(home, key)


def remove_leftovers(root: Path) -> None:
    """Remove what dead builds left; a build that is under way holds its lock and is left alone."""
    for entry in entries(root):
        if any(entry.home.glob(f"{entry.key}{_PARTIAL}*")):
            with entry.locked_if_free() as held:
                if held:
                    entry.remove_partial()


@dataclass
class Cache:
    """Built parts below one folder.

    Attributes:
        root: the folder; made when needed.
        deadline: seconds for one call of `ensure`, waiting for other processes included.
    """

    root: Path
    deadline: float = field(default_factory=lambda: patient(_DEADLINE))
    _stop: threading.Event = field(default_factory=threading.Event)

    def find(self, parts: Sequence[Part]) -> dict[str, Built]:
        """The parts that are there already; changes nothing."""
        found = {}
        for name, key in keys_of(parts).items():
            built = _load(self._entry(name, key))
            if built is not None:
                found[name] = built
        return found

    def versions_of(self, part: str) -> list[tuple[Mapping[str, str], Path]]:
        """Inputs and folder of each version of a part that is there, the one used last at the end;
        changes nothing.
        """
        found = []
        for record in (self.root / part).glob("*.json"):
            entry = Entry(record.parent, record.stem)
            with contextlib.suppress(OSError, ValueError, KeyError):
                inputs = json.loads(record.read_text())["inputs"]
                if entry.folder.is_dir():
                    found.append((record.stat().st_mtime, inputs, entry.folder))
        return [(inputs, folder) for _, inputs, folder in sorted(found, key=lambda each: each[0])]

    def ensure(self, parts: Sequence[Part], progress: Progress) -> dict[str, Built]:
        """Build what is missing; independent lanes at the same time.

        Returns:
            The parts by name, without those that are made on demand.

        Raises:
            ArtifactError: a part could not be built; those that were done stay.
        """
        keys = keys_of(parts)
        for name, key in keys.items():
            self._entry(name, key).mark_used()
        found = self.find(parts)
        missing = [part for part in parts if part.name not in found]
        used = {name for part in missing for name in part.uses}
        missing = [part for part in missing if not part.on_demand or part.name in used]
        wanted = [part.name for part in parts if not part.on_demand]
        if not missing:
            return {name: found[name] for name in wanted}
        remove_leftovers(self.root)
        self._stop = threading.Event()
        limits = Limits(time.monotonic() + self.deadline, self._stop)
        futures: dict[str, Future[Built]] = {}
        lanes = {
            lane: ThreadPoolExecutor(1, thread_name_prefix=f"artifacts-{lane}")
            for lane in sorted({part.lane for part in missing} | {"prefetch"})
        }
        try:
            for part in missing:
                if part.prefetch is not None:
                    lanes["prefetch"].submit(self._prefetch, part, limits, progress)
            for part in missing:
                needs = {
                    need: futures.get(need) or found[need] for need in (*part.needs, *part.uses)
                }
                futures[part.name] = lanes[part.lane].submit(
                    self._make, part, keys[part.name], needs, limits, progress
                )
            errors = [future.exception() for future in futures.values()]
        except BaseException:
            self._stop.set()
            raise
        finally:
            for pool in lanes.values():
                pool.shutdown(wait=True, cancel_futures=True)
        for error in sorted(filter(None, errors), key=_is_consequence):
            raise error
        made = found | {name: future.result() for name, future in futures.items()}
        return {name: made[name] for name in wanted}

    def _prefetch(self, part: Part, limits: Limits, progress: Progress) -> None:
        if part.prefetch is None or limits.stop.is_set():
            return
        with tempfile.TemporaryDirectory(prefix="mesh-prefetch-") as name:
            folder = Path(name)
            work = Work(
                folder, folder, {}, limits.within(patient(part.seconds)), progress, part.name
            )
            with contextlib.suppress(MeshConformanceError, OSError):
                part.prefetch(work)

    def _make(
        self,
        part: Part,
        key: str,
        needs: Mapping[str, Future[Built] | Built],
        limits: Limits,
        progress: Progress,
    ) -> Built:
        try:
            folders: dict[str, Path] = {}
            for name, need in needs.items():
                folders[name] = (need.result() if isinstance(need, Future) else need).folder
            if limits.stop.is_set():
                raise _Skipped
            entry = self._entry(part.name, key)
            with _locked(entry, part.name, limits, progress):
                entry.remove_partial()
                there = _load(entry)
                if there is not None:
                    return there
                with progress.phase(part.name, detail=f"build {key}"):
                    built = _build(part, entry, folders, limits, progress)
                progress.note(part.name, f"{built.size / 2**20:.0f} MiB in {built.seconds:.0f} s")
                return built
        except BaseException:
            limits.stop.set()
            raise

    def _entry(self, name: str, key: str) -> Entry:
        return Entry(self.root / name, key)


def _build(
    part: Part, entry: Entry, needs: Mapping[str, Path], limits: Limits, progress: Progress
) -> Built:
    """Make the part beside its place and move it there; to be called with the lock held."""
    partial = entry.partial
    work = Work(
        partial / "content",
        partial / "scratch",
        needs,
        limits.within(patient(part.seconds)),
        progress,
        part.name,
    )
    begun = time.monotonic()
    try:
        work.into.mkdir(parents=True)
        work.scratch.mkdir()
        part.build(work)
        seconds = time.monotonic() - begun
        size = size_of(work.into)
        facts = {"seconds": seconds, "size": size, "inputs": dict(part.inputs)}
        entry.record.write_text(json.dumps(facts, indent=1, sort_keys=True))
        remove(entry.folder)  # without a readable record it counts for nothing
        work.into.rename(entry.folder)
    except OSError as error:
        raise ArtifactError(
            wanted=f"the artifact {part.name}",
            seen=str(error),
            where=str(entry.home),
            remedy=DISK_REMEDY if error.errno == errno.ENOSPC else "",
        ) from error
    finally:
        remove(partial)
    return Built(part.name, entry.key, entry.folder, size, seconds)


def _load(entry: Entry) -> Built | None:
    try:
        facts = json.loads(entry.record.read_text())
        size, seconds = int(facts["size"]), float(facts["seconds"])
    except (OSError, ValueError, KeyError):
        return None
    if not entry.folder.is_dir():
        return None
    return Built(entry.home.name, entry.key, entry.folder, size, seconds)


@contextlib.contextmanager
def _locked(entry: Entry, name: str, limits: Limits, progress: Progress) -> Iterator[None]:
    """Hold the entry's lock; while another process holds it, say so and wait."""
    entry.home.mkdir(parents=True, exist_ok=True)
    lock, owner = entry.lock, entry.owner
    noted = False
    while True:
        try:
            lock.acquire(timeout=_POLL_SECONDS)
            break
        except Timeout:
            if not noted:
                noted = True
                with contextlib.suppress(OSError):
                    progress.note(name, f"waiting: {owner.read_text().strip()} is building it")
            if limits.stop.is_set() or time.monotonic() > limits.deadline:
                raise ArtifactError(
                    wanted=f"the artifact {name}",
                    seen="another process is still building it",
                    where=str(entry.folder),
                    remedy="wait for that process, or end it",
                ) from None
    try:
        owner.write_text(f"process {os.getpid()}\n")
        yield
    finally:
        owner.unlink(missing_ok=True)
        lock.release()


class _Skipped(ArtifactError):
    """A part that was not tried, because another failed."""

    def __init__(self) -> None:
        super().__init__(wanted="the artifact", seen="another part failed first", where="artifacts")


def _is_consequence(error: BaseException) -> bool:
    """Whether an error only follows from another part's; such are reported last."""
    return isinstance(error, _Skipped) or "stopped: another part failed" in str(error)
