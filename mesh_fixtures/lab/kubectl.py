"""kubectl on one cluster of a lab; every call has a bound and says what it last saw."""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from mesh_fixtures.errors import LabError
from mesh_fixtures.patience import patient

ADD_ON_DEADLINE = 90.0
"""Seconds for what a cluster needs besides Kubernetes itself."""

EVIDENCE_DEADLINE = 10.0
_MARGIN = 5.0
"""Seconds in which kubectl says that what it waits for has not come."""


class Kubectl:
    """Runs kubectl on one cluster, bounded."""

    def __init__(
        self,
        program: Path,
        kubeconfig: Path,
        cluster: str,
        environment: Mapping[str, str],
        stopping: threading.Event,
    ) -> None:
        self._command = [str(program), f"--kubeconfig={kubeconfig}"]
        self._cluster = cluster
        self._environment = dict(environment)
        self._stopping = stopping

    def run(self, *arguments: str, deadline: float, stdin: str = "") -> str:
        """Standard output of a command.

        Raises:
            LabError: it failed or did not end within `deadline` seconds.
        """
        command = [*self._command, *arguments]
        if self._stopping.is_set():
            raise LabError(
                wanted=f"kubectl {' '.join(arguments)}",
                seen="the lab is being removed",
                where=self._cluster,
            )
        try:
            done = subprocess.run(
                command,
                input=stdin,
                capture_output=True,
                text=True,
                timeout=deadline,
                check=False,
                env=self._environment,
            )
        except subprocess.TimeoutExpired as error:
            raise LabError(
                wanted=f"kubectl {' '.join(arguments)} to end within {deadline:g} s",
                seen=f"it was still running; output: {error.stdout!r} {error.stderr!r}",
                where=self._cluster,
            ) from error
        if done.returncode != 0:
            raise LabError(
                wanted=f"kubectl {' '.join(arguments)} to succeed",
                seen=f"exit status {done.returncode}: {done.stderr.strip() or done.stdout.strip()}",
                where=self._cluster,
            )
        return done.stdout

    def wait(self, *arguments: str, seconds: float) -> str:
        """Standard output of a command that waits for something, and knows by itself how long.

        Args:
            arguments: without `--timeout`.

        Raises:
            LabError: what it waits for has not come.
        """
        return self.run(*arguments, f"--timeout={seconds:g}s", deadline=seconds + patient(_MARGIN))

    def create(self, manifests: Sequence[dict[str, Any]]) -> None:
        """Create objects in the given order.

        Raises:
            LabError: one was refused, or is there already.
        """
        self._submit(("create",), manifests)

    def apply(self, manifests: Sequence[dict[str, Any]]) -> None:
        """Make objects have the given fields, whether they are there or not.

        Raises:
            LabError: one was refused.
        """
        self._submit(("apply", "--server-side", "--force-conflicts"), manifests)

    def _submit(self, how: Sequence[str], manifests: Sequence[dict[str, Any]]) -> None:
        self.run(
            *how,
            "--validate=false",
            "-f",
            "-",
            stdin=yaml.safe_dump_all(manifests),
            deadline=patient(ADD_ON_DEADLINE),
        )

    def await_rollout(self, namespace: str, kind: str, name: str) -> None:
        """Wait for a Deployment or DaemonSet.

        Raises:
            LabError: not within `patient(ADD_ON_DEADLINE)`; its text has the namespace's pods and
                events.
        """
        seconds = patient(ADD_ON_DEADLINE)
        try:
            self.wait("-n", namespace, "rollout", "status", f"{kind}/{name}", seconds=seconds)
        except LabError as error:
            raise LabError(
                wanted=f"{kind} {name} to be ready within {seconds:g} s",
                seen=f"{error.seen}\n{self._evidence(namespace)}",
                where=self._cluster,
            ) from error

    def _evidence(self, namespace: str) -> str:
        try:
            seconds = patient(EVIDENCE_DEADLINE)
            pods = self.run("-n", namespace, "get", "pods", "-o", "wide", deadline=seconds)
            events = self.run("-n", namespace, "get", "events", deadline=seconds)
        except LabError as error:
            return error.seen
        return f"{pods}\n" + "\n".join(events.splitlines()[-10:])
