"""A client whose answers are written down, for tests of what probes make of answers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import cast

from mesh_fixtures.contract import GUIDE_NAMES, MeshNames
from mesh_fixtures.kube import (
    ExecResult,
    HttpAnswer,
    KubeClient,
    Meta,
    Pod,
    Resource,
    Source,
    exec_source,
)

Said = str | tuple[int, str, str]


def pod(name: str, namespace: str = "sample", ip: str = "10.1.0.9", **labels: str) -> Pod:
    """A pod that serves."""
    return Pod(Meta(name, namespace, labels), ip, "Running", False, True, ())


def result(stdout: str = "", stderr: str = "", exit_status: int = 0) -> ExecResult:
    """What a command in cluster1's Sleep said."""
    source = Source("cluster1", "sample/sleep-1 (sleep)", "curl helloworld")
    return ExecResult(source, exit_status, stdout, stderr, 0.1)


@dataclass
class FakeKube:
    """Answers commands by a function of their arguments; every selector finds the same pods.

    With `forwards`, ports are asked: the arguments are the port and the path, and the exit status
    is that of HTTP.
    """

    answer: Callable[[Sequence[str]], Said]
    found: Sequence[Pod] = ()
    name: str = "cluster1"
    sample_namespace: str = "sample"
    names: MeshNames = GUIDE_NAMES
    forwards: bool = False
    asked: list[tuple[str, ...]] = field(default_factory=list)

    def now(self) -> datetime:
        return datetime.now(UTC)

    def list(self, resource: Resource[Pod], namespace: str, selector: str = "") -> tuple[Pod, ...]:
        return tuple(self.found)

    def pod_of(self, namespace: str, selector: str) -> Pod:
        return self.found[0]

    def exec(
        self, namespace: str, pod: str, container: str, argv: Sequence[str], timeout: float = 30
    ) -> ExecResult:
        self.asked.append((container, *argv))
        said = self.answer(argv)
        status, stdout, stderr = (0, said, "") if isinstance(said, str) else said
        source = exec_source(self.name, namespace, pod, container, argv)
        return ExecResult(source, status, stdout, stderr, 0.1)

    def ask(
        self, namespace: str, pod: str, port: int, path: str, method: str = "GET"
    ) -> HttpAnswer:
        asked = (str(port), *([] if method == "GET" else [method]), path)
        self.asked.append(asked)
        said = self.answer(asked)
        status, text, _ = (200, said, "") if isinstance(said, str) else said
        return HttpAnswer(
            Source(self.name, f"{namespace}/{pod}:{port}", f"curl {path}"), status, text
        )

    def as_client(self) -> KubeClient:
        return cast("KubeClient", self)
