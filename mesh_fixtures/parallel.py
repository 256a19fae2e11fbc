"""One function for many items at the same time, a thread each."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from typing import TypeVar

Item = TypeVar("Item")
Value = TypeVar("Value")


def parallel_map(
    function: Callable[[Item], Value],
    items: Iterable[Item],
    *,
    at_most: int | None = None,
    seconds: float | None = None,
    on_trouble: Callable[[], None] | None = None,
) -> dict[Item, Value]:
    """The function's value for each item, in the items' order.

    An error is raised when all that was begun has ended, and is the first in the items' order, so
    that it does not depend on chance; nothing more is begun meanwhile. An interrupt is passed on
    immediately: removing the lab ends what is still running.

    Args:
        at_most: how many run at a time; None for all.
        seconds: items without a value by then are missing from what is returned. Nothing that
            is still running is waited for, also after an error.
        on_trouble: makes what is still running end soon. It is called once, on the first error or
            interrupt in time, which is the one that is raised when all have ended: those that
            follow may be its consequences.

    Raises:
        Exception: as the function.
    """
    wanted = list(items)
    if not wanted:
        return {}
    pool = ThreadPoolExecutor(min(len(wanted), at_most or len(wanted)))
    abandon = seconds is not None
    try:
        futures = {item: pool.submit(function, item) for item in wanted}
        ended, _ = wait(futures.values(), timeout=seconds, return_when=FIRST_EXCEPTION)
        if seconds is None and on_trouble is None:
            # What this cancels follows, in order, what has failed: items are begun in order.
            pool.shutdown(cancel_futures=True)
            ended = set(futures.values())
        return {item: future.result() for item, future in futures.items() if future in ended}
    except BaseException as error:
        if on_trouble is not None:
            on_trouble()
        elif not isinstance(error, Exception):
            abandon = True
        raise
    finally:
        pool.shutdown(wait=not abandon, cancel_futures=True)
