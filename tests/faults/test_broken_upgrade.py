"""Upgrades that go wrong are told apart from those that do not."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final

import pytest

from mesh_fixtures.artifacts import build, catalog, istio, versions
from mesh_fixtures.report.document import read
from mesh_fixtures.report.model import Report, RequirementReport
from tests.faults import broken_upgrades
from tests.faults.table import TWO_NETWORKS
from tests.faults.test_lossy_istio import COMMIT

ROOT: Final = Path(__file__).parents[2]
_SECONDS: Final = 2400

Upgraded = Callable[[str, str], Report]
"""The report of an upgrade, by a strategy, that one of the faults meets."""


@pytest.fixture
def upgraded(tmp_path: Path) -> Upgraded:
    """In a run by itself: its lab is not fit for anything afterwards."""
    earlier = istio.earlier_of(COMMIT)
    missing = build.problems(parts=catalog.parts(earlier=earlier))
    if missing:
        pytest.skip(f"it is not built, and cannot be: {missing[0].missing} is missing")

    def run(strategy: str, fault: str) -> Report:
        done = subprocess.run(
            [
                *(sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"),
                *("-p", broken_upgrades.__name__, str(ROOT / "tests/conformance")),
                *("-k", "UPGRADE or SKEW or ROLLBACK"),
                *("--mesh-provider", "netns", "--mesh-topology", TWO_NETWORKS),
                *("--mesh-upgrade-from", COMMIT, "--mesh-upgrade", strategy),
                *("--mesh-keep", "never", "--mesh-report", str(tmp_path)),
            ],
            cwd=ROOT,
            env={**os.environ, broken_upgrades.FAULT: fault},
            capture_output=True,
            text=True,
            check=False,
            timeout=_SECONDS,
        )
        files = list(tmp_path.glob("*-report.yaml"))
        assert len(files) == 1, done.stdout + done.stderr
        return read(Report, files[0])

    return run


def result(report: Report, requirement: str) -> str:
    return _of(report, requirement).result


def said(report: Report, requirement: str) -> str:
    """All that was found against a requirement, and what kept it from being seen."""
    outcome = _of(report, requirement)
    return "\n".join([*map(str, outcome.findings), outcome.reason])


def _of(report: Report, requirement: str) -> RequirementReport:
    (outcome,) = [each for each in report.requirements if each.id == requirement]
    return outcome


@pytest.mark.timeout(_SECONDS + 60)
def test_a_proxy_that_stays_at_the_old_version(upgraded: Upgraded) -> None:
    report = upgraded("in-place", "pinned")
    found = said(report, "UPGRADE-1")
    assert result(report, "UPGRADE-1") == "unmet", found
    expected = f"{broken_upgrades.PINNED_CLUSTER}: expected proxies of {versions.ISTIO} only"
    assert expected in found, found
    assert "helloworld-v2-" in found, found
    assert result(report, "SKEW-1") == "met", said(report, "SKEW-1")


@pytest.mark.timeout(_SECONDS + 60)
def test_configuration_that_breaks_whoever_has_moved(upgraded: Upgraded) -> None:
    report = upgraded("revision", "configuration")
    assert result(report, "ROLLBACK-1") == "unmet", said(report, "ROLLBACK-1")
    assert result(report, "UPGRADE-2") == "unmet", said(report, "UPGRADE-2")
    assert result(report, "SKEW-1") == "unmet", said(report, "SKEW-1")
    assert "TRAFFIC-1: after: Upgrade Sleep of cluster1" in said(report, "ROLLBACK-1")
    assert "at the end" not in said(report, "ROLLBACK-1")
