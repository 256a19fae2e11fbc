from __future__ import annotations

import threading

import pytest

from mesh_fixtures.interruption import run_apart


def test_the_result_is_that_of_the_action() -> None:
    assert run_apart(lambda: 7, lambda: pytest.fail("nothing to stop")) == 7


def test_an_error_of_the_action_is_passed_on() -> None:
    def fail() -> None:
        raise ValueError("broken")

    stopped = threading.Event()
    with pytest.raises(ValueError, match="broken"):
        run_apart(fail, stopped.set)


def test_an_interrupt_stops_the_action_and_waits_for_its_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stopping, ended = threading.Event(), threading.Event()

    def action() -> None:
        stopping.wait(60)
        ended.set()

    def interrupted(self: object, timeout: float | None = None) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("concurrent.futures.Future.result", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run_apart(action, stopping.set)
    assert ended.is_set()


def test_the_action_runs_outside_the_main_thread() -> None:
    assert run_apart(threading.current_thread, lambda: None) is not threading.main_thread()
