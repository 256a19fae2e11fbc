"""Tells a program that ends again and again from one that was restarted once."""

from __future__ import annotations

from datetime import datetime
from typing import Final

from mesh_fixtures.patience import patient

RESTARTS: Final = 2
"""A single one may be due to a node that was busy, or that was restarted itself."""

STEADY_SECONDS: Final = 300.0
"""That a program has to run for after its last end: as long as a kubelet waits at most before it
starts one again that keeps ending (Kubernetes: Container restart policy)."""


def is_crashing(restarts: int, ended: str, now: float) -> bool:
    """Whether a container ends again and again, so that its being ready means little.

    Args:
        restarts: how often it was started again.
        ended: when it last ended, RFC 3339; empty for never.
        now: seconds since the epoch.
    """
    if restarts < RESTARTS or not ended:
        return False
    return now - datetime.fromisoformat(ended).timestamp() < patient(STEADY_SECONDS)
