"""What pods answered, of their sidecars' counters."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace

import pytest
from fake_kube import FakeKube, pod

from mesh_fixtures.kube import Container, Pod
from mesh_fixtures.probe.envoy import Counters
from mesh_fixtures.probe.traffic import Served, served, since


def with_proxy(name: str) -> Pod:
    return replace(pod(name, version="v2"), containers=(Container("istio-proxy"),))


def inbound(requests: int, errors: int) -> str:
    """What a sidecar says of its application; Envoy leaves out values of 0."""
    stats = [{"name": "rq_total", "value": str(requests)}, {"name": "rq_error"}]
    if errors:
        stats[1]["value"] = str(errors)
    address = {"socket_address": {"address": "10.1.0.9", "port_value": 5000}}
    hosts = [{"address": address, "stats": stats}]
    return json.dumps({"cluster_statuses": [{"name": "inbound|5000||", "host_statuses": hosts}]})


def asked(answer: str, *pods: Pod) -> tuple[Served, ...]:
    def answering(argv: Sequence[str]) -> str:
        assert argv[:3] == ("pilot-agent", "request", "GET")
        return answer

    return served(FakeKube(answering, pods).as_client())


def test_pods_that_have_a_proxy_are_asked() -> None:
    (only,) = asked(inbound(96, 4), with_proxy("a"), pod("b"))
    assert (only.pod, only.version, only.counted) == ("a", "v2", Counters(requests=96, errors=4))


@pytest.mark.parametrize("answer", ["", "no JSON", '{"cluster_statuses": 1}'])
def test_a_sidecar_that_does_not_answer_says_nothing(answer: str) -> None:
    assert asked(answer, with_proxy("a")) == ()


def test_what_was_answered_before_does_not_count() -> None:
    before = asked(inbound(96, 4), with_proxy("a"))
    after = asked(inbound(296, 8), with_proxy("a"), with_proxy("b"))
    old, new = since(before, after)
    assert old.counted == Counters(requests=200, errors=4)
    assert new.counted == Counters(requests=296, errors=8)
