"""How often which question had to be asked again, gathered from progress events."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from threading import Lock
from typing import TYPE_CHECKING

from mesh_fixtures.progress.events import Event

if TYPE_CHECKING:
    from mesh_fixtures.retries import Retry


class RetryCounts:
    """A sink that counts retries by subject. Safe for several threads."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._counted: dict[str, Counter[Retry]] = {}

    def __call__(self, event: Event) -> None:
        if event.outcome == "retried":
            from mesh_fixtures.retries import Retry

            with self._lock:
                counted = self._counted.setdefault(event.subject, Counter())
                counted[Retry(event.cluster, event.phase, event.detail)] += 1

    @property
    def subjects(self) -> tuple[str, ...]:
        """Subjects with at least one retry, in the order of their first."""
        with self._lock:
            return tuple(self._counted)

    def of(self, subject: str) -> Mapping[Retry, int]:
        """How often, in the order of the first of each."""
        with self._lock:
            return dict(self._counted.get(subject, {}))
