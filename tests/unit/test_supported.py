"""Ranges of versions."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh_fixtures.artifacts import versions
from mesh_fixtures.errors import MachineError
from mesh_fixtures.supported import HELM, ISTIO, KUBERNETES, Range, minor_of

RANGE = Range("Thing", (1, 9), (2, 1))


@given(st.integers(0, 3), st.integers(0, 200))
def test_numbers_are_compared_as_numbers(major: int, minor: int) -> None:
    inside = (1, 9) <= (major, minor) <= (2, 1)
    for version in (f"{major}.{minor}", f"v{major}.{minor}.3", f"{major}.{minor}-alpha.1"):
        assert (version in RANGE) == inside
        assert minor_of(version) == (major, minor)


@pytest.mark.parametrize("version", ["", "unknown", "1", "1.", "x1.9"])
def test_what_is_no_version_is_outside(version: str) -> None:
    assert version not in RANGE
    with pytest.raises(MachineError, match=r"here: wanted Thing 1\.9 to 2\.1"):
        RANGE.require(version, where="here")


def test_what_is_pinned_is_supported() -> None:
    assert versions.ISTIO in ISTIO
    assert versions.HELM in HELM
    built = {minor_of(version) for version in (versions.KUBERNETES, *versions.OTHER_KUBERNETES)}
    oldest, newest = KUBERNETES.oldest[1], KUBERNETES.newest[1]
    assert built == {(1, minor) for minor in range(oldest, newest + 1)}
