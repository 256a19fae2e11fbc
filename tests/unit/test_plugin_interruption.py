"""Ctrl-C, termination and lost controllers: labs are removed all the same."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from plugin_stub import (
    PATIENCE,
    QUICK,
    Behaviour,
    allow_close,
    conftest,
    recorded,
    wait_until,
)

from mesh_fixtures.interruption import Interruption
from mesh_fixtures.session.exchange import exchanges_folder, remove_abandoned

SCENARIO = """\
title: {title}
mesh: mesh1
networks: [{{name: network1}}]
clusters: [{{name: cluster1, network: network1, role: primary}}]
"""

TESTS = """\
import time

def test_long(mesh_installed):
    time.sleep(1000)
"""


@pytest.fixture
def log(pytester: pytest.Pytester) -> Path:
    return pytester.path / "log"


@pytest.fixture(params=["0", "2"])
def running(
    request: pytest.FixtureRequest,
    pytester: pytest.Pytester,
    log: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[subprocess.Popen[bytes]]:
    """A run of two topologies, in its own process group, that is within its tests."""
    monkeypatch.setenv("XDG_STATE_HOME", str(pytester.path / "state"))
    folder = pytester.mkdir("scenarios")
    for name in ("one", "two"):
        (folder / f"{name}.yaml").write_text(SCENARIO.format(title=name), encoding="utf-8")
    pytester.makepyfile(test_mesh=TESTS)
    pytester.makeconftest(conftest(log, Behaviour(close_waits=True)))
    with (pytester.path / "output").open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "pytest", *QUICK, "-n", request.param],
            cwd=pytester.path,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    expected = 1 if request.param == "0" else 2
    wait_until(lambda: len(of("install", log)) == expected)
    yield process
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def of(what: str, log: Path) -> set[str]:
    """Topologies to which this happened."""
    return {line.split()[1] for line in recorded(log) if line.split()[0] == what}


def times_told(log: Path) -> int:
    """How often a process said that it is stopping already."""
    return (log.parent / "output").read_bytes().count(b"SIGINT: already stopping")


def assert_removes_and_ends(running: subprocess.Popen[bytes], log: Path) -> None:
    """The run waits until all its labs are removed, and ends then."""
    wait_until(lambda: of("closing", log) == of("open", log))
    assert running.poll() is None
    allow_close(log)
    assert running.wait(PATIENCE) == pytest.ExitCode.INTERRUPTED
    assert of("close", log) == of("open", log)


def test_ctrl_c_in_a_terminal(running: subprocess.Popen[bytes], log: Path) -> None:
    os.killpg(running.pid, signal.SIGINT)
    assert_removes_and_ends(running, log)


def test_impatient_ctrl_c(running: subprocess.Popen[bytes], log: Path) -> None:
    os.killpg(running.pid, signal.SIGINT)
    wait_until(lambda: of("closing", log) == of("open", log))
    for again in (1, 2):
        os.killpg(running.pid, signal.SIGINT)
        wait_until(lambda: times_told(log) >= again * len(of("open", log)))  # noqa: B023
    assert_removes_and_ends(running, log)


@pytest.mark.parametrize(
    ("running", "number"),
    [("0", signal.SIGTERM), ("0", signal.SIGHUP), ("2", signal.SIGINT), ("2", signal.SIGTERM)],
    indirect=["running"],
)
def test_signal_to_the_main_process_alone(
    running: subprocess.Popen[bytes], log: Path, number: signal.Signals
) -> None:
    running.send_signal(number)
    assert_removes_and_ends(running, log)


@pytest.mark.parametrize("running", ["2"], indirect=True)
def test_controller_that_is_killed(running: subprocess.Popen[bytes], log: Path) -> None:
    (exchange,) = exchanges_folder().iterdir()
    running.kill()
    running.wait()
    wait_until(lambda: of("closing", log) == of("open", log))
    assert remove_abandoned() == []
    allow_close(log)
    wait_until(lambda: of("close", log) == of("open", log))
    wait_until(remove_abandoned)
    assert not exchange.exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_each_signal_stops_what_holds_a_lab(number: signal.Signals) -> None:
    with pytest.raises(KeyboardInterrupt, match=number.name), Interruption().holding():
        os.kill(os.getpid(), number)


def test_signal_during_removal_waits_for_its_end() -> None:
    messages: list[str] = []
    interruption = Interruption(messages.append)
    removed = []

    def remove() -> None:
        with interruption.holding(), interruption.removing():
            os.kill(os.getpid(), signal.SIGTERM)
            removed.append("everything")

    with pytest.raises(KeyboardInterrupt):
        remove()
    assert removed
    assert messages == ["SIGTERM: stopping once the lab is removed"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_forked_process_is_ended_by_a_signal(number: signal.Signals) -> None:
    fork = multiprocessing.get_context("fork")
    begun = fork.Event()

    def work() -> None:
        begun.set()
        time.sleep(1000)

    interruption = Interruption()
    with interruption.holding():
        process = fork.Process(target=work)
        process.start()
        assert begun.wait(PATIENCE)
        assert process.pid is not None
        os.kill(process.pid, number)
        process.join()
    assert process.exitcode == -number


def test_handlers_are_restored() -> None:
    before = signal.getsignal(signal.SIGTERM)
    interruption = Interruption()
    with interruption.holding():
        assert signal.getsignal(signal.SIGTERM) != before
    assert signal.getsignal(signal.SIGTERM) == before
