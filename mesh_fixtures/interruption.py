"""Ctrl-C and termination while a lab exists: stop once, then let the lab be removed."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import TypeVar

Result = TypeVar("Result")

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_WAKING = signal.SIGURG
"""Wakes the main thread, and does nothing else: whatever is not prepared for it ignores it."""
_WAKING_AFTER = (0.1, 0.4, 1.5, 5.0)
"""Pauses in seconds: on a busy machine, the thread may be about to sleep for a while."""


def _tell(text: str) -> None:
    with suppress(OSError):
        os.write(2, f"\n{text}\n".encode())


class _Waker:
    """Wakes the main thread for signals of which it may know nothing yet.

    Python runs handlers in the main thread, between two of its instructions. A signal that comes
    after the last of them and before the thread sleeps, or that is delivered to another thread,
    does not end the wait for a lock: its handler would run when that wait is over by itself.
    """

    def __init__(self) -> None:
        self._closed = threading.Event()
        self._received, self._told = os.pipe()
        os.set_blocking(self._told, False)
        self._ordinary = signal.signal(_WAKING, lambda *_: None)
        signal.set_wakeup_fd(self._told, warn_on_full_buffer=False)
        self._thread = threading.Thread(target=self._wake, name="mesh-waker", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Leave signals as they were."""
        self.forget()
        self._closed.set()
        os.write(self._told, b"\0")
        self._thread.join()
        os.close(self._told)
        os.close(self._received)

    def forget(self) -> None:
        """Tell nothing of signals any more, as in a process that was forked, without the thread."""
        signal.set_wakeup_fd(-1)
        signal.signal(_WAKING, self._ordinary)

    def _wake(self) -> None:
        main = threading.main_thread().ident or 0
        while not self._closed.is_set():
            numbers = os.read(self._received, 64)
            for pause in _WAKING_AFTER if set(numbers) & {*_SIGNALS} else ():
                if self._closed.wait(pause):
                    return
                signal.pthread_kill(main, _WAKING)


class Interruption:
    """Turns the first SIGINT, SIGTERM or SIGHUP into KeyboardInterrupt, and no further one.

    What holds a lab enters `holding`; what removes it enters `removing`. A signal that comes during
    the removal takes effect after it. Signals are handled only while something is held, and only in
    this process: one that is forked meanwhile is ended by them, as it must not go on as this one.
    """

    def __init__(self, tell: Callable[[str], None] = _tell) -> None:
        self._tell = tell
        self._process = os.getpid()
        self._held = 0
        self._removing = 0
        self._interrupted = False
        self._postponed = False
        self._previous: dict[int, object] = {}
        self._waker: _Waker | None = None
        os.register_at_fork(after_in_child=self._forget)

    @property
    def interrupted(self) -> bool:
        """Whether a signal has come, so that no more is begun than what removes things."""
        return self._interrupted

    @contextmanager
    def holding(self) -> Iterator[None]:
        """From before something is created until after it is removed."""
        self.hold()
        try:
            yield
        finally:
            self.release()

    @contextmanager
    def removing(self) -> Iterator[None]:
        """While something is removed, which no signal may cut short."""
        self._removing += 1
        try:
            yield
        finally:
            self._removing -= 1
            if self._postponed and not self._removing:
                self._postponed = False
                self._interrupted = True
                raise KeyboardInterrupt

    def hold(self) -> None:
        """Begin to handle signals."""
        if not self._held and threading.current_thread() is threading.main_thread():
            self._process = os.getpid()
            for number in _SIGNALS:
                self._previous[number] = signal.signal(number, self._handle)
            self._waker = _Waker()
        self._held += 1

    def release(self) -> None:
        """Restore the former handlers when nothing is held any more."""
        self._held -= 1
        if self._held == 0:
            for number, handler in self._previous.items():
                signal.signal(number, handler)  # type: ignore[arg-type]
            self._previous.clear()
            if self._waker is not None:
                self._waker.close()
                self._waker = None
            self._interrupted = False

    def _forget(self) -> None:
        if self._waker is not None:
            self._waker.forget()
            self._waker = None
        for number in self._previous:
            signal.signal(number, signal.SIG_DFL)
        self._previous.clear()

    def _handle(self, number: int, frame: FrameType | None) -> None:
        del frame
        if os.getpid() != self._process:  # forked a moment ago
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
            return
        name = signal.Signals(number).name
        if self._removing and not self._interrupted:
            self._postponed = True
            self._tell(f"{name}: stopping once the lab is removed")
            return
        if self._interrupted:
            if not self._removing or number == signal.SIGINT:
                self._tell(f"{name}: already stopping; the lab is being removed")
            return
        self._interrupted = True
        raise KeyboardInterrupt(name)


def run_apart(action: Callable[[], Result], stop: Callable[[], None]) -> Result:
    """Do something in a thread of its own, so that an interrupt reaches only the wait for it.

    An exception that a signal raises in the midst of a library's work can be lost there, or leave
    the library's locks taken.

    Args:
        stop: makes the action end soon; called when the wait for it is over early.
    """
    # It takes a moment to import, which runs without labs are spared.
    from concurrent.futures import ThreadPoolExecutor

    pool = ThreadPoolExecutor(1, thread_name_prefix="apart")
    try:
        return pool.submit(action).result()
    except BaseException:
        stop()
        raise
    finally:
        pool.shutdown()


interruption = Interruption()
"""The one of this process: signal handlers are the process's."""
