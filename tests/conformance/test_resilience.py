"""Resilience: parts of the mesh are taken down and brought back, with --mesh-disruptive only.

Each waits for what is taken down in several clusters, one after the other: the limit is on all that
it may wait for where nothing comes back.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

pytestmark = [pytest.mark.usefixtures("sample"), pytest.mark.timeout(1200)]


@pytest.mark.requirement("RESILIENCE-1")
def test_requests_go_elsewhere_while_a_helloworld_is_away(verify: Callable[[], None]) -> None:
    verify()


@pytest.mark.requirement("RESILIENCE-2")
def test_errors_end_soon_when_a_gateway_restarts(verify: Callable[[], None]) -> None:
    verify()


@pytest.mark.requirement("RESILIENCE-3")
def test_the_mesh_goes_on_to_serve_while_istiod_is_down(verify: Callable[[], None]) -> None:
    verify()


@pytest.mark.requirement("RESILIENCE-4")
def test_changes_arrive_after_remote_secrets_are_rotated(verify: Callable[[], None]) -> None:
    verify()
