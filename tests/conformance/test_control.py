"""Control: where istiod runs."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from mesh_fixtures.probe.view import MeshView
from mesh_fixtures.probe.workloads import ControlPlane, control_plane
from mesh_fixtures.verdict.findings import Finding, require_none


@pytest.mark.requirement("CONTROL-1")
def test_istiod_runs_in_each_primary_and_in_no_remote(view: MeshView) -> None:
    found = view.each(control_plane)
    require_none(finding for each in found.values() for finding in _judged(view, each))


def _judged(view: MeshView, seen: ControlPlane) -> Iterator[Finding]:
    if view.scenario.cluster(seen.cluster).is_primary:
        if not seen.is_running:
            expected = "an istiod with every pod ready, in a primary"
            yield Finding(seen.cluster, expected, str(seen), seen.source)
    elif seen.deployments or seen.pods:
        yield Finding(seen.cluster, "no istiod, in a remote", str(seen), seen.source)
