"""Waits for an embedded cluster's API server; the wait has a bound and says what it last saw."""

from __future__ import annotations

import http.client
import ssl
import threading
import time
from pathlib import Path

from mesh_fixtures.errors import LabError
from mesh_fixtures.patience import patient

API_SERVER_DEADLINE = 60.0
_REQUEST_DEADLINE = 2.0
_POLL = 0.05


def await_api_server(
    port: int,
    authority: Path,
    client: tuple[Path, Path],
    node: Path,
    *,
    stopping: threading.Event,
    deadline: float,
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
    connection = http.client.HTTPSConnection(
        "127.0.0.1", port, timeout=patient(_REQUEST_DEADLINE), context=context
    )
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
