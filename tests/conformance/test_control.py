"""Control: where istiod runs, and which proxies it configures."""

from __future__ import annotations

from collections.abc import Callable

import pytest


@pytest.mark.requirement("CONTROL-1")
def test_istiod_runs_in_each_primary_and_in_no_remote(verify: Callable[[], None]) -> None:
    verify()


@pytest.mark.requirement("CONTROL-2")
@pytest.mark.usefixtures("sample")
def test_each_proxy_is_in_sync_with_its_own_istiod(verify: Callable[[], None]) -> None:
    verify()


@pytest.mark.requirement("CONTROL-3")
@pytest.mark.usefixtures("sample")
def test_each_proxy_gives_its_cluster_network_and_mesh(verify: Callable[[], None]) -> None:
    verify()
