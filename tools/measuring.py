"""A pytest plugin for `tools.bench`: writes what one run took to a JSON file.

Started by `-p tools.measuring`, with the file's name in `MESH_MEASURE_INTO`.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Generator
from dataclasses import asdict, dataclass, field
from pathlib import Path

import pytest

from mesh_fixtures.contract import Lab
from mesh_fixtures.session.labs import RUN

VARIABLE = "MESH_MEASURE_INTO"

_PHASES = {
    "_mesh_starting_lab": "clusters",
    "mesh_installed": "mesh",
    "mesh_sample": "workloads",
}
_MEBIBYTE = 1024 * 1024


@dataclass
class Measurement:
    """What one run took.

    Attributes:
        phases: seconds of what a run does one after another; what they leave of the whole is the
            start of the process and its end.
        steps: seconds of each step; over several clusters, of the slowest. They overlap.
        memory: most MiB that the labs' processes were seen to use.
        processor: seconds of the processor that this process, what it has started, and the lab's
            processes have taken until the lab is removed; 0.0 where the provider does not know.
    """

    phases: dict[str, float] = field(default_factory=dict)
    steps: dict[str, float] = field(default_factory=dict)
    memory: float = 0.0
    processor: float = 0.0

    def add(self, phase: str, seconds: float) -> None:
        self.phases[phase] = self.phases.get(phase, 0.0) + seconds


_measurement = Measurement()
_labs: list[Lab] = []


@pytest.hookimpl(wrapper=True)
def pytest_fixture_setup(
    fixturedef: pytest.FixtureDef[object],
) -> Generator[None, object, object]:
    begun = time.monotonic()
    try:
        return (yield)
    finally:
        if fixturedef.argname in _PHASES:
            _measurement.add(_PHASES[fixturedef.argname], time.monotonic() - begun)


@pytest.hookimpl(wrapper=True)
def pytest_mesh_sample(lab: Lab) -> Generator[None, object, object]:
    result = yield
    _measurement.memory = max(_measurement.memory, memory_of(lab))
    _labs.append(lab)
    return result


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_teardown(nextitem: pytest.Item | None) -> None:
    """The lab is removed by the last one."""
    if nextitem is None and _labs:
        of_labs = [each.processor_seconds() for each in _labs]
        known = [each for each in of_labs if each is not None]
        if len(known) == len(_labs):
            _measurement.processor = sum(os.times()[:4]) + sum(known)


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    if report.when == "call":
        _measurement.add("tests", report.duration)


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    times = session.config.stash[RUN].step_times
    for subject in times.subjects:
        for step in times.of(subject):
            longest = max(step.seconds, _measurement.steps.get(step.phase, 0.0))
            _measurement.steps[step.phase] = longest
    _measurement.add("teardown", _measurement.steps.pop("teardown", 0.0))
    Path(os.environ[VARIABLE]).write_text(json.dumps(asdict(_measurement)), encoding="utf-8")


def memory_of(lab: Lab) -> float:
    """MiB that the lab's processes use, or 0.0 where its provider does not know."""
    return (lab.memory() or 0) / _MEBIBYTE
