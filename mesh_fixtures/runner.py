"""Runs a program to its end or its deadline, with its output in memory.

Four kinds of programs are started elsewhere, as more than the program itself has to be ended or
found again: steps of an installation, which may be pipes (`install/process.py`); builds, which go
with this process even when it is killed (`artifacts/command.py`); kind with its children
(`lab/kind/boot.py`); and a lab's own processes, which outlive the call and stand in its journal
(`lab/netns/launch.py`). `mesh-conformance bench` runs pytest, which has deadlines of its own.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final

from mesh_fixtures.errors import MeshConformanceError

_SHOWN: Final = 2500
"""Characters of a failed program's output that say why."""


@dataclass(frozen=True)
class ProgramResult:
    """How a program ended.

    Attributes:
        status: its exit status (negative: the signal); None when it did not end by itself.
        output: its standard output.
        errors: its standard error; empty where that was merged into `output`.
        trouble: why it did not end by itself.
    """

    status: int | None
    output: str
    errors: str
    trouble: str = ""

    @property
    def explanation(self) -> str:
        """The end of what the program wrote to say why it failed."""
        return (self.errors.strip() or self.output.strip())[-_SHOWN:]

    @property
    def failure(self) -> str:
        """What went wrong; empty when the program succeeded."""
        if self.status == 0:
            return ""
        how = self.trouble or f"exit status {self.status}"
        return f"{how}: {self.explanation}" if self.explanation else how


def run(
    command: Sequence[str | os.PathLike[str]],
    *,
    seconds: float,
    stdin: str | IO[bytes] = "",
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    merged: bool = False,
) -> ProgramResult:
    """Run a program, whether it succeeds or not. It is killed at its deadline.

    Args:
        stdin: its standard input; a file is read from where it stands.
        env: all of its environment; None for this process's.
        merged: take standard error as part of the standard output.
    """
    try:
        done = subprocess.run(
            command,
            input=stdin.encode() if isinstance(stdin, str) else None,
            stdin=None if isinstance(stdin, str) else stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT if merged else subprocess.PIPE,
            timeout=seconds,
            check=False,
            env=env,
            cwd=cwd,
        )
    except OSError as error:
        return ProgramResult(None, "", "", f"it cannot be started: {error.strerror}")
    except subprocess.TimeoutExpired as error:
        late = f"still running after {seconds:g} s"
        return ProgramResult(None, _text(error.stdout), _text(error.stderr), late)
    return ProgramResult(done.returncode, _text(done.stdout), _text(done.stderr))


def output_of(
    command: Sequence[str | os.PathLike[str]],
    *,
    error: type[MeshConformanceError],
    seconds: float,
    wanted: str = "",
    where: str = "",
    remedy: str = "",
    stdin: str | IO[bytes] = "",
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    merged: bool = False,
) -> str:
    """Standard output of a program that has to succeed; arguments as those of `run`.

    Args:
        error: which kind of error it is when the program fails.
        wanted: what it is for; empty for its arguments.
        where: empty for the program.
        remedy: what a person can do when it fails.

    Raises:
        MeshConformanceError: of that kind: it cannot be started, fails, or is still running at its
            deadline.
    """
    result = run(command, seconds=seconds, stdin=stdin, env=env, cwd=cwd, merged=merged)
    if failure := result.failure:
        program, *arguments = [os.fspath(each) for each in command]
        name = Path(program).name
        raise error(
            wanted=wanted or f"{' '.join([name, *arguments])} to succeed",
            seen=failure,
            where=where or program,
            remedy=remedy,
        )
    return result.output


def _text(written: bytes | None) -> str:
    return (written or b"").decode(errors="replace")
