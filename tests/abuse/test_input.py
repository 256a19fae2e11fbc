"""Scenario files that nobody should write: an error at once, and nothing is made."""

from __future__ import annotations

import resource
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from .machine import command, ended, require_as_before, snapshot, start

Property = Callable[[str, object], None]

FILES = {
    "malformed": b"title: [unclosed\nmesh: mesh1\n",
    "binary": bytes(range(256)) * 64,
    "huge": b"- x\n" * 50_000_000,
    "bomb": b"a: &a [x, x]\nb: &b [*a, *a]\nc: &c [*b, *b]\ntitle: [*c, *c]\n",
    "empty": b"",
}
PROCESSOR_SECONDS = 1.0
"""For a refusal, which is soon. Other processes make it take longer, but not more of these."""

SECONDS = 10.0
"""For a refusal on a machine that is busy."""


@pytest.fixture(params=FILES, scope="module")
def folder(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Path]:
    made: Path = tmp_path_factory.mktemp("scenarios")
    file = made / f"{request.param}.yaml"
    file.write_bytes(FILES[request.param])
    yield made
    file.unlink()  # one of them is large


class Refusal:
    """What a refusal took, as soon as it is one."""

    def __init__(self) -> None:
        self._begun = time.monotonic(), _used_by_children()

    def require_soon(self, record_property: Property) -> None:
        __tracebackhide__ = True
        begun, used = self._begun
        took = _used_by_children() - used
        record_property("seconds_to_refusal", round(time.monotonic() - begun, 2))
        record_property("processor_seconds_to_refusal", round(took, 2))
        assert took < PROCESSOR_SECONDS


def _used_by_children() -> float:
    """Seconds of a processor that children which have ended used."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


@pytest.mark.timeout(60)
def test_a_run_refuses_it(folder: Path, record_property: Property) -> None:
    before = snapshot()
    refusal = Refusal()
    with start("--mesh-scenarios", str(folder), topology="any") as running:
        output = ended(running, SECONDS)
    refusal.require_soon(record_property)
    assert running.returncode == pytest.ExitCode.USAGE_ERROR, output
    assert str(folder) in output
    require_as_before(before)


@pytest.mark.timeout(60)
def test_the_command_line_refuses_it(folder: Path, record_property: Property) -> None:
    (file,) = folder.iterdir()
    refusal = Refusal()
    refused = command("plan", str(file))
    refusal.require_soon(record_property)
    assert refused.returncode != 0
    assert str(file) in refused.stderr
    assert "Traceback" not in refused.stderr
