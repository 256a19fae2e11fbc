"""Makes embedded labs, takes over kept ones, and removes those that nobody wants any more."""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Sequence
from dataclasses import dataclass

from pyroute2 import NetlinkError

from mesh_fixtures.artifacts.build import Artifacts, ensure_artifacts
from mesh_fixtures.errors import LabError, MeshConformanceError
from mesh_fixtures.interruption import run_apart
from mesh_fixtures.lab.addressing import assign_addresses
from mesh_fixtures.lab.netns import machine, state
from mesh_fixtures.lab.netns.lab import NetnsLab
from mesh_fixtures.lab.netns.teardown import tear_down
from mesh_fixtures.lab.provider import Problem
from mesh_fixtures.progress import Progress
from mesh_fixtures.scenario import Scenario

_TROUBLE = (OSError, RuntimeError, NetlinkError, subprocess.SubprocessError)
"""What the machine's kernel and programs refuse with."""


class NetnsProvider:
    """Makes embedded labs; implements `mesh_fixtures.lab.provider.Provider`."""

    @property
    def name(self) -> str:
        return "netns"

    def problems(self) -> Sequence[Problem]:
        return machine.problems()

    def open(self, scenario: Scenario, progress: Progress, *, reuse: bool = False) -> NetnsLab:
        machine.require_machine()
        assign_addresses(scenario, slot=0)
        opening = _Opening(scenario, ensure_artifacts(progress), progress, reuse)
        return run_apart(opening.run, opening.stop)


class _Opening:
    """One lab on its way, which can be stopped from another thread."""

    def __init__(
        self, scenario: Scenario, artifacts: Artifacts, progress: Progress, reuse: bool
    ) -> None:
        self._scenario = scenario
        self._artifacts = artifacts
        self._progress = progress
        self._reuse = reuse
        self._lab: NetnsLab | None = None
        self._stopped = threading.Event()

    def run(self) -> NetnsLab:
        kept = _take_over(self._scenario, self._artifacts, self._progress) if self._reuse else None
        if kept is not None:
            return kept
        clean_abandoned(self._progress)
        with state.exclusive():
            record = state.claim(self._scenario.id, self._scenario.digest, self._artifacts.digest)
        self._lab = NetnsLab(self._scenario, record, self._artifacts, self._progress)
        try:
            self._lab.start()
            if self._stopped.is_set():
                raise self._trouble("stopped")
        except _TROUBLE as error:
            _discard(self._lab, self._progress)
            raise self._trouble(repr(error)) from error
        except BaseException:
            _discard(self._lab, self._progress)
            raise
        return self._lab

    def stop(self) -> None:
        self._stopped.set()
        if self._lab is not None:
            self._lab.stop()

    def _trouble(self, seen: str) -> LabError:
        return LabError(
            wanted="clusters and networks to be made",
            seen=seen,
            where=f"scenario {self._scenario.id}",
            remedy="mesh-conformance doctor says what this machine lacks",
        )


@dataclass(frozen=True)
class Removed:
    """Ids of the labs that were removed; ids of those that live on, with the reason."""

    removed: tuple[str, ...]
    left_alone: tuple[tuple[str, str], ...]


def clean_abandoned(progress: Progress) -> Removed:
    """Remove labs whose process is gone and that nobody asked to keep.

    Raises:
        LabError: one of them could not be removed.
    """
    wanted, left_alone = [], []
    with state.exclusive():
        for record in state.records():
            if record.in_use:
                left_alone.append((record.id, f"in use by process {record.owner_pid}"))
            elif record.kept and record.booted:
                left_alone.append((record.id, f"kept, scenario {record.scenario}"))
            else:
                wanted.append(state.take_over(record))
    return _remove(wanted, left_alone, progress)


def take_down_kept(scenario_id: str | None, progress: Progress) -> Removed:
    """Remove labs that nobody uses, kept or abandoned.

    Args:
        scenario_id: only those of this scenario; None for all.

    Raises:
        LabError: one of them could not be removed.
    """
    wanted, left_alone = [], []
    with state.exclusive():
        for record in state.records():
            if scenario_id not in (None, record.scenario):
                continue
            if record.in_use:
                left_alone.append((record.id, f"in use by process {record.owner_pid}"))
            else:
                wanted.append(state.take_over(record))
    return _remove(wanted, left_alone, progress)


def _remove(
    wanted: Sequence[state.Record], left_alone: Sequence[tuple[str, str]], progress: Progress
) -> Removed:
    for record in wanted:
        with progress.phase("teardown", detail=f"lab {record.id}"):
            tear_down(record)
    return Removed(tuple(record.id for record in wanted), tuple(left_alone))


def _discard(lab: NetnsLab, progress: Progress) -> None:
    """Remove a lab that did not come up; the reason for that must not be lost over a second one."""
    try:
        lab.close()
    except MeshConformanceError as error:
        progress.note("teardown", str(error))


def _take_over(scenario: Scenario, artifacts: Artifacts, progress: Progress) -> NetnsLab | None:
    """A kept lab with the mesh of the same scenario and artifacts, if there is one that works."""
    wanted = (scenario.digest, artifacts.digest)
    with state.exclusive():
        fitting = [
            record
            for record in state.records()
            if record.kept
            and record.installed
            and not record.in_use
            and (record.scenario_digest, record.artifacts_digest) == wanted
        ]
        mine = [state.take_over(record) for record in fitting[:1]]
    for record in mine:
        lab = NetnsLab(scenario, record, artifacts, progress)
        if lab.resume():
            progress.note("reuse", f"kept lab {record.id}")
            return lab
        progress.note("reuse", f"kept lab {record.id} no longer answers; removing it")
        tear_down(record)
    return None
