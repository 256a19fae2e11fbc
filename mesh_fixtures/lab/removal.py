"""How labs of any kind are removed: everything is tried, and what is left is reported."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from mesh_fixtures.errors import LabError, MeshConformanceError
from mesh_fixtures.records import Record


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
