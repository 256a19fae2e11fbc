"""Texts that say the same but for ids, numbers and names of pods."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh_fixtures.diagnosis.alike import distinct, gist


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("pod sleep-5bcf4798ff-dwxl8 waits", "pod sleep-7d8f9c6b5d-s7t5g waits"),
        ("Pod/helloworld-v1-5bcf4798ff-dwxl8", "Pod/helloworld-v1-5bcf4798ff-zzzzz"),
        ("from 10.68.0.8:50312: refused", "from 10.64.40.9:33000: refused"),
        ("container 4b7c0a1f9d2e3c4b5a69788f failed", "container 0f1e2d3c4b5a69788f4b7c0a failed"),
        ("after 3 attempts in 0.25 s", "after 12 attempts in 1.5 s"),
    ],
)
def test_what_differs_each_time_is_left_out(one: str, other: str) -> None:
    assert gist(one) == gist(other)
    assert list(distinct([one, other])) == [one]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("cluster1 synced", "cluster2 synced"),
        ("helloworld-v1 missing", "helloworld-v2 missing"),
        ("configmap istio-ca-root-cert not found", "configmap istio not found"),
        ("network1", "network2"),
    ],
)
def test_names_are_not_left_out(one: str, other: str) -> None:
    assert list(distinct([one, other])) == [one, other]


@given(st.lists(st.text(max_size=6)))
def test_distinct_texts_are_the_first_ones_in_order(texts: list[str]) -> None:
    found = list(distinct(texts))
    assert {gist(each) for each in found} == {gist(each) for each in texts}
    assert len({gist(each) for each in found}) == len(found)
    assert found == [each for each in dict.fromkeys(texts) if each in found]
