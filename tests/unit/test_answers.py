from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh_fixtures.probe.answers import answer_in

LOGGED = "2026-11-22T11:26:48.529745Z\twarn\tOS CA Cert could not be found for agent\n"
LOGGED_AS_JSON = '{"level":"warn","msg":"OS CA Cert could not be found for agent"}\n'

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)
answers = st.none() | st.lists(values, max_size=5) | st.dictionaries(st.text(), values, max_size=5)
logs = st.lists(st.sampled_from([LOGGED, LOGGED_AS_JSON, "[warn] text\n", "{half\n"])).map("".join)


@given(logs, answers, st.sampled_from([None, 1]), st.sampled_from(["", "\n", "\n\n"]))
def test_the_answer_follows_what_was_logged(
    log: str, value: Any, indent: int | None, end: str
) -> None:
    assert answer_in(log + json.dumps(value, indent=indent) + end) == value


@pytest.mark.parametrize("output", ["", LOGGED, "{}\n" + LOGGED, "404 {}", '{"half": [', "text"])
def test_no_answer(output: str) -> None:
    with pytest.raises(ValueError, match="no JSON"):
        answer_in(output)
