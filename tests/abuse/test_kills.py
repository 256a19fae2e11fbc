"""A run that is killed at any moment leaves nothing that `clean` does not remove."""

from __future__ import annotations

import random
import subprocess
from typing import Final

import pytest

from .machine import RUN_SECONDS, command, ended, require_as_before, snapshot, start

LATEST_SECONDS: Final = 45.0
"""About when a run is through with its topology on an idle machine of two cores."""

SEED: Final = 20261125


def run_and_kill(seconds: float) -> None:
    """Start a run, and kill it at that time unless it has ended by then."""
    with start() as running:
        try:
            running.wait(seconds)
        except subprocess.TimeoutExpired:
            running.kill()
        ended(running)


@pytest.mark.timeout(RUN_SECONDS)
def test_clean_removes_what_a_killed_run_left(kill: int) -> None:
    seconds = random.Random(SEED + kill).uniform(0.5, LATEST_SECONDS)
    before = snapshot()
    run_and_kill(seconds)
    cleaned = command("clean")
    assert cleaned.returncode == 0, cleaned.stderr
    require_as_before(before)


@pytest.mark.timeout(2 * RUN_SECONDS)
def test_the_next_run_removes_it_too_and_passes() -> None:
    before = snapshot()
    run_and_kill(LATEST_SECONDS / 2)
    with start() as running:
        output = ended(running)
    assert running.returncode == pytest.ExitCode.OK, output
    require_as_before(before)


@pytest.mark.timeout(2 * RUN_SECONDS)
def test_two_runs_at_once_do_not_meet() -> None:
    before = snapshot()
    with start() as one, start() as other:
        outputs = ended(one), ended(other)
    for running, output in zip((one, other), outputs, strict=True):
        assert running.returncode == pytest.ExitCode.OK, output
    require_as_before(before)
