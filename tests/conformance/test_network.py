"""Network: pods reach each other directly on one network, and not from another."""

from __future__ import annotations

from collections.abc import Callable

import pytest


@pytest.mark.requirement("NETWORK-1")
@pytest.mark.usefixtures("sample")
def test_pods_reach_each_other_directly_on_one_network_only(verify: Callable[[], None]) -> None:
    verify()
