"""Runs programs, so that nothing of them is left behind: to their end or their deadline.

`run` and `output_of` know their deadline from the start. Steps of an installation may be pipes, and
another thread ends them: those are `RunningProgram`.

Three kinds of programs are started elsewhere, as more than the program itself has to be ended or
found again: builds, which go with this process even when it is killed (`artifacts/command.py`);
kind with its children (`lab/kind/boot.py`); and a lab's own processes, which outlive the call and
stand in its journal (`lab/netns/launch.py`). The benchmark (`tools/bench.py`) runs pytest, which
has deadlines itself.
"""

from __future__ import annotations

import os
import signal
import subprocess
import tempfile
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
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


@dataclass(frozen=True)
class CommandContext:
    """Where programs run.

    Attributes:
        folder: working folder.
        environment: all of their environment.
        programs: file by program name; other names are looked up in the environment's PATH.
    """

    folder: Path
    environment: Mapping[str, str]
    programs: Mapping[str, Path]

    def resolved(self, argv: Sequence[str]) -> list[str]:
        return [str(self.programs.get(argv[0], argv[0])), *argv[1:]]


@dataclass(frozen=True)
class Completed:
    """How programs ended: status by program (negative: the signal), and the last one's output."""

    statuses: tuple[int, ...]
    output: str


@dataclass(eq=False)
class RunningProgram:
    """One program that runs now, or two joined by a pipe. Another thread may end them at any time,
    also before they start.

    All processes of a call share a process group of their own. The group is signalled only while
    its leader is not yet reaped, so its id cannot belong to anybody else.
    """

    _lock: threading.Lock = field(default_factory=threading.Lock)
    _group: int | None = None
    _ended: bool = False

    @property
    def ended(self) -> bool:
        """Whether `end` was called."""
        return self._ended

    def end(self) -> None:
        """Kill what runs, and refuse to start more."""
        with self._lock:
            self._ended = True
            if self._group is not None:
                _kill_group(self._group)

    def call(
        self,
        argv: Sequence[str],
        context: CommandContext,
        log: IO[bytes],
        *,
        stdin: str = "",
        pipe_to: Sequence[str] = (),
        capture: bool = False,
    ) -> Completed | None:
        """Run to the end.

        Args:
            log: takes standard output and standard error, but not what goes into the pipe.
            pipe_to: program that reads the first one's output.
            capture: return the last program's standard output in place of logging it.

        Returns:
            None when `end` was called.

        Raises:
            OSError: a program cannot be started.
        """
        with tempfile.TemporaryFile() as given, tempfile.TemporaryFile() as taken:
            given.write(stdin.encode())
            given.seek(0)
            commands = [context.resolved(part) for part in (argv, pipe_to) if part]
            sink = taken if capture else log
            processes = self._start(commands, context, given, sink, log)
            if processes is None:
                return None
            statuses = self._reap(processes)
            taken.seek(0)
            output = taken.read().decode(errors="replace")
        return None if self._ended else Completed(statuses, output)

    def _start(
        self,
        commands: Sequence[Sequence[str]],
        context: CommandContext,
        given: IO[bytes],
        sink: IO[bytes],
        log: IO[bytes],
    ) -> list[subprocess.Popen[bytes]] | None:
        processes: list[subprocess.Popen[bytes]] = []
        with self._lock:
            if self._ended:
                return None
            source: IO[bytes] = given
            try:
                for position, command in enumerate(commands):
                    is_last = position == len(commands) - 1
                    process = subprocess.Popen(
                        command,
                        stdin=source,
                        stdout=sink if is_last else subprocess.PIPE,
                        stderr=log,
                        cwd=context.folder,
                        env=dict(context.environment),
                        process_group=processes[0].pid if processes else 0,
                    )
                    processes.append(process)
                    self._group = processes[0].pid
                    if process.stdout is not None:
                        source = process.stdout
            except OSError:
                if processes:
                    _kill_group(processes[0].pid)
                    self._group = None
                for process in processes:
                    process.wait()
                raise
            finally:
                for process in processes:
                    if process.stdout is not None:
                        process.stdout.close()
        return processes

    def _reap(self, processes: Sequence[subprocess.Popen[bytes]]) -> tuple[int, ...]:
        for process in processes:
            os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        with self._lock:
            _kill_group(processes[0].pid)
            self._group = None
            return tuple(process.wait() for process in processes)


def _kill_group(group: int) -> None:
    os.killpg(group, signal.SIGKILL)
