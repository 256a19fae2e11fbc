"""Tests that disrupt the mesh: only when they are asked for, and after all others."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from mesh_examples import TWO_PRIMARIES
from plugin_stub import QUICK, Behaviour, conftest, recorded

from mesh_fixtures.options import DISRUPTIVE
from mesh_fixtures.session.options import resolve

Start = Callable[..., pytest.RunResult]

TESTS = """\
import pytest

@pytest.mark.requirement("RESILIENCE-1")
def test_requirement(mesh_installed): pass

@pytest.mark.disruptive
def test_own(mesh_installed): pass

def test_other(mesh_installed): pass

@pytest.mark.disruptive
def test_without_a_mesh(): pass

def test_last(mesh_installed): pass
"""


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(DISRUPTIVE.variable, raising=False)


@pytest.fixture
def start(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Start:
    monkeypatch.setenv("XDG_STATE_HOME", str(pytester.path / "state"))
    folder = pytester.mkdir("scenarios")
    for name in ("one", "two"):
        (folder / f"{name}.yaml").write_text(TWO_PRIMARIES.replace("mesh1", name))
    pytester.makeconftest(conftest(pytester.path / "log", Behaviour()))
    pytester.makepyfile(test_mesh=TESTS)
    return lambda *arguments: pytester.runpytest(*QUICK, "-v", *arguments)


def order(result: pytest.RunResult) -> list[str]:
    lines = [line.split() for line in result.outlines if " PASSED" in line]
    return [line[0].removeprefix("test_mesh.py::test_") for line in lines]


def test_they_are_skipped_and_the_reason_names_the_option(start: Start) -> None:
    result = start("-rs")
    result.assert_outcomes(passed=4, skipped=5)
    result.stdout.fnmatch_lines(["SKIPPED *disrupts the mesh; --mesh-disruptive verifies it"])


def test_no_lab_is_made_for_what_is_skipped(start: Start, pytester: pytest.Pytester) -> None:
    start("-k", "requirement or own").assert_outcomes(skipped=4)
    assert recorded(pytester.path / "log") == []


@pytest.mark.parametrize("workers", ["0", "2"])
def test_they_come_last_within_their_topology(
    start: Start, pytester: pytest.Pytester, workers: str
) -> None:
    result = start(DISRUPTIVE.flag, "-n", workers)
    result.assert_outcomes(passed=9)
    if workers == "0":
        assert order(result) == [
            "without_a_mesh",
            *("other[one]", "last[one]", "requirement[one]", "own[one]"),
            *("other[two]", "last[two]", "requirement[two]", "own[two]"),
        ]
    opened = [line for line in recorded(pytester.path / "log") if line.startswith("open")]
    assert sorted(opened) == ["open one", "open two"]


def test_flag_wins_over_environment_over_ini(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert not resolve(pytester.parseconfig()).disruptive
    pytester.makeini("[pytest]\nmesh_disruptive = true")
    assert resolve(pytester.parseconfig()).disruptive
    monkeypatch.setenv(DISRUPTIVE.variable, "0")
    assert not resolve(pytester.parseconfig()).disruptive
    assert resolve(pytester.parseconfig(DISRUPTIVE.flag)).disruptive


def test_a_value_that_is_neither_yes_nor_no(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(DISRUPTIVE.variable, "perhaps")
    with pytest.raises(pytest.UsageError, match="MESH_DISRUPTIVE: 'perhaps' is not valid"):
        resolve(pytester.parseconfig())
