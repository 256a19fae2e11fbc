"""How examples are made up, and deadlines that do not depend on the machine's load."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import settings

from mesh_fixtures import patience
from mesh_fixtures.interruption import Interruption

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
    """Interrupts arrive as where a lab is held, even in a run in the background, without them."""
    with Interruption(lambda text: None).holding():
        yield
