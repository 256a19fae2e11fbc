"""Other projects' suites: what they are compiled from, how outcomes are read and held to what is
expected of them.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from mesh_fixtures.artifacts import gobuild
from tests.fidelity import programs
from tests.fidelity.outcomes import (
    FAILED,
    PASSED,
    SKIPPED,
    Expectation,
    Outcome,
    compare,
    expectations,
    from_ginkgo,
    from_go,
)


@pytest.mark.parametrize("module", ["istio", "kubernetes"])
def test_suites_are_compiled_from_what_labs_run(module: str) -> None:
    def required(folder: Path) -> set[str]:
        lines = (folder / module / "go.mod").read_text().splitlines()
        return {line.removesuffix(" // indirect").strip() for line in lines if " v" in line}

    own = required(Path(programs.__file__).parent / "go")
    assert own > required(gobuild.SOURCES)


GO = """\
=== RUN   TestOne
2026-11-30T09:00:00Z\tinfo\ttf\t--- PASS: this is a log
\x16--- PASS: TestOne (1.25s)
    \x16--- PASS: TestOne/first (0.50s)
        \x16--- SKIP: TestOne/first/deep (0.00s)
    \x16--- PASS: TestOne/second#01 (0.75s)
--- FAIL: TestTwo (3.00s)
    --- FAIL: TestTwo/case (2.00s)
--- FAIL: TestThree (4.00s)
    --- PASS: TestThree/case (2.00s)
FAIL
"""


def test_go_tests_without_tests_of_their_own_count() -> None:
    assert from_go(GO) == [
        Outcome("TestOne/first/deep", SKIPPED, 0.0),
        Outcome("TestOne/second#01", PASSED, 0.75),
        Outcome("TestTwo/case", FAILED, 2.0),
        Outcome("TestThree", FAILED, 4.0),
        Outcome("TestThree/case", PASSED, 2.0),
    ]


def spec(name: str, state: str, kind: str = "It", attempts: int = 1) -> dict[str, Any]:
    return {
        "ContainerHierarchyTexts": ["[sig-network] Services"],
        "LeafNodeType": kind,
        "LeafNodeText": name,
        "State": state,
        "RunTime": 1_500_000_000,
        "NumAttempts": attempts,
        **({"Failure": {"Message": "no answer"}} if state == "failed" else {}),
    }


def test_specs_that_were_selected_count() -> None:
    report = json.dumps(
        [
            {
                "SpecReports": [
                    spec("", "passed", "BeforeSuite"),
                    spec("one", "passed"),
                    spec("two", "failed"),
                    spec("three", "skipped"),
                    spec("elsewhere", "skipped", attempts=0),
                    spec("stuck", "timedout"),
                ]
            }
        ]
    )
    assert [(each.test.split()[-1], each.result) for each in from_ginkgo(report)] == [
        ("one", PASSED),
        ("two", FAILED),
        ("three", SKIPPED),
        ("stuck", FAILED),
    ]
    assert from_ginkgo(report)[1] == Outcome("[sig-network] Services two", FAILED, 1.5, "no answer")


def test_suite_that_could_not_be_set_up_failed() -> None:
    report = json.dumps([{"SpecReports": [spec("", "failed", "SynchronizedBeforeSuite")]}])
    (outcome,) = from_ginkgo(report)
    assert outcome.result == FAILED
    assert outcome.test.endswith("SynchronizedBeforeSuite")


def outcomes(**results: str) -> list[Outcome]:
    return [Outcome(name, result, 1.0) for name, result in results.items()]


def test_what_was_expected_is_no_defect() -> None:
    expected = Expectation(at_least=1, failures={"^Known": "for a reason"})
    comparison = compare(outcomes(One=PASSED, KnownOne=FAILED, Other=SKIPPED), expected)
    assert comparison.defects() == []
    assert comparison.describe()["expectedFailures"] == {"KnownOne": "for a reason"}


def test_each_difference_is_a_defect() -> None:
    expected = Expectation(at_least=2, failures={"^Known": "for a reason"})
    defects = compare(outcomes(One=PASSED, New=FAILED), expected).defects()
    assert [defect.split(":")[0] for defect in defects[:2]] == ["New", "^Known"]
    assert "expected 2 or more tests to pass" in defects[2]


def test_expectations_of_every_suite_have_reasons() -> None:
    for expected in expectations().values():
        assert expected.at_least > 0
        assert all(expected.failures.values())
