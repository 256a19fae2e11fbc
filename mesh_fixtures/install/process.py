"""Runs one program, or two joined by a pipe, so that nothing of it can be left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import tempfile
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO


@dataclass(frozen=True)
class Surroundings:
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
class Ended:
    """How programs ended: status by program (negative: the signal), and the last one's output."""

    statuses: tuple[int, ...]
    output: str


@dataclass(eq=False)
class Running:
    """Programs that run now. Another thread may end them at any time, also before they start.

    All processes of a call share a process group of their own. The group is signalled only while
    its leader is not yet reaped, so its id cannot belong to anybody else.
    """

    _lock: threading.Lock = field(default_factory=threading.Lock)
    _group: int | None = None
    _ended: bool = False

    def end(self) -> None:
        """Kill what runs, and refuse to start more."""
        with self._lock:
            self._ended = True
            if self._group is not None:
                _kill_group(self._group)

    def call(
        self,
        argv: Sequence[str],
        surroundings: Surroundings,
        log: IO[bytes],
        *,
        stdin: str = "",
        pipe_to: Sequence[str] = (),
        capture: bool = False,
    ) -> Ended | None:
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
            commands = [surroundings.resolved(part) for part in (argv, pipe_to) if part]
            sink = taken if capture else log
            processes = self._start(commands, surroundings, given, sink, log)
            if processes is None:
                return None
            statuses = self._reap(processes)
            taken.seek(0)
            output = taken.read().decode(errors="replace")
        return None if self._ended else Ended(statuses, output)

    def _start(
        self,
        commands: Sequence[Sequence[str]],
        surroundings: Surroundings,
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
                        cwd=surroundings.folder,
                        env=dict(surroundings.environment),
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
