"""Security: who is known to whom, and who is refused."""

from __future__ import annotations

from collections.abc import Callable

import pytest


@pytest.mark.requirement("SECURITY-1")
@pytest.mark.usefixtures("traffic")
def test_helloworld_knows_its_clients_by_their_spiffe_ids(verify: Callable[[], None]) -> None:
    verify()


@pytest.mark.requirement("SECURITY-2")
@pytest.mark.usefixtures("endpoints")
def test_gateways_refuse_who_is_not_of_the_mesh(verify: Callable[[], None]) -> None:
    verify()


@pytest.mark.requirement("SECURITY-3")
@pytest.mark.usefixtures("sample")
def test_istiod_refuses_who_has_no_valid_token_or_certificate(verify: Callable[[], None]) -> None:
    verify()
