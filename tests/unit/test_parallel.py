"""One function for many items at the same time: errors, bounds and interrupts."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator

import pytest

from mesh_fixtures.parallel import parallel_map


def test_all_run_at_the_same_time_and_are_returned_in_order() -> None:
    everybody = threading.Barrier(3)

    def ask(name: str) -> str:
        everybody.wait(timeout=5)
        return name.upper()

    assert list(parallel_map(ask, ["c", "a", "b"]).items()) == [("c", "C"), ("a", "A"), ("b", "B")]
    assert parallel_map(ask, []) == {}


def test_the_first_error_in_order_is_raised_when_all_have_ended() -> None:
    last_has_failed = threading.Event()
    ended: list[str] = []

    def ask(name: str) -> None:
        if name == "last":
            last_has_failed.set()
            raise ValueError(name)
        last_has_failed.wait(5)
        if name == "first":
            raise ValueError(name)
        ended.append(name)

    with pytest.raises(ValueError, match="first"):
        parallel_map(ask, ["first", "whole", "last"])
    assert ended == ["whole"]


def test_no_more_than_permitted_run_at_a_time_and_none_is_begun_after_an_error() -> None:
    begun: list[int] = []

    def ask(number: int) -> None:
        begun.append(number)
        if number:
            time.sleep(0.05)
        else:
            raise ValueError(number)

    with pytest.raises(ValueError, match="0"):
        parallel_map(ask, range(50), at_most=1)
    assert len(begun) < 50


def test_items_without_a_value_in_time_are_missing_and_not_waited_for() -> None:
    late = threading.Event()
    try:
        assert parallel_map(
            lambda name: late.wait(30) if name == "late" else True, ["late", "early"], seconds=0.2
        ) == {"early": True}
    finally:
        late.set()


def test_trouble_is_told_once_and_the_error_that_caused_it_is_raised() -> None:
    stopping = threading.Event()
    calls: list[None] = []

    def ask(name: str) -> None:
        if name == "follows":
            assert stopping.wait(5)
        raise ValueError(name)

    def stop() -> None:
        calls.append(None)
        stopping.set()

    with pytest.raises(ValueError, match="causes"):
        parallel_map(ask, ["follows", "causes"], on_trouble=stop)
    assert len(calls) == 1


@pytest.fixture
def interrupted(interruptible: None) -> Iterator[None]:
    """An interrupt, a moment after everything has begun."""
    timer = threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()
    yield
    timer.join()


@pytest.mark.usefixtures("interrupted")
def test_an_interrupt_does_not_wait_for_what_still_runs() -> None:
    late = threading.Event()
    ended: list[str] = []

    def ask(name: str) -> None:
        late.wait(30)
        ended.append(name)

    try:
        with pytest.raises(KeyboardInterrupt):
            parallel_map(ask, ["a", "b"])
        assert not ended
    finally:
        late.set()


@pytest.mark.usefixtures("interrupted")
def test_an_interrupt_waits_for_what_can_be_ended() -> None:
    stopping = threading.Event()
    ended: list[str] = []

    def ask(name: str) -> None:
        stopping.wait(30)
        ended.append(name)

    with pytest.raises(KeyboardInterrupt):
        parallel_map(ask, ["a", "b"], on_trouble=stopping.set)
    assert sorted(ended) == ["a", "b"]
