"""Scenario files that nobody should write: an error at once, and nothing is made."""

from __future__ import annotations

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
SECONDS = 10.0
"""A run that read or made anything large would take longer; one of these takes about one."""


@pytest.fixture(params=FILES, scope="module")
def folder(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Path]:
    made: Path = tmp_path_factory.mktemp("scenarios")
    file = made / f"{request.param}.yaml"
    file.write_bytes(FILES[request.param])
    yield made
    file.unlink()  # one of them is large


@pytest.mark.timeout(60)
def test_a_run_refuses_it(folder: Path, record_property: Property) -> None:
    before = snapshot()
    begun = time.monotonic()
    with start("--mesh-scenarios", str(folder), topology="any") as running:
        output = ended(running, SECONDS)
    record_property("seconds_to_refusal", round(time.monotonic() - begun, 2))
    assert running.returncode == pytest.ExitCode.USAGE_ERROR, output
    assert str(folder) in output
    require_as_before(before)


@pytest.mark.timeout(60)
def test_the_command_line_refuses_it(folder: Path, record_property: Property) -> None:
    (file,) = folder.iterdir()
    begun = time.monotonic()
    refused = command("plan", str(file))
    record_property("seconds_to_refusal", round(time.monotonic() - begun, 2))
    assert refused.returncode != 0
    assert str(file) in refused.stderr
    assert "Traceback" not in refused.stderr
