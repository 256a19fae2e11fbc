"""Upgrades that go wrong are told apart from those that do not."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Final

import pytest

from mesh_fixtures.artifacts import build, catalog, istio, versions
from tests.faults import broken_upgrades
from tests.faults.separate_run import SeparateRun, verified
from tests.faults.test_lossy_istio import COMMIT
from tests.faults.topologies import TWO_NETWORKS

_SECONDS: Final = 2400

Upgraded = Callable[[str, str], SeparateRun]
"""An upgrade, by a strategy, that one of the faults meets."""


@pytest.fixture
def upgraded(tmp_path: Path) -> Upgraded:
    """In a run by itself: its lab is not fit for anything afterwards."""
    earlier = istio.version_of(COMMIT)
    missing = build.problems(parts=catalog.parts(earlier=earlier))
    if missing:
        pytest.skip(f"it is not built, and cannot be: {missing[0].missing} is missing")

    def run(strategy: str, fault: str) -> SeparateRun:
        return verified(
            TWO_NETWORKS,
            tmp_path,
            *("-p", broken_upgrades.__name__, "-k", "UPGRADE or SKEW or ROLLBACK"),
            *("--mesh-upgrade-from", COMMIT, "--mesh-upgrade", strategy),
            seconds=_SECONDS,
            variables={broken_upgrades.FAULT: fault},
        )

    return run


def said(run: SeparateRun, requirement: str) -> str:
    """All that was found against a requirement, and what kept it from being seen."""
    outcome = run.of(requirement)
    return "\n".join([*map(str, outcome.findings), outcome.reason])


@pytest.mark.timeout(_SECONDS + 60)
def test_a_proxy_that_stays_at_the_old_version(upgraded: Upgraded) -> None:
    run = upgraded("in-place", "pinned")
    found = said(run, "UPGRADE-1")
    assert run.of("UPGRADE-1").result == "unmet", found
    expected = f"{broken_upgrades.PINNED_CLUSTER}: expected proxies of {versions.ISTIO} only"
    assert expected in found, found
    assert "helloworld-v2-" in found, found
    assert run.of("SKEW-1").result == "met", said(run, "SKEW-1")


@pytest.mark.timeout(_SECONDS + 60)
def test_configuration_that_breaks_whoever_has_moved(upgraded: Upgraded) -> None:
    run = upgraded("revision", "configuration")
    assert run.of("ROLLBACK-1").result == "unmet", said(run, "ROLLBACK-1")
    assert run.of("UPGRADE-2").result == "unmet", said(run, "UPGRADE-2")
    assert run.of("SKEW-1").result == "unmet", said(run, "SKEW-1")
    assert "TRAFFIC-1: after: Upgrade Sleep of cluster1" in said(run, "ROLLBACK-1")
    assert "at the end" not in said(run, "ROLLBACK-1")
