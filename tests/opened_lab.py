"""A lab that a test opens by itself."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from mesh_fixtures.contract import Lab, Provider
from mesh_fixtures.interruption import interruption
from mesh_fixtures.progress import Progress
from mesh_fixtures.scenario import Scenario


@contextmanager
def opened(
    provider: Provider, scenario: Scenario, progress: Progress, *, bare: bool = False
) -> Iterator[Lab]:
    """A lab whose clusters are ready; it is removed in the end, after a signal, too.

    Raises:
        LabError: it could not be made, or not be removed.
    """
    with interruption.holding():
        lab = provider.open(scenario, progress, bare=bare)
        try:
            lab.wait_ready()
            yield lab
        finally:
            with interruption.removing():
                lab.close()
