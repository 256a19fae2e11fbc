"""Folders of parts: their size, their removal, files that two of them share."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from types import TracebackType


def size_of(folder: Path) -> int:
    """Bytes that a folder occupies; a file with several names counts once."""
    seen: set[int] = set()
    total = 0
    for place, _, files in os.walk(folder):
        for name in files:
            info = Path(place, name).lstat()
            if info.st_ino not in seen:
                seen.add(info.st_ino)
                total += info.st_blocks * 512
    return total


def remove(path: Path) -> None:
    """Remove a folder, also where its own modes would forbid it, or a file.

    Nothing when it is not there.
    """

    def loosen(
        call: Callable[[str], object],
        path: str,
        reason: tuple[type[BaseException], BaseException, TracebackType],
    ) -> None:
        if isinstance(reason[1], FileNotFoundError):
            return
        Path(path).parent.chmod(0o700)
        call(path)

    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, onerror=loosen)
    else:
        path.unlink(missing_ok=True)


def link(source: Path, target: Path) -> None:
    """Give a file another name, or copy it where the file system or the kernel forbids that."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)
