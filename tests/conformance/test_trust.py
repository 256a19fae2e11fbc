"""Trust: the certificate authorities of the mesh, and the certificates of its proxies."""

from __future__ import annotations

from collections.abc import Callable

import pytest


@pytest.mark.requirement("TRUST-1")
def test_primaries_share_a_root_and_have_intermediates_of_their_own(
    verify: Callable[[], None],
) -> None:
    verify()


@pytest.mark.requirement("TRUST-2")
@pytest.mark.usefixtures("sample")
def test_each_proxy_holds_a_certificate_of_its_own_authority(verify: Callable[[], None]) -> None:
    verify()
