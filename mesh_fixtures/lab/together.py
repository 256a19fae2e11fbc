"""One thing done for several clusters at the same time."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor, as_completed
from typing import TypeVar

Subject = TypeVar("Subject")


def together(
    subjects: Iterable[Subject],
    action: Callable[[Subject], None],
    *,
    on_trouble: Callable[[], None] | None = None,
) -> None:
    """Do something for all of them at the same time.

    Args:
        on_trouble: called once, on the first error or interrupt, before the others are waited for.

    Raises:
        Exception: the first one that any of them raised.
    """
    wanted = list(subjects)
    pool = ThreadPoolExecutor(len(wanted))
    try:
        for done in as_completed([pool.submit(action, subject) for subject in wanted]):
            done.result()
    except BaseException:
        if on_trouble is not None:
            on_trouble()
        raise
    finally:
        pool.shutdown()
