"""kubectl on one cluster of a lab; every call has a bound and says what it last saw."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from mesh_fixtures import runner
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
        if self._stopping.is_set():
            raise LabError(
                wanted=f"kubectl {' '.join(arguments)}",
                seen="the lab is being removed",
                where=self._cluster,
            )
        return runner.output_of(
            [*self._command, *arguments],
            error=LabError,
            seconds=deadline,
            stdin=stdin,
            env=self._environment,
            wanted=f"kubectl {' '.join(arguments)} to succeed",
            where=self._cluster,
        )

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

    def await_established(self, definitions: Sequence[dict[str, Any]]) -> None:
        """Wait until CustomResourceDefinitions are served.

        Raises:
            LabError: not within `patient(ADD_ON_DEADLINE)`.
        """
        names = [f"crd/{each['metadata']['name']}" for each in definitions]
        seconds = patient(ADD_ON_DEADLINE)
        self.wait("wait", "--for=condition=Established", *names, seconds=seconds)

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
