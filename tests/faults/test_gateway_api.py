"""A Gateway of the Gateway API without the listener that exposes services is named as the cause."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Final

import pytest

from mesh_fixtures.install.names import GATEWAY
from tests.faults import gateway_api
from tests.faults.separate_run import verified
from tests.faults.topologies import TWO_NETWORKS

_SECONDS: Final = 900


@pytest.mark.timeout(_SECONDS + 60)
def test_a_gateway_without_the_listener_for_services(
    tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    """In a run by itself: the labs of other faults have gateways of another kind."""
    run = verified(
        TWO_NETWORKS,
        tmp_path,
        *("-p", gateway_api.__name__, "-k", "CONTROL-1 or GATEWAY-1 or DISCOVERY-2"),
        *("--mesh-gateways", "gateway-api"),
        seconds=_SECONDS,
    )
    said = run.output
    assert run.file.name == f"{TWO_NETWORKS}-netns-istioctl-gateway-api-report.yaml"
    record_property("seconds_to_verdict", run.of("GATEWAY-1").seconds)
    assert run.of("CONTROL-1").result == "met", said
    for requirement in ("GATEWAY-1", "DISCOVERY-2"):
        assert run.of(requirement).result == "unmet", said
    assert run.of("GATEWAY-1").causes[:1] == ("services-not-exposed",), said
    (cause, *_) = run.report.causes
    assert (cause.id, cause.certainty) == ("services-not-exposed", "certain"), said
    assert cause.clusters == (gateway_api.CLUSTER,), said
    assert f"the Gateway istio-system/{GATEWAY} of the Gateway API" in cause.remedy, said
