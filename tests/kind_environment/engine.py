"""What container engines have in common: programs in a root of their own, and an answer in time."""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from mesh_fixtures.errors import LabError

START_DEADLINE: Final = 60.0
RUNTIME: Final = "/usr/local/sbin/oci-runtime"
"""The OCI runtime, in the engine's root."""

PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

_IN_ROOT: Final = Path(__file__).with_name("in-root.sh")
_WRAPPER: Final = Path(__file__).with_name("oci_runtime.py")
_POLL: Final = 0.1


@dataclass(frozen=True)
class Started:
    """A program without which the engine does not work.

    Attributes:
        log: what it prints.
    """

    process: subprocess.Popen[bytes]
    log: Path

    @property
    def name(self) -> str:
        return self.log.stem

    def tail(self, lines: int = 20) -> str:
        """The end of its log."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])


def add_runtime(root: Path) -> None:
    """Put the OCI runtime into the engine's root."""
    runtime = root / RUNTIME.removeprefix("/")
    shutil.copyfile(_WRAPPER, runtime)
    runtime.chmod(0o755)


def start(root: Path, log: Path, command: Sequence[str]) -> Started:
    """Start a program with a folder as its root, in a mount namespace of its own."""
    with log.open("wb") as output:
        process = subprocess.Popen(
            ["unshare", "--mount", _IN_ROOT, root, *command],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            cwd="/",
            env={"PATH": PATH, "HOME": "/root", "LANG": "C.UTF-8"},
            start_new_session=True,
        )
    return Started(process, log)


def await_answer(started: Started, title: str, question: Sequence[str]) -> None:
    """Ask until the engine answers.

    Raises:
        LabError: it does not in time, or the program that was started has ended.
    """
    end = time.monotonic() + START_DEADLINE
    while True:
        asked = subprocess.run(
            question,
            check=False,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=START_DEADLINE,
            env={"PATH": PATH},
        )
        if asked.returncode == 0:
            return
        if started.process.poll() is not None or time.monotonic() > end:
            status = started.process.returncode
            state = "no answer" if status is None else f"{started.name} ended with status {status}"
            raise LabError(
                wanted=f"an answer from {title} within {START_DEADLINE:g} s",
                seen=f"{state}: {asked.stderr.strip()}\n{started.tail()}",
                where="kind environment",
            )
        time.sleep(_POLL)
