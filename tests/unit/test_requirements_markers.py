"""What the requirement that a test is marked with says about the test."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from mesh_examples import TWO_PRIMARIES
from plugin_stub import QUICK, Behaviour, conftest, recorded

from mesh_fixtures.requirements import REQUIREMENTS, registry

Start = Callable[..., pytest.RunResult]


@pytest.fixture
def start(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Start:
    """Runs pytest on one test, whose marker and parameters are given."""
    monkeypatch.setenv("XDG_STATE_HOME", str(pytester.path / "state"))
    (pytester.mkdir("scenarios") / "one.yaml").write_text(TWO_PRIMARIES)
    pytester.makeconftest(conftest(pytester.path / "log", Behaviour()))

    def start(marker: str, *arguments: str, asks: str = "mesh_installed") -> pytest.RunResult:
        pytester.makepyfile(
            test_mesh=f"import pytest\n@pytest.mark.{marker}\ndef test_it({asks}): pass\n"
        )
        return pytester.runpytest(*QUICK, *arguments)

    return start


@pytest.mark.parametrize("workers", ["0", "2"])
@pytest.mark.parametrize("asks", ["mesh_installed", ""])
def test_unknown_requirement_is_refused(
    start: Start, pytester: pytest.Pytester, workers: str, asks: str
) -> None:
    result = start("requirement('PONY-1')", "-n", workers, asks=asks)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    (line,) = [line for line in result.errlines if line.startswith("ERROR")]
    assert line.startswith("ERROR: test_mesh.py::test_it")
    assert "marker requirement('PONY-1'): there is no requirement 'PONY-1'; valid values: " in line
    assert recorded(pytester.path / "log") == []


@pytest.mark.parametrize("marker", ["requirement", "requirement('TRUST-1', 'TRUST-2')"])
def test_a_test_verifies_one_requirement(start: Start, marker: str) -> None:
    result = start(marker)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["ERROR: *: marker requirement(*): takes one id"])


def test_a_test_is_skipped_where_its_requirement_does_not_apply(
    start: Start, pytester: pytest.Pytester
) -> None:
    result = start("requirement('GATEWAY-1')", "-rs")
    result.assert_outcomes(skipped=1)
    result.stdout.fnmatch_lines(["SKIPPED *one lacks east-west-gateway"])
    assert recorded(pytester.path / "log") == []


@pytest.mark.parametrize(("requirement", "selected"), [("TRUST-1", True), ("CONTROL-1", False)])
def test_a_test_is_disruptive_where_its_requirement_is(
    start: Start, monkeypatch: pytest.MonkeyPatch, requirement: str, selected: bool
) -> None:
    changed = tuple(replace(each, disruptive=each.id == "TRUST-1") for each in REQUIREMENTS)
    monkeypatch.setattr(registry, "REQUIREMENTS", changed)
    result = start(f"requirement('{requirement}')", "-m", "disruptive", "--collect-only", "-q")
    assert ("test_mesh.py::test_it[one]" in result.outlines) is selected
