"""What the report of a test says of its requirement, from a worker to the controller."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Final

import pytest

from mesh_fixtures.session.selection import RESERVED

if TYPE_CHECKING:
    from mesh_fixtures.report import Checked

_ATTRIBUTE: Final = "mesh_outcome"
_LONGEST_REASON: Final = 4000
_TIMEOUT: Final = "from pytest-timeout"


def attach(
    report: pytest.TestReport,
    requirement: str,
    error: BaseException | None,
    causes: Iterable[str],
) -> str:
    """Let a phase of a test say what it found of a requirement, where it found anything.

    Args:
        error: what ended the phase.

    Returns:
        The result; empty where the phase says nothing.
    """
    result = _result(report, error)
    if result:
        findings = [
            {
                "cluster": each.cluster,
                "expected": each.expected,
                "seen": readable(each.seen),
                "source": str(each.source or ""),
            }
            for each in getattr(error, "findings", ())
        ]
        told = {
            "requirement": requirement,
            "result": result,
            "reason": "" if findings or result == "met" else _reason(report, error),
            "findings": findings,
            "causes": list(causes),
        }
        setattr(report, _ATTRIBUTE, told)
    return result


def _result(report: pytest.TestReport, error: BaseException | None) -> str:
    if report.when == "teardown":
        return ""
    if report.skipped:
        return "unmet" if hasattr(report, "wasxfail") else "not run"
    if report.failed:
        says = report.when == "call" and isinstance(error, AssertionError | pytest.fail.Exception)
        return "unmet" if says and _TIMEOUT not in str(error) else "inconclusive"
    return "met" if report.when == "call" else ""


def _reason(report: pytest.TestReport, error: BaseException | None) -> str:
    if report.skipped and isinstance(report.longrepr, tuple):
        return report.longrepr[2].removeprefix("Skipped: ")
    return readable(str(error) if error is not None and str(error) else report.longreprtext)


def readable(text: str) -> str:
    """What a report says of trouble: without secrets, and not at any length."""
    # Importing the diagnosis takes a moment, which tests that pass are spared.
    from mesh_fixtures.diagnosis.redaction import redacted

    return redacted(text.strip())[:_LONGEST_REASON]


def attached(report: pytest.TestReport) -> Checked | None:
    """What a report carries; None where it says nothing of a requirement."""
    told: dict[str, Any] | None = getattr(report, _ATTRIBUTE, None)
    if told is None:
        return None
    from mesh_fixtures.report import Checked
    from mesh_fixtures.report.model import Found

    figures = {
        name: value if isinstance(value, bool | int | float | str) else str(value)
        for name, value in report.user_properties
        if name not in RESERVED
    }
    return Checked(
        requirement=told["requirement"],
        result=told["result"],
        reason=told["reason"],
        seconds=report.duration,
        findings=tuple(Found(**each) for each in told["findings"]),
        figures=figures,
        causes=tuple(told["causes"]),
    )
