"""Clusters without a mesh, for suites that run inside the lab's networks and bring their own."""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import signal
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from mesh_fixtures.patience import patient
from tests.lab.commands import Commands, environment_of, exported, succeed


@dataclass(frozen=True)
class Clusters:
    """Clusters that run.

    Attributes:
        environment: of commands on this machine.
        prefix: what commands are preceded by to run inside the lab's networks.
        kubeconfigs: by cluster, each with that one alone and its own address.
    """

    environment: Mapping[str, str]
    prefix: Sequence[str]
    kubeconfigs: Mapping[str, Path]

    def run_inside(
        self,
        argv: Sequence[str | Path],
        *,
        log: Path,
        seconds: float,
        folder: Path,
        variables: Mapping[str, str],
    ) -> int:
        """Exit status of a program that runs inside; its output goes to a file.

        Args:
            seconds: after which it is ended, on an idle machine.
            folder: its working directory.
            variables: of its environment, beside those of every command.

        Raises:
            subprocess.TimeoutExpired: it did not end by itself.
        """
        with (
            log.open("wb") as output,
            subprocess.Popen(
                [*self.prefix, *argv],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=folder,
                env={**self.environment, **variables},
                start_new_session=True,
            ) as running,
        ):
            try:
                return running.wait(patient(seconds))
            finally:
                # those that it started, too, which would go on by themselves
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(running.pid, signal.SIGKILL)


@contextmanager
def clusters(scenario: str, archives: Sequence[Path], folder: Path) -> Iterator[Clusters]:
    """Bring up a scenario's clusters, with images loaded; they are removed in the end.

    Args:
        scenario: its id, or its file.
        archives: of images.
        folder: for the lab's record and kubeconfigs.
    """
    environment = environment_of(folder / "state")
    printed = succeed(environment, "up", "--bare", scenario, "--addresses", "lab")
    try:
        commands = Commands(exported(environment, printed))
        (prefix,) = re.findall(r"^  (nsenter .*) kubectl ", printed, re.MULTILINE)
        succeed(environment, "load-image", *(str(archive) for archive in archives))
        names = commands.run("kubectl", "config", "get-contexts", "--output=name").split()
        kubeconfigs = {}
        for name in names:
            only = ("config", "view", "--minify", "--flatten")
            file = folder / f"{name}.kubeconfig"
            file.touch(mode=0o600)
            file.write_text(commands.kubectl(name, *only))
            kubeconfigs[name] = file
        yield Clusters(commands.environment, shlex.split(prefix), kubeconfigs)
    finally:
        succeed(environment, "down", Path(scenario).stem)


def report_folder() -> Path:
    """Where reports of suites go: a folder of those that this run writes."""
    return Path(os.environ.get("MESH_REPORT", "mesh-report")) / "fidelity"
