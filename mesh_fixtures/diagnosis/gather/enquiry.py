"""Many questions at once, each allowed to fail, all together within a time."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as OutOfTime
from dataclasses import dataclass
from types import TracebackType
from typing import Final, Generic, TypeVar

from mesh_fixtures.diagnosis.facts import Unread
from mesh_fixtures.diagnosis.redaction import redacted
from mesh_fixtures.errors import ProbeError

Key = TypeVar("Key")
Answer = TypeVar("Answer")

THREADS: Final = 16


@dataclass(frozen=True)
class Question(Generic[Answer]):
    """Something to ask of a cluster.

    Attributes:
        source: how a person would ask.
        ask: raises ProbeError when there is no answer, and an error of its kind when the answer
            is not what the API promises.
    """

    cluster: str
    source: str
    ask: Callable[[], Answer]


class Enquiry:
    """Asks questions until its time is over; what got no answer by then is not waited for."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._end = time.monotonic() + seconds
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="gather")
        self._unread: list[Unread] = []

    def __enter__(self) -> Enquiry:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)

    @property
    def unread(self) -> tuple[Unread, ...]:
        """What was asked in vain."""
        return tuple(self._unread)

    def lacks(self, cluster: str, source: str, why: str) -> None:
        """Record what cannot even be asked."""
        self._unread.append(Unread(cluster, source, why))

    def begin(self, question: Question[Answer]) -> Future[Answer]:
        """Ask without waiting."""
        return self._threads.submit(question.ask)

    def end(self, question: Question[Answer], asked: Future[Answer]) -> Answer | None:
        """Wait for an answer; None when there is none, or none in time."""
        try:
            return asked.result(timeout=max(0.0, self._end - time.monotonic()))
        except OutOfTime:
            why = f"no answer within {self._seconds:g} s"
        except ProbeError as error:
            why = redacted(error.seen)
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            why = f"an answer that cannot be read: {error!r}"
        self.lacks(question.cluster, question.source, why)
        return None

    def all(self, questions: Mapping[Key, Question[Answer]]) -> dict[Key, Answer | None]:
        """Every answer, asked for at the same time."""
        asked = {key: self.begin(question) for key, question in questions.items()}
        return {key: self.end(questions[key], future) for key, future in asked.items()}
