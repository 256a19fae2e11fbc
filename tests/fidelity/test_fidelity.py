"""Kubernetes' and Istio's own tests pass on the embedded lab, but for failures that are known.

Each writes its counts, and what failed for which reason, to a report of its own; one at a time, as
their deadlines are made for machines that have nothing else to do.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
import yaml

from mesh_fixtures.artifacts import images, versions
from mesh_fixtures.artifacts.parts import Built
from mesh_fixtures.scenario import load_scenario
from tests.fidelity import programs
from tests.fidelity.clusters import clusters
from tests.fidelity.outcomes import Comparison, Outcome, compare, expectations
from tests.fidelity.suites import (
    ISTIO_SECONDS,
    KUBERNETES_SECONDS,
    TOPOLOGIES,
    run_istio,
    run_kubernetes,
)

ISTIO_RUNS = [
    ("pilot", "two-primaries-two-networks"),
    ("security", "two-primaries-two-networks"),
    ("pilot", "remote-two-networks"),
]
"""Those of security are the longest, and the same with a remote."""

SCENARIOS = Path(__file__).parents[2] / "scenarios"
TWO_NODES = Path(__file__).parent / "scenarios/two-nodes.yaml"
BUILD_SECONDS = 3600
"""For the first of the tests, which compiles the suites where that has not been done."""


def test_every_suite_has_an_expectation() -> None:
    of_istio = {f"istio-{suite}-{name}" for suite, name in ISTIO_RUNS}
    assert {*expectations()} == {"kubernetes", *of_istio}


@pytest.mark.timeout(KUBERNETES_SECONDS + BUILD_SECONDS)
def test_kubernetes(
    kubernetes_parts: Mapping[str, Built], report_folder: Path, tmp_path: Path
) -> None:
    archive = kubernetes_parts[programs.KUBERNETES_IMAGES].folder / images.ARCHIVE
    with clusters(load_scenario(TWO_NODES), [archive], tmp_path) as two_nodes:
        started = time.monotonic()
        outcomes, output = run_kubernetes(two_nodes, kubernetes_parts, tmp_path)
        seconds = time.monotonic() - started
    hold(report_folder / "kubernetes.yaml", versions.KUBERNETES, outcomes, seconds, output)


@pytest.mark.timeout(ISTIO_SECONDS + BUILD_SECONDS)
@pytest.mark.parametrize(("suite", "topology"), ISTIO_RUNS)
def test_istio(
    istio_parts: Mapping[str, Built],
    suite: str,
    topology: str,
    report_folder: Path,
    tmp_path: Path,
) -> None:
    chosen = TOPOLOGIES[topology]
    archive = istio_parts[programs.ISTIO_IMAGES].folder / images.ARCHIVE
    scenario = load_scenario(SCENARIOS / f"{chosen.scenario}.yaml")
    with clusters(scenario, [archive], tmp_path) as bare:
        started = time.monotonic()
        outcomes, output = run_istio(suite, chosen, bare, istio_parts, tmp_path)
        seconds = time.monotonic() - started
    file = report_folder / f"istio-{suite}-{topology}.yaml"
    hold(file, versions.ISTIO, outcomes, seconds, output)


def hold(
    file: Path, version: str, outcomes: Sequence[Outcome], seconds: float, output: str
) -> None:
    """Write a suite's report to the file that is named after it, and fail if the suite differs from
    what is expected.
    """
    comparison = compare(outcomes, expectations()[file.stem])
    write_report(file, version, comparison, seconds)
    defects = comparison.defects()
    assert not defects, "\n".join([*defects, output])


def write_report(file: Path, version: str, comparison: Comparison, seconds: float) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    described = {"suite": file.stem, "version": version, "seconds": round(seconds, 1)}
    text = yaml.safe_dump({**described, **comparison.describe()}, sort_keys=False, width=120)
    file.write_text(text)
