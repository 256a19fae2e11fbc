"""A disk that is soon full."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


@contextmanager
def small_disk(folder: Path, size: str = "1m") -> Iterator[Path]:
    """A new folder with room for almost nothing; skips a test that is not run by root.

    Args:
        size: as `mount` has it, of tmpfs.
    """
    if os.geteuid() != 0:
        pytest.skip("file systems are mounted by root alone")
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
    subprocess.run(mount, check=True, timeout=20)
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True, timeout=20)
