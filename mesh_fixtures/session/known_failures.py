"""The known failures of a run's baseline: tests that may fail until a day, and what is said of it.

pytest calls such a test xfailed; one that passes nevertheless has xpassed, and fails nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest

from mesh_fixtures.errors import ReportError
from mesh_fixtures.options import BASELINE
from mesh_fixtures.session import outcomes
from mesh_fixtures.session.selection import REQUIREMENT, topology_of

if TYPE_CHECKING:
    from mesh_fixtures.report.baseline import Baseline
    from mesh_fixtures.report.model import Known

KNOWN: Final[pytest.StashKey[Known]] = pytest.StashKey()
"""The known failure of the requirement that a test verifies."""


def read(file: Path) -> Baseline:
    """The baseline that has them.

    Raises:
        pytest.UsageError: it cannot be used.
    """
    from mesh_fixtures.report.baseline import Baseline
    from mesh_fixtures.report.document import read as read_document

    try:
        return read_document(Baseline, file)
    except ReportError as error:
        raise pytest.UsageError(f"{BASELINE.flag}: {error}") from error


def mark(
    items: Iterable[pytest.Item], baseline: Baseline, provider: str, install: str, today: date
) -> None:
    """Let tests know of their known failures.

    Args:
        today: in UTC.
    """
    from mesh_fixtures.report.merging import Key

    for item in items:
        requirement, topology = item.stash.get(REQUIREMENT, None), topology_of(item)
        if requirement is not None and topology:
            found = baseline.known(requirement.id, Key(topology, provider, install))
            if found is not None:
                item.stash[KNOWN] = found.on(today)


def excuse(report: pytest.TestReport, item: pytest.Item, error: BaseException | None) -> None:
    """Let the phase of a test be no failure where it only shows what is known. That the mesh could
    not be judged is still an error.

    Args:
        error: what ended the phase.
    """
    known, result = item.stash.get(KNOWN, None), outcomes.result_of(report, error)
    if known is None or result not in ("met", "unmet") or item.config.option.runxfail:
        return
    if not known.expired:
        report.wasxfail = known.about(result)  # as pytest's own plugin `skipping` does
        report.outcome = "passed" if result == "met" else "skipped"
    elif result == "unmet":
        report.sections.append(("known failure", known.about(result)))


def lines(baseline: Baseline, today: date) -> Sequence[str]:
    """What is to be said of a baseline when a run begins."""
    every = baseline.known_failures
    expired = [each for each in every if each.on(today).expired]
    if not every:
        return ("the baseline has no known failures",)
    return (
        f"known failures: {', '.join(sorted({each.requirement for each in every}))}",
        *(f"{each.requirement}: {each.on(today).about('unmet')}" for each in expired),
    )
