"""Discovery: which API servers istiod reads, and which endpoints clients get from it."""

from __future__ import annotations

from collections.abc import Callable

import pytest


@pytest.mark.requirement("DISCOVERY-1")
def test_each_istiod_reads_exactly_the_api_servers_that_it_must(verify: Callable[[], None]) -> None:
    verify()


@pytest.mark.requirement("DISCOVERY-2")
@pytest.mark.usefixtures("endpoints")
def test_each_client_has_healthy_endpoints_for_every_version(verify: Callable[[], None]) -> None:
    verify()
