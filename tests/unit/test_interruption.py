from __future__ import annotations

import signal
import threading
import time
from pathlib import Path

import pytest

from mesh_fixtures.interruption import Interruption, run_apart


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


def test_a_signal_that_does_not_wake_the_main_thread_takes_effect_all_the_same() -> None:
    """Delivered to another thread, as to the main one in the moment before it sleeps."""
    ended = threading.Event()

    def interrupt() -> None:
        time.sleep(0.1)
        signal.pthread_kill(threading.get_ident(), signal.SIGINT)
        ended.wait(60)

    other = threading.Thread(target=interrupt)
    with Interruption(lambda text: None).holding():
        other.start()
        start = time.monotonic()
        try:
            with pytest.raises(KeyboardInterrupt):
                ended.wait(60)
            assert time.monotonic() - start < 40
        finally:
            ended.set()
            other.join()


def test_signals_are_afterwards_as_they_were() -> None:
    before = {number: signal.getsignal(number) for number in signal.Signals}
    files = len(list(Path("/proc/self/fd").iterdir()))
    with Interruption().holding():
        assert signal.getsignal(signal.SIGTERM) != before[signal.SIGTERM]
    assert {number: signal.getsignal(number) for number in signal.Signals} == before
    assert signal.set_wakeup_fd(-1) == -1
    assert len(list(Path("/proc/self/fd").iterdir())) == files
    assert not [each for each in threading.enumerate() if each.name == "mesh-waker"]
