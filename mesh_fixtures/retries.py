"""Questions that were asked again, for whoever keeps an account of them.

They are log records, as what asks again is far from what reports, and any thread may do it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

_LOG: Final = logging.getLogger(__name__)
_ATTRIBUTE: Final = "retry"


@dataclass(frozen=True)
class Retry:
    """A question that was asked again.

    Attributes:
        where: whom it was for, e.g. a cluster.
        wanted: what it was for.
        seen: what came of it before.
    """

    where: str
    wanted: str
    seen: str

    def line(self, times: int) -> str:
        """What a person reads of it."""
        often = f" {times} times" if times > 1 else ""
        return f"{self.where}, {self.wanted}: asked again{often}: {self.seen}"


def tell(retry: Retry) -> None:
    """Take note that a question is asked again."""
    _LOG.info(
        "%s: %s: asked again, after: %s",
        retry.where,
        retry.wanted,
        retry.seen,
        extra={_ATTRIBUTE: retry},
    )


@contextmanager
def reporting_to(listener: Callable[[Retry], None]) -> Iterator[None]:
    """Call a listener, in the thread that asks, for each retry while this context lasts."""
    handler = _Handler(listener)
    level = _LOG.level
    _LOG.addHandler(handler)
    _LOG.setLevel(logging.INFO)
    try:
        yield
    finally:
        _LOG.setLevel(level)
        _LOG.removeHandler(handler)


class _Handler(logging.Handler):
    def __init__(self, listener: Callable[[Retry], None]) -> None:
        super().__init__()
        self._listener = listener

    def emit(self, record: logging.LogRecord) -> None:
        self._listener(getattr(record, _ATTRIBUTE))
