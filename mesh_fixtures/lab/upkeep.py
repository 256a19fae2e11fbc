"""Removes labs that nobody uses any more, whatever made them; and how labs of any kind are removed:
everything is tried, and what is left is reported.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass

from mesh_fixtures import providers, records
from mesh_fixtures.errors import LabError, MeshConformanceError
from mesh_fixtures.progress import Progress
from mesh_fixtures.records import Record


@dataclass(frozen=True)
class Removed:
    """Ids of the labs that were removed; ids of those that live on, with the reason."""

    removed: tuple[str, ...]
    left_alone: tuple[tuple[str, str], ...]


def clean_abandoned(progress: Progress, provider: str | None = None) -> Removed:
    """Remove labs whose process is gone and that nobody asked to keep.

    Args:
        provider: only those that it made; None for all.

    Raises:
        LabError: one of them could not be removed.
    """

    def keeps(record: Record) -> str:
        return f"kept, scenario {record.scenario}" if record.kept and record.booted else ""

    def concerned(record: Record) -> bool:
        # A record that cannot be read is of a lab that was never started: any provider removes it.
        return provider is None or record.provider in ("", provider)

    return _remove(concerned, progress, keeps)


def take_down_kept(
    scenario_id: str | None, progress: Progress, provider: str | None = None
) -> Removed:
    """Remove labs that nobody uses, kept or abandoned.

    Args:
        scenario_id: only those of this scenario; None for all.
        provider: only those that it made; None for all.

    Raises:
        LabError: one of them could not be removed.
    """

    def concerned(record: Record) -> bool:
        return scenario_id in (None, record.scenario) and provider in (None, record.provider)

    return _remove(concerned, progress)


def _remove(
    concerned: Callable[[Record], bool],
    progress: Progress,
    keeps: Callable[[Record], str] | None = None,
) -> Removed:
    """Remove those labs that nobody uses and that nothing keeps.

    Args:
        keeps: why a lab stays that nobody uses; empty when it goes.
    """
    wanted, left_alone = [], []
    with records.exclusive():
        for record in filter(concerned, records.load_all()):
            reason = f"in use by process {record.owner_pid}" if record.in_use else ""
            if not reason and record.provider and providers.maker_of(record) is None:
                reason = f"its provider {record.provider} is not installed"
            if not reason and keeps is not None:
                reason = keeps(record)
            if reason:
                left_alone.append((record.id, reason))
            else:
                # One that cannot be read stays as it is, for whoever can: it may be newer.
                wanted.append(records.take_over(record) if record.provider else record)
    failed: list[LabError] = []
    for record in wanted:
        try:
            with progress.phase("teardown", detail=f"lab {record.id}"):
                tear_down(record)
        except LabError as error:
            failed.append(error)
    if failed:
        raise _all_of(failed)
    return Removed(tuple(record.id for record in wanted), tuple(left_alone))


def _all_of(failed: Sequence[LabError]) -> LabError:
    """One error for all labs that could not be removed."""
    first, *others = failed
    if not others:
        return first
    return LabError(
        wanted=first.wanted,
        seen="; ".join((first.seen, *map(str, others))),
        where=first.where,
        remedy=first.remedy,
    )


def tear_down(record: Record) -> None:
    """Remove a lab and check that nothing of it is left.

    Raises:
        LabError: something is still there, or its provider is not installed.
    """
    if record.provider:
        providers.tear_down(record)
        return
    if any(record.journal.entries()):
        raise LabError(
            wanted=f"the record of lab {record.id}, which says how to remove it",
            seen="a file that cannot be read",
            where=str(record.folder),
            remedy="remove by hand what journal.jsonl lists there, then the folder",
        )
    with suppress(FileNotFoundError):  # as nobody owns it, others may remove it meanwhile
        shutil.rmtree(record.folder)


def attempt(steps: Sequence[Callable[[], None]]) -> list[str]:
    """Take every step, whatever happens to the others, so that a second time has less to do.

    Returns:
        What went wrong.
    """
    failures = []
    for step in steps:
        try:
            step()
        except (MeshConformanceError, OSError) as error:
            failures.append(str(error))
    return failures


def require_nothing_left(record: Record, left: Sequence[str], *, otherwise: str = "") -> None:
    """Check that a lab is gone.

    Args:
        left: what is still there or went wrong, one line each.
        otherwise: what a person can do when trying again does not help.

    Raises:
        LabError: there is something.
    """
    if left:
        again = "mesh-conformance clean tries again"
        raise LabError(
            wanted=f"nothing of lab {record.id} to be left",
            seen="; ".join(left),
            where=str(record.folder),
            remedy=f"{again}; {otherwise}" if otherwise else again,
        )
