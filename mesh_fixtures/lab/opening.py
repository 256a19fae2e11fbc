"""Opens labs: takes over a kept one that fits, or makes one in a way that can be cut short."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from mesh_fixtures import records
from mesh_fixtures.errors import LabError, MeshConformanceError
from mesh_fixtures.interruption import run_apart
from mesh_fixtures.lab.recorded import RecordedLab
from mesh_fixtures.lab.upkeep import clean_abandoned, tear_down
from mesh_fixtures.progress import Progress
from mesh_fixtures.scenario import Scenario

AnyLab = TypeVar("AnyLab", bound=RecordedLab)


@dataclass(frozen=True)
class Blueprint(Generic[AnyLab]):
    """How a provider makes a lab.

    Attributes:
        provider: its name.
        engine: the container engine that will run it; empty where none does.
        runs: digest of everything that will run in it.
        slotted: whether it needs addresses that no other lab of this machine has.
        build: the lab of a record, not started.
        trouble: what the machine refuses with.
        method: `InstallMethods.name`: how its mesh is installed; empty where it is there.
        bare: whether no mesh will be installed.
        minds_abandoned: whether it needs what earlier labs left behind to be gone.
    """

    scenario: Scenario
    provider: str
    engine: str
    runs: str
    slotted: bool
    build: Callable[[records.Record], AnyLab]
    trouble: tuple[type[Exception], ...]
    method: str = ""
    bare: bool = False
    minds_abandoned: bool = True


def open_lab(blueprint: Blueprint[AnyLab], progress: Progress, *, reuse: bool) -> AnyLab:
    """A running lab.

    Args:
        reuse: take over a kept one with the same scenario, content and method of installation, if
            there is one that works.

    Raises:
        LabError: it did not come up; what was made is removed.
    """
    opening = _Opening(blueprint, progress, reuse)
    return run_apart(opening.run, opening.stop)


class _Opening(Generic[AnyLab]):
    """One lab on its way, which can be stopped from another thread."""

    def __init__(self, blueprint: Blueprint[AnyLab], progress: Progress, reuse: bool) -> None:
        self._blueprint = blueprint
        self._progress = progress
        self._reuse = reuse
        self._lab: AnyLab | None = None
        self._stopped = threading.Event()

    def run(self) -> AnyLab:
        kept = self._take_over() if self._reuse else None
        if kept is not None:
            return kept
        blueprint = self._blueprint
        self._clean_abandoned()
        with records.exclusive():
            record = records.claim(
                blueprint.scenario,
                blueprint.runs,
                provider=blueprint.provider,
                engine=blueprint.engine,
                slotted=blueprint.slotted,
                method=blueprint.method,
                bare=blueprint.bare,
            )
        self._lab = blueprint.build(record)
        try:
            self._lab.start()
            if self._stopped.is_set():
                raise self._trouble("stopped")
        except blueprint.trouble as error:
            self._discard(self._lab)
            raise self._trouble(repr(error)) from error
        except BaseException:
            self._discard(self._lab)
            raise
        return self._lab

    def stop(self) -> None:
        self._stopped.set()
        if self._lab is not None:
            self._lab.stop()

    def _clean_abandoned(self) -> None:
        try:
            clean_abandoned(self._progress, self._blueprint.provider)
        except LabError as error:
            if self._blueprint.minds_abandoned:
                raise
            self._progress.note("clean", str(error))

    def _take_over(self) -> AnyLab | None:
        """A kept lab of the same scenario and content, with its mesh or made to have none, if there
        is one that works.
        """
        blueprint = self._blueprint
        wanted = (
            *(blueprint.provider, blueprint.engine, blueprint.scenario.digest),
            *(blueprint.runs, blueprint.method),
        )
        with records.exclusive():
            fitting = [
                record
                for record in records.load_all()
                if record.kept
                and (record.bare if blueprint.bare else record.installed)
                and not record.in_use
                and records.is_as_installed(record.folder)
                and wanted == _content(record)
            ]
            mine = [records.take_over(record) for record in fitting[:1]]
        for record in mine:
            lab = blueprint.build(record)
            if lab.resume():
                self._progress.note("reuse", f"kept lab {record.id}")
                return lab
            self._progress.note("reuse", f"kept lab {record.id} no longer answers; removing it")
            tear_down(record)
        return None

    def _discard(self, lab: AnyLab) -> None:
        """Remove a lab that did not come up; a second reason must not hide the first."""
        try:
            lab.close()
        except MeshConformanceError as error:
            self._progress.note("teardown", str(error))

    def _trouble(self, seen: str) -> LabError:
        return LabError(
            wanted="clusters and networks to be made",
            seen=seen,
            where=f"scenario {self._blueprint.scenario.id}",
            remedy="mesh-conformance doctor lists what is missing on this machine",
        )


def _content(record: records.Record) -> tuple[str, ...]:
    return (
        *(record.provider, record.engine, record.scenario_digest),
        *(record.artifacts_digest, record.method),
    )
