"""A build of Istio that was really shipped loses endpoints when remote secrets are rotated."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Final

import pytest

from mesh_fixtures.artifacts import build, catalog, istio
from tests.faults import lost_services
from tests.faults.separate_run import SeparateRun, verified
from tests.faults.topologies import TWO_NETWORKS

COMMIT: Final = "b01690e6db7d"
"""istio/istio of April 2026, without the fixes of #60612, #60920 and #61043."""

_SECONDS: Final = 1500


@pytest.fixture
def lossy() -> tuple[str, ...]:
    """Options for that build."""
    missing = build.problems(parts=catalog.parts(istio_version=istio.version_of(COMMIT)))
    if missing:
        pytest.skip(f"it is not built, and cannot be: {missing[0].missing} is missing")
    return ("--mesh-istio", COMMIT)


@pytest.mark.timeout(_SECONDS + 60)
def test_clients_that_start_after_a_rotation_know_no_endpoint_of_the_other_cluster(
    lossy: tuple[str, ...], tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    """In a run by itself: its lab is of another Istio, and not fit for anything afterwards."""
    run = verified(
        TWO_NETWORKS,
        tmp_path,
        *("-k", "RESILIENCE-4", *lossy, "--mesh-disruptive"),
        seconds=_SECONDS,
    )
    said, outcome = run.output, run.of("RESILIENCE-4")
    record_property("seconds_to_verdict", outcome.seconds)
    assert outcome.result == "unmet", said
    for cluster in ("cluster1", "cluster2"):
        found = [
            each
            for each in outcome.findings
            if each.cluster == cluster and each.expected.startswith("a client that starts after")
        ]
        assert found, said
        assert "missing" in found[0].seen, said
    assert outcome.causes[:1] == ("endpoints-stale",), said
    (cause, *_) = [each for each in run.report.causes if each.id == "endpoints-stale"]
    assert cause.certainty == "certain", said


def verified_after_rotations(folder: Path, *arguments: str) -> tuple[SeparateRun, set[str]]:
    """A run on a mesh whose remote secrets were rotated before it made anything there, and the
    requirements that `check` calls unmet before it.
    """
    checked = folder / "check.json"
    run = verified(
        TWO_NETWORKS,
        folder,
        *("-p", lost_services.__name__, *arguments),
        seconds=_SECONDS,
        variables={lost_services.CHECKED: str(checked)},
    )
    seen = json.loads(checked.read_text(encoding="utf-8"))
    assert all(each["result"] in ("met", "unmet") for each in seen["requirements"]), seen
    unmet = {each["id"] for each in seen["requirements"] if each["result"] == "unmet"}
    assert [each["id"] for each in seen["causes"]] == ["endpoints-stale"] * (2 * len(unmet)), seen
    return run, unmet


def unmet(run: SeparateRun) -> set[str]:
    judged = [each for each in run.report.requirements if each.result != "not applicable"]
    return {each.id for each in judged if each.result not in ("met", "not run")}


@pytest.mark.timeout(_SECONDS + 60)
def test_services_that_were_lost_before_a_run_are_missed(
    lossy: tuple[str, ...], tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    run, by_check = verified_after_rotations(tmp_path, *lossy)
    said, outcome = run.output, run.of("DISCOVERY-3")
    record_property("seconds_to_verdict", outcome.seconds)
    assert by_check == {"DISCOVERY-3"}
    assert unmet(run) == {"DISCOVERY-3"}, said
    assert sorted(each.cluster for each in outcome.findings) == ["cluster1", "cluster2"], said
    for each in outcome.findings:
        assert "other/other" in each.seen, said
    assert {*outcome.causes} == {"endpoints-stale"}, said
    causes = [each for each in run.report.causes if each.id == "endpoints-stale"]
    assert [each.certainty for each in causes] == ["certain"] * 2, said


@pytest.mark.timeout(_SECONDS + 60)
def test_an_istio_that_keeps_its_endpoints_passes_after_rotations(tmp_path: Path) -> None:
    run, by_check = verified_after_rotations(tmp_path)
    assert by_check == set()
    assert unmet(run) == set(), run.output
    assert run.of("DISCOVERY-3").result == "met", run.output
