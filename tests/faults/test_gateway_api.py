"""A Gateway of the Gateway API without the listener that exposes services is named as the cause."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final

import pytest

from mesh_fixtures.install.names import GATEWAY
from mesh_fixtures.report.document import read
from mesh_fixtures.report.model import Report
from tests.faults import gateway_api
from tests.faults.table import TWO_NETWORKS

ROOT: Final = Path(__file__).parents[2]
_SECONDS: Final = 900


@pytest.mark.timeout(_SECONDS + 60)
def test_a_gateway_without_the_listener_for_services(
    tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    """In a run by itself: the labs of other faults have gateways of another kind."""
    done = subprocess.run(
        [
            *(sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"),
            *("-p", gateway_api.__name__, str(ROOT / "tests/conformance")),
            *("-k", "CONTROL-1 or GATEWAY-1 or DISCOVERY-2"),
            *("--mesh-provider", "netns", "--mesh-topology", TWO_NETWORKS),
            *("--mesh-gateways", "gateway-api", "--mesh-keep", "never"),
            *("--mesh-report", str(tmp_path)),
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=_SECONDS,
    )
    said = done.stdout + done.stderr
    (file,) = tmp_path.glob("*-report.yaml")
    assert file.name == f"{TWO_NETWORKS}-netns-istioctl-gateway-api-report.yaml"
    report = read(Report, file)
    found = {each.id: each for each in report.requirements}
    record_property("seconds_to_verdict", found["GATEWAY-1"].seconds)
    assert found["CONTROL-1"].result == "met", said
    for requirement in ("GATEWAY-1", "DISCOVERY-2"):
        assert found[requirement].result == "unmet", said
    assert found["GATEWAY-1"].causes[:1] == ("services-not-exposed",), said
    (cause, *_) = report.causes
    assert (cause.id, cause.certainty) == ("services-not-exposed", "certain"), said
    assert cause.clusters == (gateway_api.CLUSTER,), said
    assert f"the Gateway istio-system/{GATEWAY} of the Gateway API" in cause.remedy, said
