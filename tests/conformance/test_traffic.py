"""Traffic: HelloWorld answers from every cluster, in the shares that its endpoints predict, and by
the way that its networks require.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest


@pytest.mark.requirement("TRAFFIC-1")
@pytest.mark.usefixtures("traffic")
def test_every_version_answers_every_client_without_an_error(verify: Callable[[], None]) -> None:
    verify()


@pytest.mark.requirement("TRAFFIC-2")
@pytest.mark.usefixtures("traffic")
def test_answers_are_shared_as_the_endpoints_weights_say(verify: Callable[[], None]) -> None:
    verify()


@pytest.mark.requirement("TRAFFIC-3")
@pytest.mark.usefixtures("traffic")
def test_requests_pass_gateways_where_they_cross_networks_only(verify: Callable[[], None]) -> None:
    verify()
