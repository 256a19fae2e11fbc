"""A build of Istio that was really shipped loses endpoints when remote secrets are rotated."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Final

import pytest

from mesh_fixtures.artifacts import build, catalog, istio
from tests.faults.separate_run import verified
from tests.faults.table import TWO_NETWORKS

COMMIT: Final = "b01690e6db7d"
"""istio/istio of April 2026, without the fixes of #60612, #60920 and #61043."""

_SECONDS: Final = 1500


@pytest.mark.timeout(_SECONDS + 60)
def test_clients_that_start_after_a_rotation_know_no_endpoint_of_the_other_cluster(
    tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    """In a run by itself: its lab is of another Istio, and not fit for anything afterwards."""
    missing = build.problems(parts=catalog.parts(istio_version=istio.version_of(COMMIT)))
    if missing:
        pytest.skip(f"it is not built, and cannot be: {missing[0].missing} is missing")
    run = verified(
        TWO_NETWORKS,
        tmp_path,
        *("-k", "RESILIENCE-4", "--mesh-istio", COMMIT, "--mesh-disruptive"),
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
