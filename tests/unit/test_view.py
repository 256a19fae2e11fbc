from __future__ import annotations

import pickle
import threading

import pytest
from fake_kube import result

from mesh_fixtures.probe.view import at_once
from mesh_fixtures.verdict.findings import Finding, Unmet, require_none


def test_all_are_asked_at_the_same_time_and_answered_in_order() -> None:
    everybody = threading.Barrier(3)

    def ask(name: str) -> str:
        everybody.wait(timeout=5)
        return name.upper()

    assert list(at_once(["c", "a", "b"], ask).items()) == [("c", "C"), ("a", "A"), ("b", "B")]
    assert at_once([], ask) == {}


def test_the_first_error_in_order_is_raised_when_all_have_ended() -> None:
    ended: list[str] = []

    def ask(name: str) -> str:
        if name != "a":
            raise ValueError(name)
        ended.append(name)
        return name

    with pytest.raises(ValueError, match="b"):
        at_once(["b", "c", "a"], ask)
    assert ended == ["a"]


def test_a_finding_is_one_sentence_with_its_evidence() -> None:
    finding = Finding("cluster1", "two endpoints", "one", result().source)
    assert str(finding) == "cluster1: expected two endpoints, but saw one [curl helloworld]"
    assert str(Finding("c", "a", "b")) == "c: expected a, but saw b"


def test_findings_fail_a_requirement() -> None:
    require_none([])
    first = Finding("cluster1", "two endpoints", "one")
    second = Finding("cluster2", "two endpoints", "none")
    with pytest.raises(Unmet) as raised:
        require_none([first, second, first])
    assert raised.value.findings == (first, second)
    assert str(raised.value).count("\n") == 1
    assert pickle.loads(pickle.dumps(raised.value)).findings == (first, second)
