"""Tests of an upgrade: only where it is asked for, by its strategy, and before all others."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from mesh_examples import TWO_PRIMARIES
from plugin_stub import QUICK, Behaviour, conftest, recorded

from mesh_fixtures.errors import MachineError
from mesh_fixtures.options import UPGRADE, UPGRADE_FROM, Choice
from mesh_fixtures.providers import require_fit

Start = Callable[..., pytest.RunResult]

EARLIER = "b01690e6db7d"
TESTS = """\
import pytest

def test_other(mesh_installed): pass

@pytest.mark.parametrize("of", [
    pytest.param(of, marks=pytest.mark.requirement(of))
    for of in ("TRAFFIC-1", "RESILIENCE-1", "ROLLBACK-1", "UPGRADE-1", "UPGRADE-2", "SKEW-1")
])
def test_requirement(mesh_installed, of): pass
"""


@pytest.fixture
def start(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Start:
    monkeypatch.setenv("XDG_STATE_HOME", str(pytester.path / "state"))
    for option in (UPGRADE, UPGRADE_FROM):
        monkeypatch.delenv(option.variable, raising=False)
    (pytester.mkdir("scenarios") / "one.yaml").write_text(TWO_PRIMARIES)
    pytester.makeconftest(conftest(pytester.path / "log", Behaviour()))
    pytester.makepyfile(test_mesh=TESTS)
    return lambda *arguments: pytester.runpytest(*QUICK, "-v", "-rs", *arguments)


def order(result: pytest.RunResult) -> list[str]:
    found = [line.split()[0] for line in result.outlines if " PASSED" in line]
    return [each.partition("test_mesh.py::test_")[2].partition("[")[2] for each in found]


def test_they_are_skipped_and_the_reason_names_the_option(start: Start) -> None:
    result = start()
    result.assert_outcomes(passed=2, skipped=5)
    result.stdout.fnmatch_lines(
        ["SKIPPED *verifies an upgrade; --mesh-upgrade-from VERSION verifies it"]
    )
    assert order(result) == ["one]", "one-TRAFFIC-1]"]


def test_no_lab_is_made_for_what_is_skipped(start: Start, pytester: pytest.Pytester) -> None:
    start("-k", "UPGRADE or SKEW or ROLLBACK").assert_outcomes(skipped=4)
    assert recorded(pytester.path / "log") == []


def test_in_place(start: Start) -> None:
    result = start(UPGRADE_FROM.flag, EARLIER)
    result.assert_outcomes(passed=4, skipped=3)
    result.stdout.fnmatch_lines(["SKIPPED *verifies an upgrade by --mesh-upgrade revision"])
    assert order(result) == ["one-UPGRADE-1]", "one-SKEW-1]", "one]", "one-TRAFFIC-1]"]


def test_by_revision(start: Start) -> None:
    result = start(UPGRADE_FROM.flag, EARLIER, UPGRADE.flag, "revision", "--mesh-disruptive")
    result.assert_outcomes(passed=6, skipped=1)
    result.stdout.fnmatch_lines(["SKIPPED *verifies an upgrade by --mesh-upgrade in-place"])
    assert order(result) == [
        *("one-ROLLBACK-1]", "one-UPGRADE-2]", "one-SKEW-1]"),
        *("one]", "one-TRAFFIC-1]", "one-RESILIENCE-1]"),
    ]


@pytest.mark.parametrize(
    ("choice", "said"),
    [
        (Choice(upgrade="revision"), "--mesh-upgrade-from, the version that is upgraded"),
        (Choice(upgrade_from_tag="mine"), "--mesh-upgrade-from, the version that is upgraded"),
        (Choice(upgrade_from=EARLIER, istio=EARLIER), "1.31-alpha.b01690e6db7d and 1.31-alpha.b01"),
        (Choice(upgrade_from="1.2.3"), "--mesh-upgrade-from 1.2.3"),
        (Choice(upgrade_from="b01"), "the program b01, or a version that is built: 1.31-alpha.eed"),
        (Choice(upgrade_from=EARLIER, images="released"), "is built, with released images"),
        (Choice(upgrade_from=EARLIER, istioctl="1.31.0"), "is built, with --mesh-istioctl"),
        (Choice(upgrade_from=EARLIER, upgrade_from_tag="t"), "built, with --mesh-upgrade-from-tag"),
        (Choice(upgrade_from="1.30.2", istio=EARLIER), "--mesh-upgrade-from 1.30.2 with --mesh-is"),
        (Choice(upgrade_from="1.30.2", images="built"), "1.30.2 with --mesh-images built"),
        (Choice(upgrade_from="1.29.2", istioctl="1.31.1"), "1.29.2 and 1.31.1"),
        (Choice(upgrade_from="1.31.2", istioctl="1.30.1"), "1.31.2 and 1.30.1"),
    ],
)
def test_what_does_not_go_together(choice: Choice, said: str) -> None:
    with pytest.raises(MachineError) as error:
        require_fit(choice)
    assert said in str(error.value)


@pytest.mark.parametrize(
    "choice",
    [
        Choice(upgrade_from=EARLIER),
        Choice(upgrade_from="1.30.2"),
        Choice(upgrade_from="1.30.2", istioctl="1.31.1", upgrade_from_tag="1.30.2-v2"),
        Choice(upgrade_from="1.29.2", istioctl="1.31.1", upgrade="revision"),
        Choice(upgrade_from="https://releases.example/istioctl", images="released"),
    ],
)
def test_what_goes_together(choice: Choice) -> None:
    require_fit(choice)


def test_a_usage_error_comes_before_anything_is_made(
    start: Start, pytester: pytest.Pytester
) -> None:
    result = start(UPGRADE_FROM.flag, "1.2.3")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert recorded(pytester.path / "log") == []
