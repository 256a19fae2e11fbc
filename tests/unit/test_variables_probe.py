"""What istiods and proxies read of their variables that say yes or no."""

from __future__ import annotations

import pytest

from mesh_fixtures.probe.variables import is_on


@pytest.mark.parametrize(
    ("setting", "plainly"),
    [
        *((each, True) for each in ("true", "True", "TRUE", "1", "t", "T")),
        *((each, False) for each in ("false", "False", "FALSE", "0", "f", "F")),
    ],
)
def test_yes_and_no_are_as_go_reads_them(setting: str, plainly: bool) -> None:
    for by_default in (False, True):
        assert is_on({"A": setting}, "A", by_default=by_default) is plainly


@pytest.mark.parametrize("variables", [{}, {"A": ""}, {"A": "yes"}, {"B": "true"}])
@pytest.mark.parametrize("by_default", [False, True])
def test_what_is_neither_leaves_the_default(variables: dict[str, str], by_default: bool) -> None:
    assert is_on(variables, "A", by_default=by_default) is by_default
