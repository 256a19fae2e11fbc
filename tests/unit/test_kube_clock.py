"""The time of clusters, and what is judged by it."""

from __future__ import annotations

import base64
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest
from fake_api_server import FakeApiServer
from kube_client import PODS_PATH, client_of, pod
from mesh_examples import SCENARIOS

from mesh_fixtures.install.certificates import make_certificates
from mesh_fixtures.kube import Clock, resources
from mesh_fixtures.kube.clock import read_clock
from mesh_fixtures.probe.certificates import authority

DAYS = 86_400.0


def test_the_time_is_known_as_exactly_as_the_answer_was_fast() -> None:
    date = "Sun, 06 Nov 1994 08:49:37 GMT"
    served = datetime(1994, 11, 6, 8, 49, 37, tzinfo=UTC).timestamp()
    assert read_clock(date, served, served + 1) == Clock(0.0, 1.0)
    assert read_clock(date, served - 60, served - 58) == Clock(59.5, 1.5)
    assert read_clock(date, served + 3600, served + 3600) == Clock(-3599.5, 0.5)


@pytest.mark.parametrize("date", ["", "soon", "Sun, 99 Nov 1994 08:49:37 GMT"])
def test_what_is_no_date_tells_no_time(date: str) -> None:
    assert read_clock(date, 0.0, 1.0) is None


@pytest.mark.parametrize(
    ("other", "apart"), [(Clock(121.0, 0.5), False), (Clock(122.0, 0.5), True)]
)
def test_clocks_are_apart_only_if_they_are_whatever_they_may_be_off_by(
    other: Clock, apart: bool
) -> None:
    assert Clock(0.0, 0.5).differs_from(other, 120) is apart
    assert other.differs_from(Clock(0.0, 0.5), 120) is apart


@pytest.mark.parametrize("ahead", [0.0, 3 * DAYS, -3 * DAYS])
def test_a_clients_time_is_its_api_servers(tmp_path: Path, ahead: float) -> None:
    server = FakeApiServer({PODS_PATH: {"items": [pod("a")]}}, ahead=ahead)
    with client_of(server, tmp_path) as kube:
        assert abs(kube.now().timestamp() - time.time()) < 60
        kube.list(resources.PODS, "sample")
        assert kube.clock is not None
        assert abs(kube.clock.ahead - ahead) <= kube.clock.doubt + 0.01
        assert abs(kube.now().timestamp() - time.time() - ahead) < 60


@pytest.mark.parametrize(
    ("ahead", "defects"), [(0.0, False), (60.0, False), (-3 * DAYS, True), (10_000 * DAYS, True)]
)
def test_authorities_are_judged_by_the_time_of_their_cluster(
    tmp_path: Path, ahead: float, defects: bool
) -> None:
    files = make_certificates(SCENARIOS["multi-primary"])
    data = {
        name.partition("/")[2]: base64.b64encode(content).decode()
        for name, content in files.items()
        if name.startswith("cluster1/")
    }
    system = "/api/v1/namespaces/istio-system"
    answers = {
        f"{system}/pods": {"items": []},
        f"{system}/secrets/cacerts": {"metadata": {"name": "cacerts"}, "data": data},
    }
    with client_of(FakeApiServer(answers, ahead=ahead), tmp_path) as kube:
        seen = authority(kube)
    assert seen is not None
    assert bool(seen.defects) is defects
