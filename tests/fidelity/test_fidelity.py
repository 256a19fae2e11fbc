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
from tests.fidelity.clusters import clusters, report_folder
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
def test_kubernetes(kubernetes_parts: Mapping[str, Built], tmp_path: Path) -> None:
    archive = kubernetes_parts[programs.KUBERNETES_IMAGES].folder / images.ARCHIVE
    with clusters(load_scenario(TWO_NODES), [archive], tmp_path) as two_nodes:
        started = time.monotonic()
        outcomes, output = run_kubernetes(two_nodes, kubernetes_parts, tmp_path)
    hold("kubernetes", versions.KUBERNETES, outcomes, time.monotonic() - started, output)


@pytest.mark.timeout(ISTIO_SECONDS + BUILD_SECONDS)
@pytest.mark.parametrize(("suite", "topology"), ISTIO_RUNS)
def test_istio(istio_parts: Mapping[str, Built], suite: str, topology: str, tmp_path: Path) -> None:
    chosen = TOPOLOGIES[topology]
    archive = istio_parts[programs.ISTIO_IMAGES].folder / images.ARCHIVE
    scenario = load_scenario(SCENARIOS / f"{chosen.scenario}.yaml")
    with clusters(scenario, [archive], tmp_path) as bare:
        started = time.monotonic()
        outcomes, output = run_istio(suite, chosen, bare, istio_parts, tmp_path)
    name = f"istio-{suite}-{topology}"
    hold(name, versions.ISTIO, outcomes, time.monotonic() - started, output)


def hold(
    suite: str, version: str, outcomes: Sequence[Outcome], seconds: float, output: str
) -> None:
    """Write a suite's report, and fail if it differs from what is expected."""
    comparison = compare(outcomes, expectations()[suite])
    write_report(suite, version, comparison, seconds)
    defects = comparison.defects()
    assert not defects, "\n".join([*defects, output])


def write_report(suite: str, version: str, comparison: Comparison, seconds: float) -> None:
    folder = report_folder()
    folder.mkdir(parents=True, exist_ok=True)
    described = {"suite": suite, "version": version, "seconds": round(seconds, 1)}
    text = yaml.safe_dump({**described, **comparison.describe()}, sort_keys=False, width=120)
    (folder / f"{suite}.yaml").write_text(text)
