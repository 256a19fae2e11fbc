"""Trust: the certificate authorities of the mesh."""

from __future__ import annotations

from collections.abc import Callable

import pytest


@pytest.mark.requirement("TRUST-1")
def test_primaries_share_a_root_and_have_intermediates_of_their_own(
    verify: Callable[[], None],
) -> None:
    verify()
