"""What becomes of a build, and of the programs that it runs, when its process is ended."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mesh_fixtures.artifacts.cache import Cache
from mesh_fixtures.artifacts.parts import Part, keys_of
from mesh_fixtures.ownership import started_at
from mesh_fixtures.progress import Progress

PATIENCE = 60.0

# as `mesh-conformance artifacts` does it, with one part whose build never ends
BUILD = """
import sys
from pathlib import Path
from mesh_fixtures import cli
from mesh_fixtures.artifacts import build, catalog
from mesh_fixtures.artifacts.parts import Part

child = '(trap "" TERM; exec sleep 1000) &'
script = child + ' echo $$ $! > "$1.new"; mv "$1.new" "$1"; wait'

def never_end(work):
    work.run(["sh", "-c", script, "sh", sys.argv[1]], what="to build for ever")

catalog.parts = lambda *versions: (Part("a", {}, never_end),)
sys.exit(cli.main(["artifacts", "--parts", "built"]))
"""


def eventually(what: str, holds: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE
    while not holds():
        assert time.monotonic() < end, what
        time.sleep(0.01)


@pytest.fixture
def building(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[subprocess.Popen[bytes], list[int]]]:
    """A process that builds, and the pids of its program and of that program's child."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    pids = tmp_path / "pids"
    said = tmp_path / "said"
    with said.open("wb") as stderr:
        process = subprocess.Popen([sys.executable, "-c", BUILD, pids], stderr=stderr)
    try:
        eventually("the program starts", lambda: pids.exists() or process.poll() is not None)
        assert pids.exists(), said.read_text()
        yield process, [int(pid) for pid in pids.read_text().split()]
    finally:
        process.kill()
        process.wait()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_signal_ends_the_programs_and_leaves_nothing(
    building: tuple[subprocess.Popen[bytes], list[int]], tmp_path: Path, number: signal.Signals
) -> None:
    process, programs = building
    process.send_signal(number)
    assert process.wait(PATIENCE) == 130
    eventually("the programs end", lambda: not any(started_at(pid) for pid in programs))
    home = tmp_path / "cache/mesh-conformance/artifacts/a"
    assert {path.suffix for path in home.iterdir()} == {".lock"}


def test_killed_build_takes_its_program_along_and_the_next_one_works(
    building: tuple[subprocess.Popen[bytes], list[int]], tmp_path: Path
) -> None:
    process, (program, orphan) = building
    process.kill()
    process.wait(PATIENCE)
    eventually("the kernel ends the program", lambda: started_at(program) is None)
    try:
        assert started_at(orphan), "which may have left children"
        parts = [Part("a", {}, lambda work: (work.into / "file").touch())]
        root = tmp_path / "cache/mesh-conformance/artifacts"
        built = Cache(root, deadline=PATIENCE).ensure(parts, Progress("artifacts"))["a"]
        assert [path.name for path in built.folder.iterdir()] == ["file"]
        assert not list((root / "a").glob(f"{keys_of(parts)['a']}.partial-*"))
    finally:
        subprocess.run(["kill", "-KILL", str(orphan)], check=False)
