"""A mesh with what was seen of it: costly observations are made once and shared."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, replace
from math import inf
from typing import TYPE_CHECKING, Any, TypeVar, cast

from mesh_fixtures import patience
from mesh_fixtures.errors import LabError
from mesh_fixtures.probe.traffic import TrafficSample, requests, served, since
from mesh_fixtures.probe.view import MeshView
from mesh_fixtures.scenario import Scenario
from mesh_fixtures.verdict.client_endpoints import (
    DEADLINE_SECONDS,
    ClientEndpoints,
    client_endpoints,
)

if TYPE_CHECKING:
    from mesh_fixtures.options import Strategy
    from mesh_fixtures.progress import Progress

Value = TypeVar("Value")


@dataclass(frozen=True)
class Upgrade:
    """That a mesh is to be upgraded, and how.

    Attributes:
        progress: gets a phase for each step.
    """

    strategy: Strategy
    progress: Progress


class ObservedMesh:
    """A mesh to check requirements by. Threads may share it.

    Args:
        view: stays open for as long as the mesh is checked; its owner closes it.
        requests: number of requests from each cluster when traffic is observed.
        settling_seconds: most that any requirement waits for the mesh to become as it must be, on
            an idle machine; each has its own bound as well. It may be changed between them.
        has_samples: whether the sample workloads run in it. Without them, requirements are judged
            by what is there, and a cluster need not have any proxy.
        upgrade: None where the mesh stays as it was installed.
    """

    def __init__(
        self,
        view: MeshView,
        *,
        requests: int,
        settling_seconds: float = inf,
        has_samples: bool = True,
        upgrade: Upgrade | None = None,
    ) -> None:
        self.requests = requests
        self.has_samples = has_samples
        self.upgrade = upgrade
        self._view = view
        self.settling_seconds = settling_seconds
        self._tainted: LabError | None = None
        self._made: dict[Callable[[ObservedMesh], Any], Future[Any]] = {}
        self._lasting: dict[Callable[[ObservedMesh], Any], Future[Any]] = {}
        self._lock = threading.Lock()

    @property
    def view(self) -> MeshView:
        """Clients of all clusters, for observations that nobody else needs.

        Raises:
            LabError: the mesh is tainted.
        """
        if self._tainted is not None:
            raise self._tainted
        return self._view

    @property
    def tainted(self) -> LabError | None:
        """Why nothing more is learnt from this mesh; None where it can be."""
        return self._tainted

    @property
    def view_as_it_is(self) -> MeshView:
        """Clients of all clusters, of a tainted mesh too: for what explains, and does not judge."""
        return self._view

    @property
    def scenario(self) -> Scenario:
        return self._view.scenario

    def patient(self, seconds: float) -> float:
        """How long to wait for this mesh to become as it must be, on this machine.

        Args:
            seconds: that it may take on an idle machine.
        """
        return patience.patient(min(seconds, self.settling_seconds))

    def taint(self, error: LabError) -> None:
        """Let nothing more be judged: what was done to the mesh could not be undone."""
        self._tainted = error
        self.forget()

    @property
    def endpoints(self) -> Mapping[str, ClientEndpoints]:
        """What Sleep's proxy in each cluster knows of HelloWorld, once it is complete or was waited
        for long enough; by cluster.

        Raises:
            ProbeError: as `client_endpoints`.
        """
        return self.once(_endpoints)

    @property
    def traffic(self) -> Mapping[str, TrafficSample]:
        """Requests from all clusters at the same time, after their endpoints; by cluster.

        Raises:
            ProbeError: as `endpoints` and `requests`.
        """
        return self.once(_traffic)

    @property
    def traffic_so_far(self) -> Mapping[str, TrafficSample]:
        """`traffic`, where it was observed already; nothing otherwise."""
        with self._lock:
            made = self._made.get(_traffic)
        done = made is not None and made.done() and made.exception() is None
        return cast("Mapping[str, TrafficSample]", made.result()) if made and done else {}

    def once(self, observe: Callable[[ObservedMesh], Value], *, lasting: bool = False) -> Value:
        """What an observation saw, however often and from wherever it is asked for.

        Its error is kept too, so that trouble is waited for once. Who asks while it is being made
        waits for it.

        Args:
            observe: a function of a module, by which the observation is known; it may ask for
                others, but not for itself.
            lasting: whether `forget` leaves it: where something is done to the mesh by it.

        Raises:
            Exception: as the observation.
        """
        with self._lock:
            made = self._lasting if lasting else self._made
            known = made.get(observe)
            making: Future[Any] = Future()
            if known is None:
                made[observe] = making
        if known is not None:
            return cast("Value", known.result())
        try:
            seen = observe(self)
        except BaseException as error:
            if not isinstance(error, Exception):  # an interrupt says nothing about the mesh
                self._drop(made, observe, making)
            making.set_exception(error)
            raise
        making.set_result(seen)
        return seen

    def begin(self, observe: Callable[[ObservedMesh], object]) -> None:
        """Have an observation made beside what else is going on; `once` waits for its end."""

        def made() -> None:
            with suppress(Exception):  # which is kept for who asks
                self.once(observe)

        threading.Thread(target=made, daemon=True).start()

    def forget(self) -> None:
        """Have everything observed again when it is next asked for: the mesh has changed.

        An observation that is being made goes to those who wait for it already, and to nobody else.
        """
        with self._lock:
            self._made = {}

    def _drop(
        self,
        made: dict[Callable[[ObservedMesh], Any], Future[Any]],
        observe: Callable[[ObservedMesh], Any],
        making: Future[Any],
    ) -> None:
        with self._lock:
            if made.get(observe) is making:
                del made[observe]


def _endpoints(mesh: ObservedMesh) -> Mapping[str, ClientEndpoints]:
    return client_endpoints(mesh.view, mesh.patient(DEADLINE_SECONDS))


def _traffic(mesh: ObservedMesh) -> Mapping[str, TrafficSample]:
    _ = mesh.endpoints  # requests before that would tell of the time that configuration takes
    return sampled(mesh)


def sampled(mesh: ObservedMesh, budget_seconds: int | None = None) -> Mapping[str, TrafficSample]:
    """Requests from all clusters at the same time; where some fail, with what became of them at
    the servers.

    Args:
        budget_seconds: as for `requests`.

    Raises:
        ProbeError: as `requests`.
    """
    before = mesh.view.each(served)
    samples = mesh.view.each(
        lambda kube: requests(kube, mesh.requests, budget_seconds=budget_seconds)
    )
    if not any(sample.failures for sample in samples.values()):
        return samples
    after = mesh.view.each(served)
    return {
        name: replace(sample, served=since(before[name], after[name]))
        for name, sample in samples.items()
    }
