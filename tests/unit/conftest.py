"""How examples are made up, and deadlines that do not depend on the machine's load."""

from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest
from hypothesis import settings

from mesh_fixtures import patience

# How long an example takes says more about the machine than about the code.
settings.register_profile("mesh-conformance", deadline=None)
settings.load_profile("mesh-conformance")


@pytest.fixture(autouse=True)
def _unchanged_deadlines(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Here, in runs of pytest within tests, and in processes that tests start."""
    monkeypatch.setenv("MESH_PATIENCE", "1")
    before = patience.current()
    patience.use(patience.UNCHANGED)
    yield
    patience.use(before)


@pytest.fixture
def interruptible() -> Iterator[None]:
    """Interrupts arrive, even in a run that was started in the background with them ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)
