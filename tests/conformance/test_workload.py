"""Workloads: HelloWorld and Sleep run in their clusters, with a proxy of the right istiod."""

from __future__ import annotations

from collections.abc import Callable

import pytest


@pytest.mark.requirement("WORKLOAD-1")
@pytest.mark.usefixtures("sample")
def test_workloads_run_injected_by_the_right_istiod(verify: Callable[[], None]) -> None:
    verify()
