"""A disk that is full while artifacts are built: an error that says so, and nothing half built."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.small_disk import small_disk

from .machine import PROGRAMS, PROJECT, require_as_before, snapshot

SIZE = "48m"
"""Less than any of the larger artifacts."""


@pytest.mark.timeout(300)
def test_a_full_disk_is_said_and_leaves_no_half_artifact(tmp_path: Path) -> None:
    before = snapshot()
    with small_disk(tmp_path / "small", SIZE) as disk:
        built = subprocess.run(
            [str(PROGRAMS / "mesh-conformance"), "artifacts"],
            cwd=PROJECT,
            env={**os.environ, "XDG_CACHE_HOME": str(disk)},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
        )
        kept = [path for path in (disk / "mesh-conformance").rglob("*") if path.is_file()]
        large = [path for path in kept if path.stat().st_size > 1_000_000]
    assert built.returncode == 1, built.stderr
    assert "no space left on device" in built.stderr.lower()
    assert "what to do: " in built.stderr
    assert not large, large
    require_as_before(before)
