"""Programs that builds run: output, failure, deadline."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace

import pytest

from mesh_fixtures.artifacts.command import Limits, run
from mesh_fixtures.errors import ArtifactError
from mesh_fixtures.ownership import started_at


def python(
    script: str,
    tmp_path: Path,
    *,
    seconds: float = 200.0,
    remedy: str = "",
    env: Mapping[str, str] | None = None,
) -> str:
    return run(
        [sys.executable, "-c", script],
        what="a result",
        log=tmp_path / "log",
        limits=Limits(time.monotonic() + seconds),
        remedy=remedy,
        env=env,
    )


def test_returns_standard_output_alone(tmp_path: Path) -> None:
    assert python("import sys; print('out'); print('err', file=sys.stderr)", tmp_path) == "out\n"


def test_environment_is_added_and_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GONE", "x")
    script = "import os; print(os.environ.get('ADDED'), os.environ.get('GONE'))"
    assert python(script, tmp_path, env={"ADDED": "y", "GONE": ""}) == "y None\n"


def test_failure_shows_status_command_and_output(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError) as caught:
        python("import sys; print('reason'); sys.exit(3)", tmp_path, remedy="mend it")
    assert "exit status 3" in caught.value.seen
    assert "reason" in caught.value.seen
    assert "sys.exit(3)" in caught.value.seen
    assert caught.value.remedy == "mend it"


def test_full_disk_has_its_own_remedy(tmp_path: Path) -> None:
    script = "import sys; sys.exit('write: No space left on device')"
    with pytest.raises(ArtifactError, match="XDG_CACHE_HOME"):
        python(script, tmp_path)


def test_missing_program_is_named(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="install no-such-program"):
        run(
            ["no-such-program"],
            what="a result",
            log=tmp_path / "log",
            limits=Limits(time.monotonic() + 5),
        )


def test_deadline_ends_the_program_and_its_children(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    child = tmp_path / "child"
    clock = SimpleNamespace(monotonic=lambda: 2.0 if child.exists() else 0.0, sleep=time.sleep)
    monkeypatch.setattr("mesh_fixtures.artifacts.command.time", clock)
    run_for_ever = f"sleep 1000 & echo $! > {child}.new; mv {child}.new {child}; wait"
    with pytest.raises(ArtifactError, match="still running at its deadline"):
        run(["sh", "-c", run_for_ever], what="a result", log=tmp_path / "log", limits=Limits(1.0))
    end = time.monotonic() + 60
    while started_at(int(child.read_text())) is not None:
        assert time.monotonic() < end
        time.sleep(0.01)


def test_stop_ends_the_program(tmp_path: Path) -> None:
    stop = threading.Event()
    stop.set()
    with pytest.raises(ArtifactError, match="stopped"):
        run(
            ["sleep", "1000"],
            what="a result",
            log=tmp_path / "log",
            limits=Limits(time.monotonic() + 1000, stop),
        )
