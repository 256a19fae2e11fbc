"""Many queries at the same time, each of which may fail, within one deadline for all."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

from mesh_fixtures.diagnosis.facts import Failed
from mesh_fixtures.diagnosis.redaction import redacted
from mesh_fixtures.errors import ProbeError
from mesh_fixtures.parallel import parallel_map

Key = TypeVar("Key")
Answer = TypeVar("Answer")

THREADS: Final = 16


@dataclass(frozen=True)
class Query(Generic[Answer]):
    """Something to ask of a cluster.

    Attributes:
        source: how a person would ask.
        ask: raises ProbeError when there is no answer, and an error of its kind when the answer
            is not what the API promises.
    """

    cluster: str
    source: str
    ask: Callable[[], Answer]

    def failed(self, why: str) -> Failed:
        return Failed(self.cluster, self.source, why)


class Batch:
    """Sends queries until its time is over; those without an answer by then are not waited for."""

    def __init__(self, seconds: float) -> None:
        self._end = time.monotonic() + seconds
        self._late = f"no answer within {seconds:g} s"
        self._failed: list[Failed] = []

    @property
    def failed(self) -> tuple[Failed, ...]:
        """Queries without an answer, in the order in which they were passed to `all`."""
        return tuple(self._failed)

    def all(self, queries: Mapping[Key, Query[Answer]]) -> dict[Key, Answer | None]:
        """Every answer; None where there is none, or none in time."""
        answers = parallel_map(
            lambda key: self._answer(queries[key]),
            queries,
            at_most=THREADS,
            seconds=max(0.0, self._end - time.monotonic()),
        )
        found: dict[Key, Answer | None] = {}
        for key, query in queries.items():
            answer = answers[key] if key in answers else query.failed(self._late)
            if isinstance(answer, Failed):
                self._failed.append(answer)
                found[key] = None
            else:
                found[key] = answer
        return found

    def _answer(self, query: Query[Answer]) -> Answer | Failed:
        try:
            return query.ask()
        except TimeoutError:
            return query.failed(self._late)
        except ProbeError as error:
            return query.failed(redacted(error.seen))
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            return query.failed(f"an answer that cannot be read: {error!r}")
