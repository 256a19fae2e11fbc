"""Clusters of the embedded lab with a mesh, as the people who run deploy/ there use them."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml

from mesh_fixtures.patience import patient

TOPOLOGY: Final = "multi-primary"
NAMESPACE: Final = "mesh-conformance"
SECONDS: Final = 300.0
_POLL: Final = 0.5


@dataclass(frozen=True)
class MeshLab:
    """A lab with a mesh.

    Attributes:
        environment: of commands, as `up` prints it.
        kubeconfig: with the API servers' own addresses.
    """

    environment: Mapping[str, str]
    kubeconfig: Path

    def run(self, *argv: str, stdin: str = "", check: bool = True) -> str:
        """What a command prints."""
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
        return done.stdout

    def kubectl(self, cluster: str, *arguments: str, stdin: str = "", check: bool = True) -> str:
        return self.run("kubectl", f"--context={cluster}", *arguments, stdin=stdin, check=check)

    def json(self, cluster: str, *arguments: str) -> Any:
        return json.loads(self.kubectl(cluster, *arguments, "-o", "json"))

    def server(self, cluster: str) -> str:
        """Where pods reach an API server."""
        content = yaml.safe_load(self.kubeconfig.read_text(encoding="utf-8"))
        (found,) = (each for each in content["clusters"] if each["name"] == cluster)
        return str(found["cluster"]["server"])

    def own_namespaces(self) -> set[str]:
        """Those that a run has made, in whichever cluster."""
        return {
            each["metadata"]["name"]
            for cluster in ("cluster1", "cluster2")
            for each in self.json(cluster, "get", "namespaces")["items"]
            if each["metadata"]["name"].startswith(f"{NAMESPACE}-")
        }

    def until(self, what: str, holds: Callable[[], Any]) -> Any:
        """What a condition yields as soon as it holds."""
        deadline = time.monotonic() + patient(SECONDS)
        while not (found := holds()):
            assert time.monotonic() < deadline, f"{what}: not within {SECONDS:g} s"
            time.sleep(_POLL)
        return found

    def ended_job(self, name: str) -> tuple[bool, str]:
        """Whether a Job in cluster1 succeeds, and its log."""
        where = ("-n", NAMESPACE)

        def status() -> Mapping[str, int] | None:
            found: Mapping[str, int] = self.json("cluster1", *where, "get", "job", name)["status"]
            return found if found.get("succeeded") or found.get("failed") else None

        seen = self.until(f"job {name} to end", status)
        log = self.kubectl("cluster1", *where, "logs", f"job/{name}", "--tail=-1")
        return bool(seen.get("succeeded")), log


@contextmanager
def mesh_lab(folder: Path) -> Iterator[MeshLab]:
    """Make one for as long as this is open.

    Args:
        folder: an empty one, where the lab is recorded.
    """
    environment = {
        **os.environ,
        "XDG_STATE_HOME": str(folder),
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
    }

    def command(*arguments: str) -> str:
        done = subprocess.run(
            ["mesh-conformance", *arguments],
            stdout=subprocess.PIPE,
            text=True,
            timeout=patient(SECONDS),
            check=True,
            env=environment,
        )
        return done.stdout

    try:
        printed = command("up", TOPOLOGY, "--provider", "netns")
        of_host = re.search(r"export KUBECONFIG=(\S+) PATH=([^\s:$]+)", printed)
        again = command("up", TOPOLOGY, "--provider", "netns", "--addresses", "lab")
        of_lab = re.search(r"export KUBECONFIG=(\S+)", again)
        assert of_host, printed
        assert of_lab, again
        path = f"{of_host[2]}:{environment['PATH']}"
        yield MeshLab({**environment, "KUBECONFIG": of_host[1], "PATH": path}, Path(of_lab[1]))
    finally:
        command("down", "--all")
