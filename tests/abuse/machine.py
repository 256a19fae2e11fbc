"""What runs leave on this machine, and how they are started and treated badly."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Final, TypeVar

from mesh_fixtures import records
from mesh_fixtures.lab import processes
from mesh_fixtures.ownership import state_folder

PROGRAMS: Final = Path(sys.executable).parent
PROJECT: Final = Path(__file__).parents[2]
CONFORMANCE: Final = PROJECT / "tests/conformance"
TOPOLOGY: Final = "multi-primary-multi-network"
RUN_SECONDS: Final = 300.0
"""For a whole run of one topology; on an idle machine of two cores it takes a minute."""

_OF_LABS: Final = re.compile(r"mesh-[0-9a-f]{4}")
_NETNS: Final = Path("/run/netns")
_CGROUPS: Final = Path("/sys/fs/cgroup")
_POLL: Final = 0.05

Snapshot = Mapping[str, frozenset[str]]
Value = TypeVar("Value")


def snapshot() -> Snapshot:
    """Everything on this machine that a lab could have made."""
    mounts = Path("/proc/self/mountinfo").read_text(encoding="utf-8").splitlines()
    return {
        "network namespaces": frozenset(_names(_NETNS)),
        "links": frozenset(_names(Path("/sys/class/net"))),
        "routes": frozenset(_output("ip", "route", "show", "table", "all").splitlines()),
        "mounts": frozenset(line.split(maxsplit=4)[4] for line in mounts),
        "control groups": frozenset(
            str(folder) for folder, _, _ in os.walk(_CGROUPS) if _OF_LABS.search(folder)
        ),
        "processes": frozenset(_marks()),
        "files": frozenset(
            str(path) for path in state_folder().rglob("*") if not path.name.endswith(".lock")
        ),
    }


def require_as_before(before: Snapshot) -> None:
    """Nothing that a lab makes came or went since then."""
    __tracebackhide__ = True
    now = snapshot()
    left = {what: sorted(now[what] - before[what]) for what in before if now[what] - before[what]}
    gone = {what: sorted(before[what] - now[what]) for what in before if before[what] - now[what]}
    assert not left, f"left behind: {left}"
    assert not gone, f"removed, though somebody else's: {gone}"


def start(*arguments: str, topology: str = TOPOLOGY) -> subprocess.Popen[str]:
    """A run of the conformance tests on one topology, with its output in a pipe."""
    return subprocess.Popen(
        [
            str(PROGRAMS / "pytest"),
            "-p",
            "no:cacheprovider",
            str(CONFORMANCE),
            "--mesh-topology",
            topology,
            *arguments,
        ],
        cwd=PROJECT,
        env={
            **{key: value for key, value in os.environ.items() if not key.startswith("PYTEST_")},
            "MESH_PATIENCE": "1",  # the limits of these tests are made for these deadlines
        },
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def ended(running: subprocess.Popen[str], seconds: float = RUN_SECONDS) -> str:
    """Output of a run that ends by itself; one that takes too long is killed."""
    try:
        return running.communicate(timeout=seconds)[0]
    except subprocess.TimeoutExpired:
        running.kill()
        output, _ = running.communicate()
        raise AssertionError(f"still running after {seconds:g} s\n{output}") from None


def command(*arguments: str) -> subprocess.CompletedProcess[str]:
    """`mesh-conformance` with these arguments."""
    return subprocess.run(
        [str(PROGRAMS / "mesh-conformance"), *arguments],
        cwd=PROJECT,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=RUN_SECONDS,
        check=False,
    )


def read_until(running: subprocess.Popen[str], said: str, seconds: float = RUN_SECONDS) -> str:
    """Output of a run up to the line that says something."""
    assert running.stdout is not None
    deadline = time.monotonic() + seconds
    lines: list[str] = []
    for line in running.stdout:
        lines.append(line)
        if said in line:
            return "".join(lines)
        if time.monotonic() > deadline:
            break
    raise AssertionError(f"never said {said!r}:\n{''.join(lines)}")


def lab_of(running: subprocess.Popen[str]) -> records.Record:
    """The lab that a run uses."""
    return eventually(
        lambda: next((each for each in records.load_all() if each.owner_pid == running.pid), None)
    )


def api_servers(lab: str) -> list[int]:
    """Pids of a lab's API servers, in the order of their clusters' networks."""
    found = {
        pid: command_line
        for pid in processes.marked_with(lab)
        if (command_line := _command_line(pid)).startswith("kube-apiserver ")
    }
    return sorted(found, key=lambda pid: found[pid])


def eventually(ask: Callable[[], Value | None], seconds: float = 30.0) -> Value:
    """What is there in the end."""
    deadline = time.monotonic() + seconds
    while (found := ask()) is None:
        assert time.monotonic() < deadline, f"nothing after {seconds:g} s"
        time.sleep(_POLL)
    return found


def _names(folder: Path) -> Iterator[str]:
    return (path.name for path in folder.iterdir()) if folder.exists() else iter(())


def _marks() -> Iterator[str]:
    """Labs that have a process."""
    mark = processes.MARK.encode() + b"="
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                environment = (folder / "environ").read_bytes()
            except OSError:
                continue
            yield from (
                each.decode(errors="replace")
                for each in environment.split(b"\0")
                if each.startswith(mark)
            )


def _command_line(pid: int) -> str:
    try:
        content = Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return ""
    return content.replace(b"\0", b" ").decode(errors="replace")


def _output(*argv: str) -> str:
    return subprocess.run(argv, capture_output=True, text=True, timeout=20, check=True).stdout
