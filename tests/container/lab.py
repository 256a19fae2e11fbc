"""Clusters of the embedded lab with a mesh, as the people who run deploy/ there use them."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml

from mesh_fixtures.patience import patient
from tests.lab.commands import SECONDS, Commands, environment_of, exported, succeed

TOPOLOGY: Final = "multi-primary"
NAMESPACE: Final = "mesh-conformance"
_POLL: Final = 0.5


@dataclass(frozen=True)
class MeshLab(Commands):
    """A lab with a mesh.

    Attributes:
        kubeconfig: with the API servers' own addresses.
    """

    kubeconfig: Path

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
    environment = environment_of(folder)
    up = ("up", TOPOLOGY, "--provider", "netns")
    try:
        of_host = exported(environment, succeed(environment, *up))
        of_lab = exported(environment, succeed(environment, *up, "--addresses", "lab"))
        yield MeshLab(of_host, Path(of_lab["KUBECONFIG"]))
    finally:
        succeed(environment, "down", "--all")
