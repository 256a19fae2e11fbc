from __future__ import annotations

import pickle

import pytest
from fake_kube import result

from mesh_fixtures.verdict.findings import Finding, Unmet, require_none


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
