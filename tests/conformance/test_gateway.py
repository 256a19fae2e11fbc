"""Gateways: east-west gateways have addresses and listen where they must, and nowhere else."""

from __future__ import annotations

from collections.abc import Callable

import pytest


@pytest.mark.requirement("GATEWAY-1")
@pytest.mark.usefixtures("sample")
def test_gateways_have_addresses_and_listen_exactly_where_they_must(
    verify: Callable[[], None],
) -> None:
    verify()
