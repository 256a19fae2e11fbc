from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from math import inf
from typing import Any

import pytest
from fake_kube import FakeKube, Said, pod, result

from mesh_fixtures.errors import ProbeError
from mesh_fixtures.probe.xds import NOT_SENT, SYNCED, XdsClient, read_clients, xds_clients

Json = dict[str, Any]
NONCE = "2026-11-23T22:09:22Z/18f9faee81-2dd8-485d-87b6-bf91ef3be243"
CLUSTER = "type.googleapis.com/envoy.config.cluster.v3.Cluster"


def status(proxy: str, kind: str = "sidecar", **changes: str | None) -> Json:
    """An entry of `/debug/syncz` as Istio 1.32 answers it, with every type accepted."""
    types = ("cluster", "listener", "endpoint", "route")
    status: Json = {"cluster_id": "cluster2", "proxy": proxy, "proxy_type": kind, "resources": {}}
    status |= {f"{name}_{what}": NONCE for name in types for what in ("sent", "acked")}
    return {key: value for key, value in (status | changes).items() if value is not None}


def read(statuses: Sequence[Json]) -> Mapping[str, XdsClient]:
    return read_clients(result().source, json.dumps(statuses) + "\n")


def test_proxies() -> None:
    found = read([status("sleep-1.sample"), status("gateway-1.istio-system", "router")])
    sleep, gateway = found["sleep-1.sample"], found["gateway-1.istio-system"]
    assert (sleep.cluster_id, sleep.kind) == ("cluster2", "sidecar")
    assert gateway.kind == "router"
    assert set(sleep.states.values()) == {SYNCED}
    assert str(sleep) == "CDS synced, LDS synced, EDS synced, RDS synced"


@pytest.mark.parametrize(
    ("changes", "state"),
    [
        ({"cluster_acked": "an older one"}, "stale"),
        ({"cluster_acked": None}, "stale"),
        ({"cluster_sent": None, "cluster_acked": None}, NOT_SENT),
    ],
)
def test_what_is_not_accepted(changes: Json, state: str) -> None:
    assert read([status("sleep-1.sample", **changes)])["sleep-1.sample"].states["CDS"] == state


def test_a_rejection_ends_with_what_is_wrong() -> None:
    rejected = status("sleep-1.sample", cluster_acked="an older one")
    error = "name: x\n" * 500 + ": ConnectTimeout: value must be greater than 0s"
    rejected["resources"] = {CLUSTER: {"sent": NONCE, "lastError": error}}
    state = read([rejected])["sleep-1.sample"].states["CDS"]
    assert state.startswith("rejected: ...")
    assert state.endswith(": ConnectTimeout: value must be greater than 0s")
    assert len(state) < 300
    assert "\n" not in state


def test_an_error_that_was_overcome_is_none() -> None:
    accepted = status("sleep-1.sample")
    accepted["resources"] = {CLUSTER: {"sent": NONCE, "acked": NONCE, "lastError": "once"}}
    assert read([accepted])["sleep-1.sample"].states["CDS"] == SYNCED


@pytest.mark.parametrize("answer", ["", "404 page not found", '[{"proxy": "a"}]', '["a"]', "7"])
def test_another_answer_is_a_probe_error(answer: str) -> None:
    with pytest.raises(ProbeError, match="proxy-status"):
        read_clients(result().source, answer)


def test_asks_each_ready_istiod() -> None:
    def answer(argv: Sequence[str]) -> Said:
        return json.dumps([status("sleep-1.sample")])

    kube = FakeKube(answer, [pod("istiod-1", "istio-system")])
    (asked,) = xds_clients(kube.as_client())
    assert (asked.cluster, asked.istiod) == ("cluster1", "istiod-1")
    assert asked.clients.keys() == {"sleep-1.sample"}
    assert [each[-1] for each in kube.asked] == ["/debug/syncz"]
    assert asked.age == inf


def test_an_istiod_is_as_old_as_its_pod() -> None:
    started = pod("istiod-1", "istio-system")
    created = datetime.now(UTC) - timedelta(seconds=7)
    meta = replace(started.meta, created=created.strftime("%Y-%m-%dT%H:%M:%SZ"))
    kube = FakeKube(lambda argv: "[]", [replace(started, meta=meta)])
    (asked,) = xds_clients(kube.as_client())
    assert 7 <= asked.age < 10
