"""What deadlines are multiplied by: from options, variables and the machine's pressure."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh_fixtures import cli, patience
from mesh_fixtures.install.executor import stretched
from mesh_fixtures.install.step import Command, Plan, Step
from mesh_fixtures.patience import (
    LEAST,
    MOST_MEASURED,
    Patience,
    Pressure,
    chosen,
    current,
    measured,
    parse,
    parse_load,
    parse_stalled,
    patient,
    read_pressure,
    whole,
)
from mesh_fixtures.session.timeouts import stretched as stretched_limit

INVALID = ("0.5", "0", "-1", "x", "nan", "inf", "-inf", "1000000", "100.1", "1,5")


def test_deadlines_are_multiplied_by_the_factor_of_the_process() -> None:
    assert (patient(20), whole(20)) == (20, 20)
    assert not patience.one_at_a_time()
    patience.use(Patience(20.0, "given"))
    assert patience.one_at_a_time()
    patience.use(Patience(2.25, "given"))
    assert (patient(20), whole(20), whole(5)) == (45, 45, 12)


@pytest.mark.parametrize("text", INVALID)
def test_a_factor_that_makes_no_sense_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="from 1 to 100"):
        parse(text)


@pytest.mark.parametrize(("text", "factor"), [("1", 1), ("2.5", 2.5), ("100", 100), ("1e1", 10)])
def test_factors(text: str, factor: float) -> None:
    assert parse(text) == factor


def test_a_refusal_says_where_the_factor_comes_from() -> None:
    with pytest.raises(ValueError, match=r"MESH_PATIENCE: 'x' is not a number from 1 to 100"):
        chosen("x", "MESH_PATIENCE")


def test_what_is_given_wins_over_what_is_measured() -> None:
    assert chosen("3", "--mesh-patience") == Patience(3, "--mesh-patience")


def test_without_anything_given_the_machine_is_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patience, "read_pressure", lambda: Pressure(0.9, 4))
    assert chosen("", "--mesh-patience").factor == 4.5


@pytest.mark.parametrize(
    ("stalled", "load", "factor"),
    [
        (None, None, 1),
        (0.0, 0.1, 1),
        (0.2, 0.5, 1),  # a machine on which somebody reads mail
        (0.02, 12, 1),  # processes that wait for a disk that is gone, and not for a core
        (0.5, 0.9, 1.5),
        (0.95, 1.1, 2),
        (0.9, 4, 4.5),
        (1.0, 200, 8),
        (None, 0.4, 1),
        (None, 3, 3),
        (0.8, None, 2),
    ],
)
def test_a_busy_machine_gets_more_time(
    stalled: float | None, load: float | None, factor: float
) -> None:
    assert measured(Pressure(stalled, load)).factor == factor


@given(
    stalled=st.none() | st.floats(0, 1),
    load=st.none() | st.floats(0, 10_000),
)
def test_what_is_measured_is_bounded(stalled: float | None, load: float | None) -> None:
    found = measured(Pressure(stalled, load)).factor
    assert LEAST <= found <= MOST_MEASURED
    assert parse(repr(found)) == found


def test_what_was_measured_is_said() -> None:
    assert str(measured(Pressure(0.9, 4))) == (
        "4.5 (machine under load: 4.0 processes to a core, 90% of the time some wait for one)"
    )


SOME = "some avg10=12.50 avg60=3.00 avg300=1.00 total=1\n"


@pytest.mark.parametrize(
    ("text", "stalled"),
    [
        (SOME + "full avg10=80.00 avg60=0.00 avg300=0.00 total=0\n", 0.125),
        (SOME, 0.125),
        ("", None),
        ("full avg10=80.00 avg60=0.00 avg300=0.00 total=0\n", None),
        ("some avg60=3.00\n", None),
        ("some avg10=nan\n", None),
        ("some avg10=-1\n", None),
        ("some avg10=100.50\n", 1.0),
        ("some\n", None),
    ],
)
def test_files_of_pressure(text: str, stalled: float | None) -> None:
    assert parse_stalled(text) == stalled


@pytest.mark.parametrize(
    ("text", "load"), [("3.00 2.00 1.00 2/300 4711\n", 1.5), ("", None), ("much\n", None)]
)
def test_files_of_load(text: str, load: float | None) -> None:
    assert parse_load(text, cores=2) == load


def test_pressure_is_read_from_the_kernels_files(tmp_path: Path) -> None:
    (tmp_path / "pressure").mkdir()
    (tmp_path / "pressure" / "cpu").write_text(SOME)
    (tmp_path / "loadavg").write_text("0.00 0.00 0.00 1/300 4711\n")
    assert read_pressure(tmp_path) == Pressure(0.125, 0)


def test_a_kernel_that_says_nothing_is_taken_for_idle(tmp_path: Path) -> None:
    assert measured(read_pressure(tmp_path)).factor == 1


def plan_of(*commands: Command, deadline: float = 60) -> Plan:
    step = Step("a", "cluster", "section", "title", (), commands, deadline)
    return Plan("scenario", (step,), ())


def argv_of(plan: Plan) -> Sequence[str]:
    return plan.steps[0].commands[0].argv


@pytest.mark.parametrize(
    ("part", "longer"),
    [
        ("--timeout=75s", "--timeout=187.5s"),
        ("--readiness-timeout=90s", "--readiness-timeout=225s"),
        ("--request-timeout=90s", "--request-timeout=90s"),
        ("timeout", "timeout"),
    ],
)
def test_what_is_run_has_more_time(part: str, longer: str) -> None:
    plan = plan_of(Command(("kubectl", "wait", part)))
    slow = stretched(plan, 2.5, "1.30.0")
    assert slow.steps[0].deadline == 150
    assert argv_of(slow) == ("kubectl", "wait", longer)


def test_with_a_factor_of_one_a_plan_is_as_it_was() -> None:
    plan = plan_of(Command(("istioctl", "install", "--readiness-timeout=90s")))
    assert stretched(plan, 1, "1.30.0") == plan


@pytest.mark.parametrize(
    ("istio", "asks_longer"),
    [("1.31-alpha.eed52ebb66ad", True), ("1.27.0", True), ("1.26.9", False), ("", False)],
)
def test_istioctl_waits_longer_for_answers_where_it_can_be_told(
    istio: str, asks_longer: bool
) -> None:
    plan = plan_of(Command(("istioctl", "version"), pipe_to=("kubectl", "apply", "-f", "-")))
    slow = stretched(plan, 3, istio).steps[0].commands[0]
    assert ("--kubeclient-timeout=45s" in slow.argv) == asks_longer
    assert slow.pipe_to == plan.steps[0].commands[0].pipe_to


@pytest.mark.parametrize(
    ("args", "kwargs", "configured", "longer"),
    [
        ((), {}, 300, {"timeout": 750}),
        ((1200,), {}, 300, {"timeout": 3000}),
        ((1200, "thread"), {}, 300, {"timeout": 3000, "method": "thread"}),
        ((), {"timeout": 60, "func_only": False}, None, {"timeout": 150, "func_only": False}),
        ((), {"method": "thread"}, 300, {"timeout": 750, "method": "thread"}),
        ((), {}, None, None),
        ((0,), {}, 300, None),
    ],
)
def test_tests_may_take_longer(
    args: tuple[object, ...],
    kwargs: dict[str, object],
    configured: float | None,
    longer: dict[str, object] | None,
) -> None:
    assert stretched_limit(args, kwargs, configured, 2.5) == longer


PATIENT_COMMANDS = {
    "up": ("two",),
    "down": ("two",),
    "clean": (),
    "diagnose": ("two",),
    "doctor": (),
    "artifacts": (),
}


@pytest.mark.parametrize("command", PATIENT_COMMANDS)
@pytest.mark.parametrize("value", ["0.5", "nan", "1000000"])
def test_commands_refuse_a_factor_that_makes_no_sense(
    command: str, value: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as refused:
        cli.main([command, *PATIENT_COMMANDS[command], "--patience", value])
    assert refused.value.code == cli.USAGE
    assert f"--patience: '{value}' is not a number from 1 to 100" in capsys.readouterr().err


def test_commands_refuse_a_variable_that_makes_no_sense(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MESH_PATIENCE", "x")
    with pytest.raises(SystemExit) as refused:
        cli.main(["clean"])
    assert refused.value.code == cli.USAGE
    assert "environment variable MESH_PATIENCE: 'x'" in capsys.readouterr().err


def test_commands_multiply_deadlines(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    monkeypatch.setenv("MESH_PATIENCE", "2")
    assert cli.main(["clean"]) == 0
    assert current() == Patience(2, "environment variable MESH_PATIENCE")
    assert "patience: 2 (environment variable MESH_PATIENCE)" in capsys.readouterr().err
    assert cli.main(["clean", "--patience", "3"]) == 0
    assert current() == Patience(3, "--patience")
