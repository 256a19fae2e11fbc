"""What the report of a test says of its requirement, from a worker to the controller."""

from __future__ import annotations

from collections.abc import Iterable
from math import isfinite
from typing import TYPE_CHECKING, Final

import pytest

from mesh_fixtures.session.selection import NOTE, RESERVED

if TYPE_CHECKING:
    from mesh_fixtures.report.model import Figure, Known, RequirementReport, Result

_ATTRIBUTE: Final = "mesh_outcome"
_LONGEST_REASON: Final = 4000
_TIMEOUT: Final = "from pytest-timeout"


def attach(
    report: pytest.TestReport,
    requirement: str,
    error: BaseException | None,
    causes: Iterable[str],
    known_failure: Known | None,
) -> str:
    """Let a phase of a test say what it found of a requirement, where it found anything.

    Args:
        error: what ended the phase.
        known_failure: the one that the run's baseline has of it.

    Returns:
        The result; empty where the phase says nothing.
    """
    result = result_of(report, error)
    if result is None:
        return ""
    record = _record(report, requirement, result, error, causes, known_failure)
    setattr(report, _ATTRIBUTE, record.model_dump(mode="json"))
    return result


def attached(report: pytest.TestReport) -> RequirementReport | None:
    """What a report carries; None where it says nothing of a requirement."""
    content: object = getattr(report, _ATTRIBUTE, None)
    if content is None:
        return None
    from mesh_fixtures.report.model import RequirementReport

    return RequirementReport.model_validate(content)


def lost(report: pytest.TestReport, requirement: str) -> RequirementReport | None:
    """What is known of a requirement whose test has ended with its process; None where only that
    process knew the requirement.
    """
    from mesh_fixtures.report.model import RequirementReport
    from mesh_fixtures.requirements import by_id

    try:
        known = by_id(requirement)
    except LookupError:
        return None
    return RequirementReport.unverified(known, "inconclusive", readable(report.longreprtext))


def _record(
    report: pytest.TestReport,
    requirement: str,
    result: Result,
    error: BaseException | None,
    causes: Iterable[str],
    known_failure: Known | None,
) -> RequirementReport:
    # Both are imported late, as tests without requirements are spared what they take.
    from mesh_fixtures.report.model import Found, RequirementReport
    from mesh_fixtures.requirements import by_id
    from mesh_fixtures.verdict.findings import Unmet

    known = by_id(requirement)
    findings = tuple(
        Found(
            cluster=each.cluster,
            expected=each.expected,
            seen=readable(each.seen),
            source=str(each.source or ""),
        )
        for each in (error.findings if isinstance(error, Unmet) else ())
    )
    return RequirementReport(
        id=known.id,
        level=known.level,
        title=known.title,
        result=result,
        known=known_failure,
        reason="" if findings or result == "met" else _reason(report, error),
        seconds=round(report.duration, 3),
        findings=findings,
        figures={
            name: _figure(value) for name, value in report.user_properties if name not in RESERVED
        },
        causes=tuple(causes),
        notes=tuple(str(value) for name, value in report.user_properties if name == NOTE),
    )


def _figure(value: object) -> Figure:
    """A property of a test as a figure; a document has no number for what is not finite."""
    if isinstance(value, bool | int | str) or (isinstance(value, float) and isfinite(value)):
        return value
    return str(value)


def result_of(report: pytest.TestReport, error: BaseException | None) -> Result | None:
    """What a phase of a test, and what ended it, say of the requirement; None for nothing."""
    if report.when == "teardown":
        return None
    if report.skipped:
        return "unmet" if hasattr(report, "wasxfail") else "not run"
    if report.failed:
        says = report.when == "call" and isinstance(error, AssertionError | pytest.fail.Exception)
        return "unmet" if says and _TIMEOUT not in str(error) else "inconclusive"
    return "met" if report.when == "call" else None


def _reason(report: pytest.TestReport, error: BaseException | None) -> str:
    if report.skipped and isinstance(report.longrepr, tuple):
        return report.longrepr[2].removeprefix("Skipped: ")
    return readable(str(error) if error is not None and str(error) else report.longreprtext)


def readable(text: str) -> str:
    """What a report says of trouble: without secrets, and not at any length."""
    # Importing the diagnosis takes a moment, which tests that pass are spared.
    from mesh_fixtures.diagnosis.redaction import redacted

    return redacted(text.strip())[:_LONGEST_REASON]
