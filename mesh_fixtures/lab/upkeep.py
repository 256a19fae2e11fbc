"""Removes labs that nobody uses any more, whatever made them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mesh_fixtures.lab import state
from mesh_fixtures.progress import Progress


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
    wanted, left_alone = [], []
    with state.exclusive():
        for record in state.records():
            if provider not in (None, record.provider or provider):
                continue
            if record.in_use:
                left_alone.append((record.id, f"in use by process {record.owner_pid}"))
            elif record.kept and record.booted:
                left_alone.append((record.id, f"kept, scenario {record.scenario}"))
            else:
                wanted.append(state.take_over(record))
    return _remove(wanted, left_alone, progress)


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
    wanted, left_alone = [], []
    with state.exclusive():
        for record in state.records():
            if scenario_id not in (None, record.scenario):
                continue
            if provider not in (None, record.provider):
                continue
            if record.in_use:
                left_alone.append((record.id, f"in use by process {record.owner_pid}"))
            else:
                wanted.append(state.take_over(record))
    return _remove(wanted, left_alone, progress)


def tear_down(record: state.Record) -> None:
    """Remove a lab and check that nothing of it is left.

    Raises:
        LabError: something is still there.
    """
    if record.provider == "kind":
        from mesh_fixtures.lab.kind import teardown as kind

        kind.tear_down(record)
    else:
        from mesh_fixtures.lab.netns import teardown as netns

        netns.tear_down(record)


def _remove(
    wanted: Sequence[state.Record], left_alone: Sequence[tuple[str, str]], progress: Progress
) -> Removed:
    for record in wanted:
        with progress.phase("teardown", detail=f"lab {record.id}"):
            tear_down(record)
    return Removed(tuple(record.id for record in wanted), tuple(left_alone))
