"""A disk that is full while artifacts are built: an error that says so, and nothing half built."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from .machine import PROGRAMS, PROJECT, require_as_before, snapshot

SIZE = "48m"


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system that holds none of the larger artifacts."""
    folder = tmp_path / "small"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={SIZE}", "tmpfs", str(folder)]
    subprocess.run(mount, check=True, timeout=20)
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True, timeout=20)


@pytest.mark.timeout(300)
def test_a_full_disk_is_said_and_leaves_no_half_artifact(small_disk: Path) -> None:
    before = snapshot()
    built = subprocess.run(
        [str(PROGRAMS / "mesh-conformance"), "artifacts"],
        cwd=PROJECT,
        env={**os.environ, "XDG_CACHE_HOME": str(small_disk)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert built.returncode == 1, built.stderr
    assert "no space left on device" in built.stderr.lower()
    assert "what to do: " in built.stderr
    kept = [path for path in (small_disk / "mesh-conformance").rglob("*") if path.is_file()]
    assert not [path for path in kept if path.stat().st_size > 1_000_000], kept
    require_as_before(before)
