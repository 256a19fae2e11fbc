"""Waits for an embedded cluster's parts; every wait has a bound and says what it last saw."""

from __future__ import annotations

import http.client
import ssl
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from mesh_fixtures.errors import LabError

API_SERVER_DEADLINE = 60.0
ADD_ON_DEADLINE = 90.0
_POLL = 0.05


def await_api_server(
    port: int,
    authority: Path,
    client: tuple[Path, Path],
    node: Path,
    *,
    stopping: threading.Event,
    deadline: float = API_SERVER_DEADLINE,
) -> None:
    """Wait until an API server says that it is ready (Kubernetes: "API health endpoints").

    Args:
        port: on this machine's loopback.
        authority: PEM file of the cluster's certificate authority.
        client: PEM files of a client certificate and its key.
        node: folder of the control plane node, for evidence.
        stopping: set when nobody waits for it any more.
        deadline: seconds.

    Raises:
        LabError: not within the deadline, or stopped.
    """
    context = ssl.create_default_context(cafile=str(authority))
    context.load_cert_chain(*map(str, client))
    end = time.monotonic() + deadline
    while True:
        seen = _readyz(port, context)
        if seen == "":
            return
        if stopping.wait(_POLL) or time.monotonic() > end:
            raise LabError(
                wanted=f"the API server to be ready within {deadline:g} s",
                seen=f"{seen}\n{_ends_of_logs(node)}",
                where=node.name,
                remedy="the machine may be too busy; otherwise the logs name the cause",
            )


def _readyz(port: int, context: ssl.SSLContext) -> str:
    connection = http.client.HTTPSConnection("127.0.0.1", port, timeout=2, context=context)
    try:
        connection.request("GET", "/readyz")
        response = connection.getresponse()
        body = response.read().decode(errors="replace")
        return "" if response.status == 200 else f"/readyz: {response.status} {body[-300:]}"
    except (OSError, http.client.HTTPException) as error:
        return f"/readyz: {error!r}"
    finally:
        connection.close()


def _ends_of_logs(node: Path, lines: int = 3) -> str:
    files = [node / "node.log", *sorted((node / "log").glob("*.log"))]
    return "\n".join(
        f"  {file.name}: {line}"
        for file in files
        if file.exists()
        for line in file.read_text(errors="replace").splitlines()[-lines:]
    )


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
