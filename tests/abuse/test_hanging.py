"""An API server that hangs is an error which says so in time, and no verdict on the mesh."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from typing import Final

import pytest

from .machine import api_servers, ended, lab_of, read_until, require_as_before, snapshot, start

MOST_SECONDS: Final = 420.0


@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    "moment", ["istiod done", "helloworld-ready done"], ids=["installing", "verifying"]
)
def test_a_hanging_api_server(moment: str, record_property: Callable[[str, object], None]) -> None:
    before = snapshot()
    with start() as running:
        said = read_until(running, moment)
        *_, frozen = api_servers(lab_of(running).id)
        os.kill(frozen, signal.SIGSTOP)
        begun = time.monotonic()
        output = said + ended(running, MOST_SECONDS)
    record_property("seconds_to_end", round(time.monotonic() - begun, 1))
    assert running.returncode == pytest.ExitCode.TESTS_FAILED, output
    summary = output[output.index("short test summary") :]
    assert "ERROR tests/conformance/" in summary, output
    assert "FAILED tests/conformance/" not in summary, output
    assert "api-server-unresponsive: the API server of cluster2 does not answer" in output
    require_as_before(before)
