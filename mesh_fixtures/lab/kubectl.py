"""kubectl on one cluster of a lab; every call has a bound and says what it last saw."""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from mesh_fixtures.errors import LabError

ADD_ON_DEADLINE = 90.0
"""Seconds for what a cluster needs besides Kubernetes itself."""


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

    def create(self, manifests: Sequence[dict[str, Any]]) -> None:
        """Create objects in the given order.

        Raises:
            LabError: one was refused.
        """
        self.run(
            "create",
            "--validate=false",
            "-f",
            "-",
            stdin=yaml.safe_dump_all(manifests),
            deadline=ADD_ON_DEADLINE,
        )

    def await_rollout(self, namespace: str, kind: str, name: str) -> None:
        """Wait for a Deployment or DaemonSet.

        Raises:
            LabError: not within `ADD_ON_DEADLINE`; its text has the namespace's pods and events.
        """
        timeout = f"--timeout={ADD_ON_DEADLINE:g}s"
        try:
            self.run(
                "-n",
                namespace,
                "rollout",
                "status",
                f"{kind}/{name}",
                timeout,
                deadline=ADD_ON_DEADLINE + 5,
            )
        except LabError as error:
            raise LabError(
                wanted=f"{kind} {name} to be ready within {ADD_ON_DEADLINE:g} s",
                seen=f"{error.seen}\n{self._evidence(namespace)}",
                where=self._cluster,
            ) from error

    def _evidence(self, namespace: str) -> str:
        try:
            pods = self.run("-n", namespace, "get", "pods", "-o", "wide", deadline=10)
            events = self.run("-n", namespace, "get", "events", deadline=10)
        except LabError as error:
            return error.seen
        return f"{pods}\n" + "\n".join(events.splitlines()[-10:])
