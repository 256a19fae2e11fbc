"""The place of one part of one key on disk: its content, its record, its lock."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from mesh_fixtures.artifacts.folders import remove

_PARTIAL = ".partial-"


@dataclass(frozen=True)
class Entry:
    """A part of one key, whether it is there or not.

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
        if any(entry.home.glob(f"{entry.key}.partial-*")):
            with entry.locked_if_free() as held:
                if held:
                    entry.remove_partial()
