"""Waits for a process, and passes on to it the signals that somebody sends to this one."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from typing import Final

PASSED: Final = frozenset({signal.SIGINT, signal.SIGTERM, signal.SIGHUP})

_FROM_KERNEL: Final = 0x80
"""Value of `si_code` for a signal that a terminal sent (sigaction(2): SI_KERNEL). It went to every
process in the foreground at once, so there is nobody to pass it on to."""


def wait_for(
    pid: int, receiver: Callable[[], int | None], ended: Callable[[int], None] = lambda pid: None
) -> int:
    """Wait until a child ends; returns its exit status, or 128 and the number of its signal.

    Every other child that ends meanwhile is waited for too, so that none stays as a zombie. To be
    called where `PASSED` and SIGCHLD are blocked, by the only thread.

    Args:
        receiver: pid that signals are passed on to; None while there is none.
        ended: told the pid of each other child that ended.
    """
    while True:
        while True:
            found, status = os.waitpid(-1, os.WNOHANG)
            if found == pid:
                code = os.waitstatus_to_exitcode(status)
                return code if code >= 0 else 128 - code
            if found == 0:
                break
            ended(found)
        told = signal.sigwaitinfo({signal.SIGCHLD, *PASSED})
        to = receiver()
        if told.si_signo in PASSED and told.si_code != _FROM_KERNEL and to is not None:
            os.kill(to, told.si_signo)


def block() -> None:
    """Block what `wait_for` waits for."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD, *PASSED})
