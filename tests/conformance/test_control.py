"""Control: where istiod runs."""

from __future__ import annotations

from collections.abc import Callable

import pytest


@pytest.mark.requirement("CONTROL-1")
def test_istiod_runs_in_each_primary_and_in_no_remote(verify: Callable[[], None]) -> None:
    verify()
