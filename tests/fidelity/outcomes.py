"""What a suite's tests came to, and how that compares with what is expected of them."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import yaml

PASSED, FAILED, SKIPPED = "passed", "failed", "skipped"

EXPECTED: Final = Path(__file__).with_name("expected.yaml")

_GO_RESULT: Final = re.compile(
    r"^\s*\x16?--- (PASS|FAIL|SKIP): (\S+) \((\d+\.\d+)s\)", re.MULTILINE
)
_GO_WORDS: Final = {"PASS": PASSED, "FAIL": FAILED, "SKIP": SKIPPED}
_GINKGO_WORDS: Final = {PASSED: PASSED, SKIPPED: SKIPPED, "pending": SKIPPED}


@dataclass(frozen=True)
class Outcome:
    """What a test came to.

    Attributes:
        test: its full name.
        result: `PASSED`, `FAILED` or `SKIPPED`.
        seconds: that it took.
        message: what it said when it failed, where that is known.
    """

    test: str
    result: str
    seconds: float
    message: str = ""


def from_go(output: str) -> list[Outcome]:
    """Tests of a Go program, as it prints them with `-test.v`: those without tests of their own.

    A test that fails beside all of its own, which passed, counts too: its own doings failed.
    """
    found = {
        name: Outcome(name, _GO_WORDS[word], float(seconds))
        for word, name, seconds in _GO_RESULT.findall(output)
    }
    parents = {parent for name in found for parent in _parents(name)}
    failed_below = {
        parent for name, each in found.items() if each.result == FAILED for parent in _parents(name)
    }
    return [
        each
        for name, each in found.items()
        if name not in parents or (each.result == FAILED and name not in failed_below)
    ]


def _parents(name: str) -> Iterable[str]:
    parts = name.split("/")
    return ("/".join(parts[:length]) for length in range(1, len(parts)))


def from_ginkgo(report: str) -> list[Outcome]:
    """Specs of a JSON report of Ginkgo, without those that were not selected.

    Source: Ginkgo, "Reporting and Profiling Suites", `--json-report`.
    """
    return [
        _of_spec(spec)
        for suite in json.loads(report)
        for spec in suite["SpecReports"]
        if spec["LeafNodeType"] == "It" or spec["State"] not in (PASSED, SKIPPED)
        if spec["NumAttempts"] or spec["State"] not in (SKIPPED, "pending")
    ]


def _of_spec(spec: Mapping[str, Any]) -> Outcome:
    texts = [*(spec["ContainerHierarchyTexts"] or ()), spec["LeafNodeText"] or spec["LeafNodeType"]]
    return Outcome(
        test=" ".join(texts),
        result=_GINKGO_WORDS.get(spec["State"], FAILED),
        seconds=spec["RunTime"] / 1e9,
        message=(spec.get("Failure") or {}).get("Message", ""),
    )


@dataclass(frozen=True)
class Expectation:
    """What is known of a suite on the embedded lab.

    Attributes:
        at_least: how many tests pass; fewer mean that some were not run.
        failures: reason by pattern of the names of tests that fail.
    """

    at_least: int
    failures: Mapping[str, str] = field(default_factory=dict)

    def reason(self, test: str) -> str | None:
        """Why a test is expected to fail; None if it is not."""
        for pattern, reason in self.failures.items():
            if re.search(pattern, test):
                return reason
        return None


def expectations(file: Path = EXPECTED) -> Mapping[str, Expectation]:
    """Expectations by suite."""
    return {name: Expectation(**given) for name, given in yaml.safe_load(file.read_text()).items()}


@dataclass(frozen=True)
class Comparison:
    """A suite's outcomes beside what was expected.

    Attributes:
        unexpected: failures that nothing explains.
        explained: reason by test that failed as expected.
        obsolete: patterns of expected failures by which nothing failed.
    """

    outcomes: Sequence[Outcome]
    at_least: int
    unexpected: Sequence[Outcome]
    explained: Mapping[str, str]
    obsolete: Sequence[str]

    @property
    def counts(self) -> Mapping[str, int]:
        counted = Counter(each.result for each in self.outcomes)
        return {word: counted[word] for word in (PASSED, FAILED, SKIPPED)}

    def defects(self) -> list[str]:
        """What differs from the expectation, a line each; empty if nothing does."""
        found = [
            f"{each.test}: expected to pass, but failed after {each.seconds:.1f} s {each.message}"
            for each in self.unexpected
        ]
        found += [
            f"{pattern}: expected to fail, but no such test failed: remove it from {EXPECTED.name}"
            for pattern in self.obsolete
        ]
        if self.counts[PASSED] < self.at_least:
            found.append(f"expected {self.at_least} or more tests to pass, but saw {self.counts}")
        return found

    def describe(self) -> dict[str, Any]:
        """For the report."""
        return {
            **self.counts,
            "expectedToPass": self.at_least,
            "expectedFailures": dict(sorted(self.explained.items())),
            "unexpectedFailures": {each.test: each.message for each in self.unexpected},
            "skippedTests": sorted(each.test for each in self.outcomes if each.result == SKIPPED),
        }


def compare(outcomes: Sequence[Outcome], expected: Expectation) -> Comparison:
    """Hold a suite's outcomes to what is known of it."""
    failed = [each for each in outcomes if each.result == FAILED]
    reasons = {each.test: expected.reason(each.test) for each in failed}
    return Comparison(
        outcomes=outcomes,
        at_least=expected.at_least,
        unexpected=[each for each in failed if reasons[each.test] is None],
        explained={test: reason for test, reason in reasons.items() if reason is not None},
        obsolete=[
            pattern
            for pattern in expected.failures
            if not any(re.search(pattern, each.test) for each in failed)
        ],
    )
