"""Ctrl-C, termination and lost controllers: labs are removed all the same."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from plugin_stub import Behaviour, conftest, recorded

from mesh_fixtures.interruption import Interruption

SCENARIO = """\
title: {title}
mesh: mesh1
networks: [{{name: network1}}]
clusters: [{{name: cluster1, network: network1, role: primary}}]
"""

TESTS = """\
import time

def test_long(mesh):
    time.sleep(60)
"""


@pytest.fixture
def log(pytester: pytest.Pytester) -> Path:
    return pytester.path / "log"


@pytest.fixture(params=["0", "2"])
def running(
    request: pytest.FixtureRequest, pytester: pytest.Pytester, log: Path
) -> Iterator[subprocess.Popen[bytes]]:
    """A run of two topologies, in its own process group, that is within its tests."""
    folder = pytester.mkdir("scenarios")
    for name in ("one", "two"):
        (folder / f"{name}.yaml").write_text(SCENARIO.format(title=name), encoding="utf-8")
    pytester.makepyfile(test_mesh=TESTS)
    pytester.makeconftest(conftest(log, Behaviour(close_takes=7.0)))
    with (pytester.path / "output").open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "pytest", "-n", request.param],
            cwd=pytester.path,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    expected = 1 if request.param == "0" else 2
    wait_until(lambda: sum(line.startswith("install") for line in recorded(log)) == expected)
    yield process
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def wait_until(condition: Callable[[], bool], seconds: float = 30.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "took too long"
        time.sleep(0.05)


def opened(log: Path) -> set[str]:
    return {line.split()[1] for line in recorded(log) if line.startswith("open")}


def closed(log: Path) -> set[str]:
    return {line.split()[1] for line in recorded(log) if line.startswith("close ")}


def test_ctrl_c_in_a_terminal(running: subprocess.Popen[bytes], log: Path) -> None:
    os.killpg(running.pid, signal.SIGINT)
    assert running.wait(40) == pytest.ExitCode.INTERRUPTED
    assert closed(log) == opened(log)


def test_impatient_ctrl_c(running: subprocess.Popen[bytes], log: Path) -> None:
    os.killpg(running.pid, signal.SIGINT)
    wait_until(lambda: any(line.startswith("closing") for line in recorded(log)))
    os.killpg(running.pid, signal.SIGINT)
    time.sleep(0.5)
    os.killpg(running.pid, signal.SIGINT)
    assert running.wait(40) == pytest.ExitCode.INTERRUPTED
    assert closed(log) == opened(log)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_signal_to_the_main_process_alone(
    running: subprocess.Popen[bytes], log: Path, number: signal.Signals
) -> None:
    running.send_signal(number)
    assert running.wait(40) == pytest.ExitCode.INTERRUPTED
    assert closed(log) == opened(log)


@pytest.mark.parametrize("running", ["2"], indirect=True)
def test_controller_that_is_killed(running: subprocess.Popen[bytes], log: Path) -> None:
    running.kill()
    wait_until(lambda: closed(log) == opened(log))


def test_signal_during_removal_waits_for_its_end() -> None:
    told: list[str] = []
    interruption = Interruption(told.append)
    removed = []

    def remove() -> None:
        with interruption.holding(), interruption.removing():
            os.kill(os.getpid(), signal.SIGTERM)
            removed.append("everything")

    with pytest.raises(KeyboardInterrupt):
        remove()
    assert removed
    assert told == ["SIGTERM: stopping once the lab is removed"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_forked_process_is_ended_by_a_signal(number: signal.Signals) -> None:
    fork = multiprocessing.get_context("fork")
    begun = fork.Event()

    def work() -> None:
        begun.set()
        time.sleep(20)

    interruption = Interruption()
    with interruption.holding():
        process = fork.Process(target=work)
        process.start()
        assert begun.wait(10)
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
