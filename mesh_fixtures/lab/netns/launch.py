"""Starts a lab's processes so that every one of them can be found again."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from mesh_fixtures import runner
from mesh_fixtures.addresses import with_port
from mesh_fixtures.errors import LabError
from mesh_fixtures.journal import Journal, JournalEntry
from mesh_fixtures.lab.netns.network import API_SERVER_PORT
from mesh_fixtures.lab.processes import MARK, marked_environment
from mesh_fixtures.ownership import started_at
from mesh_fixtures.patience import patient

_NETNS = Path("/run/netns")
_FORWARDER = Path(__file__).with_name("forwarder.py")
_SETUP_DEADLINE = 20.0


def path_of(namespace: str) -> Path:
    """The file by which a named network namespace is entered (ip-netns(8))."""
    return _NETNS / namespace


def node_command(namespace: str, mesh_node: Path, spec: Path) -> list[str]:
    """Arguments that run mesh-node in namespaces of its own and in a named network namespace."""
    return [
        "nsenter",
        f"--net={path_of(namespace)}",
        "unshare",
        "--mount",
        "--pid",
        "--uts",
        "--ipc",
        "--fork",
        "--kill-child=SIGKILL",
        str(mesh_node),
        str(spec),
    ]


def start_node(
    lab: str, journal: Journal, namespace: str, mesh_node: Path, spec: Path, group: Path
) -> None:
    """Start a node; its own output goes to `node.log` beside its description.

    Args:
        group: the control group of its processes.
    """
    log = spec.parent / "node.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            node_command(namespace, mesh_node, spec),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
            env=_node_environment(lab),
            cwd="/",
        )
    _record(journal, process.pid, f"node {spec.parent.name}")
    _move(process.pid, group)


def set_up(lab: str, namespace: str, mesh_node: Path, spec: Path) -> None:
    """Run a description without services, e.g. the router's, to its end.

    Raises:
        LabError: it failed.
    """
    runner.output_of(
        node_command(namespace, mesh_node, spec),
        error=LabError,
        seconds=patient(_SETUP_DEADLINE),
        env=_node_environment(lab),
        cwd=Path("/"),
        merged=True,
        wanted=f"namespace {namespace} to be set up",
        where=str(spec),
    )


def start_forwarder(
    lab: str,
    journal: Journal,
    namespace: str,
    targets: Mapping[str, str],
    log: Path,
    group: Path,
) -> dict[str, int]:
    """Make addresses inside a namespace reachable on loopback ports of this machine.

    Args:
        targets: address of an API server by cluster.
        group: the control group of the process that does it.

    Returns:
        The loopback port by cluster.
    """
    listeners = {name: socket.create_server(("127.0.0.1", 0)) for name in targets}
    try:
        arguments = [
            f"{listeners[name].fileno()}={with_port(target, API_SERVER_PORT)}"
            for name, target in targets.items()
        ]
        with log.open("wb") as output:
            process = subprocess.Popen(
                [
                    "nsenter",
                    f"--net={path_of(namespace)}",
                    sys.executable,
                    "-I",
                    str(_FORWARDER),
                    *arguments,
                ],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
                pass_fds=[listener.fileno() for listener in listeners.values()],
                env=marked_environment(lab),
            )
        _record(journal, process.pid, "forwarder")
        _move(process.pid, group)
        return {name: listener.getsockname()[1] for name, listener in listeners.items()}
    finally:
        for listener in listeners.values():
            listener.close()


def _node_environment(lab: str) -> dict[str, str]:
    """A node's own environment: what is set on this machine, e.g. a proxy, is not for it."""
    return {MARK: lab, "HOME": "/root", "PATH": os.defpath, "LANG": "C.UTF-8"}


def _move(pid: int, group: Path) -> None:
    """Move a process out of whatever group it was started in, which may end before a kept lab does:
    that of a systemd service, or of a login session.
    """
    with contextlib.suppress(ProcessLookupError):
        (group / "cgroup.procs").write_text(str(pid))


def _record(journal: Journal, pid: int, name: str) -> None:
    started = started_at(pid)
    if started is not None:
        journal.record(JournalEntry("process", name, pid, started))
