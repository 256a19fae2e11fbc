"""All clusters of a mesh together, asked at the same time."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import TypeVar

from mesh_fixtures.contract import Lab
from mesh_fixtures.kube import KubeClient
from mesh_fixtures.scenario import Scenario

Key = TypeVar("Key")
Value = TypeVar("Value")


class MeshView:
    """A client for each cluster of a lab, in the scenario's order. Close it when done.

    Raises:
        ProbeError: a cluster's kubeconfig file cannot be used.
    """

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.kube: Mapping[str, KubeClient] = {
            name: KubeClient(cluster, lab.sample_namespace)
            for name, cluster in lab.clusters.items()
        }

    @property
    def scenario(self) -> Scenario:
        return self.lab.scenario

    def close(self) -> None:
        for client in self.kube.values():
            client.close()

    def __enter__(self) -> MeshView:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def each(
        self, probe: Callable[[KubeClient], Value], clusters: Iterable[str] | None = None
    ) -> dict[str, Value]:
        """A probe's value in each cluster, or in those named; all are asked at the same time.

        Raises:
            ProbeError: as one of the probes, the first of them in order.
        """
        names = self.kube if clusters is None else clusters
        return at_once(names, lambda name: probe(self.kube[name]))


def at_once(keys: Iterable[Key], ask: Callable[[Key], Value]) -> dict[Key, Value]:
    """The answer for each key, in the keys' order, with one thread for each.

    An interrupt is passed on at once: removing the lab ends the questions that are still open.

    Raises:
        Exception: as one of the questions, the first of them in order, when all have ended.
    """
    wanted = list(keys)
    if not wanted:
        return {}
    threads = ThreadPoolExecutor(max_workers=len(wanted), thread_name_prefix="probe")
    try:
        asked = {key: threads.submit(ask, key) for key in wanted}
        answers = {key: answer.result() for key, answer in asked.items()}
    except Exception:
        threads.shutdown(cancel_futures=True)
        raise
    except BaseException:
        threads.shutdown(wait=False, cancel_futures=True)
        raise
    threads.shutdown()
    return answers
