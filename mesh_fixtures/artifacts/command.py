"""Runs a program to its end or its deadline, and says what went wrong in words to act on."""

from __future__ import annotations

import contextlib
import errno
import os
import shlex
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from mesh_fixtures.errors import ArtifactError
from mesh_fixtures.patience import patient

OUTPUT_SHOWN: Final = 2500
"""Characters of a failed program's output that its error carries."""

DISK_NEEDED: Final = 20 * 2**30
"""Bytes for a build from nothing: Go's caches take most of it."""

DISK_REMEDY: Final = (
    f"free space until there are {DISK_NEEDED // 2**30} GiB (`mesh-conformance artifacts --prune`, "
    "`go clean -cache`), or point XDG_CACHE_HOME at a larger disk"
)

END_SECONDS: Final = 5.0
"""For a program to end by itself when it is asked to."""

KILL_SECONDS: Final = 10.0
"""For the kernel to end it."""

_POLL_SECONDS: Final = 0.1


@dataclass(frozen=True)
class Limits:
    """When running programs must end.

    Attributes:
        deadline: value of `time.monotonic()` at which they are killed.
        stop: set when their result is no longer wanted; they are killed soon after.
    """

    deadline: float
    stop: threading.Event = field(default_factory=threading.Event)

    def within(self, seconds: float) -> Limits:
        """The same, but at most that many seconds from now."""
        return Limits(min(self.deadline, time.monotonic() + seconds), self.stop)


def run(
    command: Sequence[str | os.PathLike[str]],
    *,
    what: str,
    log: Path,
    limits: Limits,
    remedy: str = "",
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
) -> str:
    """Run a program in a process group of its own, its output going to a file.

    It ends with this call, however that ends. If this process is killed, the kernel kills the
    program; processes that it started in turn may live on until they notice.

    Args:
        what: what the program is for, to follow "wanted".
        log: file for both outputs; standard output alone is returned.
        remedy: what a person can do when it fails, unless the reason suggests something better.
        env: added to this process's environment; an empty value removes a variable.

    Returns:
        Its standard output.

    Raises:
        ArtifactError: it cannot be started, fails, or is still running at the deadline.
    """
    arguments = [os.fspath(argument) for argument in command]
    environment = os.environ | dict(env or {})
    environment = {name: value for name, value in environment.items() if value}
    errors = log.with_name(log.name + ".err")
    program = shutil.which(arguments[0], path=environment.get("PATH"))
    if program is None:
        raise ArtifactError(
            wanted=what,
            seen=f"{arguments[0]} cannot be started: there is no such program",
            where=Path(arguments[0]).name,
            remedy=f"install {arguments[0]}",
        )
    try:
        with log.open("wb") as output, errors.open("wb") as complaints:
            process = subprocess.Popen(
                [*dying_with_this_thread(), program, *arguments[1:]],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=complaints,
                env=environment,
                cwd=cwd,
                start_new_session=True,
            )
            seen = _wait(process, limits)
    except OSError as error:
        raise ArtifactError(
            wanted=what,
            seen=f"{arguments[0]} cannot be started: {error.strerror}",
            where=Path(arguments[0]).name,
            remedy=DISK_REMEDY if error.errno == errno.ENOSPC else remedy,
        ) from error
    text = log.read_text(errors="replace")
    if not seen:
        return text
    shown = (text + errors.read_text(errors="replace")).strip()[-OUTPUT_SHOWN:]
    full = os.strerror(errno.ENOSPC) in shown
    raise ArtifactError(
        wanted=what,
        seen=f"{seen}\n{shown}\n  command: {shlex.join(arguments)}",
        where=Path(arguments[0]).name,
        remedy=DISK_REMEDY if full else remedy,
    )


def dying_with_this_thread() -> list[str]:
    """What to put before a command so that the kernel kills it if this thread ends (prctl(2)).

    The thread that runs a program waits for it, so it ends first only when the process is killed.
    """
    setpriv = shutil.which("setpriv")
    return [setpriv, "--pdeathsig", "KILL", "--"] if setpriv else []


def _wait(process: subprocess.Popen[bytes], limits: Limits) -> str:
    """Wait for a process; returns what was wrong with its end, or nothing."""
    try:
        while True:
            try:
                status = process.wait(timeout=_POLL_SECONDS)
            except subprocess.TimeoutExpired:
                if limits.stop.is_set():
                    return "stopped: another part failed, or the run was interrupted"
                if time.monotonic() >= limits.deadline:
                    return "still running at its deadline"
                continue
            return "" if status == 0 else f"exit status {status}"
    finally:
        if process.poll() is None:
            _end(process)


def _end(process: subprocess.Popen[bytes]) -> None:
    """End the whole process group: politely, then for good.

    The first process is not waited for until the end, so that the group's number stays its own.
    """
    os.killpg(process.pid, signal.SIGTERM)
    end = time.monotonic() + patient(END_SECONDS)
    while not _has_ended(process) and time.monotonic() < end:
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGKILL)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(timeout=patient(KILL_SECONDS))


def _has_ended(process: subprocess.Popen[bytes]) -> bool:
    flags = os.WEXITED | os.WNOHANG | os.WNOWAIT
    return os.waitid(os.P_PID, process.pid, flags) is not None
