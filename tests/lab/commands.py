"""Commands in the environment of a lab, as those run them who have made it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from mesh_fixtures.interruption import interruption
from mesh_fixtures.patience import patient

SECONDS = 300.0


@dataclass(frozen=True)
class Commands:
    """Commands for a lab.

    Attributes:
        environment: of commands, as `up` prints it.
    """

    environment: Mapping[str, str]

    def run(self, *argv: str, stdin: str = "", check: bool = True) -> str:
        """Output of a command; where it may fail, with its errors."""
        done = subprocess.run(
            argv,
            input=stdin,
            capture_output=True,
            text=True,
            timeout=patient(SECONDS),
            check=False,
            env=self.environment,
        )
        assert done.returncode == 0 or not check, f"{argv}: {done.stderr}\n{done.stdout}"
        return done.stdout + ("" if check else done.stderr)

    def kubectl(self, cluster: str, *arguments: str, stdin: str = "") -> str:
        return self.run("kubectl", f"--context={cluster}", *arguments, stdin=stdin)


def environment_of(state: Path) -> Mapping[str, str]:
    """That of commands which record their labs in a folder of their own."""
    programs = Path(sys.executable).parent
    return {
        **os.environ,
        "XDG_STATE_HOME": str(state),
        "PATH": f"{programs}:{os.environ['PATH']}",
    }


def succeed(environment: Mapping[str, str], *arguments: str) -> str:
    """Standard output of mesh-conformance, which shows its progress as ever."""
    done = subprocess.run(
        ["mesh-conformance", *arguments],
        stdout=subprocess.PIPE,
        text=True,
        timeout=patient(SECONDS),
        check=True,
        env=environment,
    )
    return done.stdout


@contextmanager
def removed_afterwards(environment: Mapping[str, str]) -> Iterator[None]:
    """What brings up labs, which are removed in the end, after a signal, too."""
    with interruption.holding():
        try:
            yield
        finally:
            with interruption.removing():
                succeed(environment, "down", "--all")


def exported(environment: Mapping[str, str], printed: str) -> Mapping[str, str]:
    """The environment with what `up` prints to be exported."""
    found = re.search(r"export KUBECONFIG=(\S+) PATH=([^\s:$]+)", printed)
    assert found, printed
    return {**environment, "KUBECONFIG": found[1], "PATH": f"{found[2]}:{environment['PATH']}"}
