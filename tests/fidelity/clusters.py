"""Clusters without a mesh, for suites that run inside the lab's networks and bring their own."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from mesh_fixtures import providers, records
from mesh_fixtures.artifacts.command import dying_with_this_thread
from mesh_fixtures.certificates import write_private
from mesh_fixtures.contract import Lab
from mesh_fixtures.lab import image_archives
from mesh_fixtures.lab.pki import with_servers
from mesh_fixtures.options import Choice
from mesh_fixtures.patience import patient
from mesh_fixtures.progress import Progress
from mesh_fixtures.scenario import Scenario
from tests.opened_lab import opened


@dataclass(frozen=True)
class Clusters:
    """Clusters that run.

    Attributes:
        lab: what they are of.
        kubeconfigs: by cluster, each with that one alone and its own address.
    """

    lab: Lab
    kubeconfigs: Mapping[str, Path]

    def run_inside(
        self,
        argv: Sequence[str | Path],
        *,
        log: Path,
        seconds: float,
        folder: Path,
        programs: Sequence[Path] = (),
        variables: Mapping[str, str] | None = None,
    ) -> int:
        """Exit status of a program that runs inside; its output goes to a file.

        Args:
            seconds: after which it is ended, on an idle machine.
            folder: its working directory.
            programs: folders of programs that it may call, beside kubectl.
            variables: of its environment, beside those of this process.

        Raises:
            subprocess.TimeoutExpired: it did not end by itself.
        """
        path = (*programs, self.lab.tools.kubectl.parent, os.environ["PATH"])
        with (
            log.open("wb") as output,
            subprocess.Popen(
                [*dying_with_this_thread(), *self.lab.network_command, *argv],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=folder,
                env={**os.environ, **(variables or {}), "PATH": os.pathsep.join(map(str, path))},
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
def clusters(scenario: Scenario, archives: Sequence[Path], folder: Path) -> Iterator[Clusters]:
    """Bring up a scenario's clusters, with images loaded; they are removed in the end.

    Args:
        archives: of images.
        folder: for kubeconfigs.

    Raises:
        MachineError: the embedded lab cannot run here.
    """
    provider = providers.make(Choice("netns"))
    providers.check_machine(provider)
    progress = Progress(scenario.id)
    with opened(provider, scenario, progress, bare=True) as lab:
        (record,) = (each for each in records.load_all() if each.id == lab.folder.name)
        with progress.phase("load images"):
            for archive in archives:
                image_archives.load(record, image_archives.read_archive(archive))
        yield Clusters(lab, {name: _kubeconfig(lab, name, folder) for name in lab.clusters})


def _kubeconfig(lab: Lab, cluster: str, folder: Path) -> Path:
    found = lab.clusters[cluster]
    file = folder / f"{cluster}.kubeconfig"
    text = with_servers(found.kubeconfig.read_text(), {cluster: found.api_server or ""})
    write_private(file, text.encode())
    return file
