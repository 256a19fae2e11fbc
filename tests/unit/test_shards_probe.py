"""What an istiod says that it holds, and how that differs from what a cluster has."""

from __future__ import annotations

import json
from typing import Any

import pytest
from fake_kube import result

from mesh_fixtures.errors import ProbeError
from mesh_fixtures.kube.objects import EndpointSlice
from mesh_fixtures.probe.shards import ShardEndpoint, difference, read_networks, read_shards

SOURCE = result().source
HOST = "helloworld.sample.svc.cluster.local"


def answer(**shards: Any) -> str:
    named = {f"Kubernetes/{cluster}": held for cluster, held in shards.items()}
    return json.dumps({HOST: {"sample": {"Shards": named}}, "other": {}})


def test_shards_are_read_by_cluster() -> None:
    here = {"Addresses": ["10.1.0.5"], "Network": "network1", "TLSMode": "istio"}
    older = {"Address": "10.2.0.5", "Network": "network2"}
    seen = read_shards(
        SOURCE, "istiod-1", "sample", HOST, answer(cluster1=[here], cluster2=[older])
    )
    assert seen.of("cluster1") == {"10.1.0.5"}
    assert seen.endpoints == (
        ShardEndpoint("cluster1", "10.1.0.5", "network1", True),
        ShardEndpoint("cluster2", "10.2.0.5", "network2", False),
    )


@pytest.mark.parametrize("said", ["{}", "null", answer(), answer(cluster2=None)])
def test_nothing_is_held_of_a_cluster_that_was_lost(said: str) -> None:
    assert read_shards(SOURCE, "istiod-1", "sample", HOST, said).of("cluster2") == frozenset()


def test_the_network_of_a_cluster_is_that_of_most_of_its_endpoints() -> None:
    here = {"Addresses": ["10.1.0.5", "fd00::5"], "Network": "network1"}
    labelled = {"Addresses": ["10.1.0.6"], "Network": "network9"}
    unknown = {"Address": "10.2.0.5"}
    seen = read_networks(
        SOURCE, "istiod-1", answer(cluster1=[labelled, here], cluster2=[unknown], cluster3=None)
    )
    assert [seen.of(f"cluster{number}") for number in (1, 2, 3)] == ["network1", "", None]


def test_what_is_no_answer_is_an_error() -> None:
    with pytest.raises(ProbeError, match="endpoints that istiod holds"):
        read_shards(SOURCE, "istiod-1", "sample", HOST, "404 page not found")
    with pytest.raises(ProbeError, match="endpoints that istiod holds"):
        read_networks(SOURCE, "istiod-1", "404 page not found")


@pytest.mark.parametrize(
    ("held", "differs"),
    [
        ({"a", "b"}, ""),
        ({"a", "b", "slow"}, ""),
        ({"a"}, "lacks b"),
        ({"a", "b", "old"}, "still has old"),
        ({"old"}, "lacks a, b and still has old"),
    ],
)
def test_addresses_that_are_not_ready_may_be_held_or_not(held: set[str], differs: str) -> None:
    assert difference(held, ready=("a", "b"), not_ready=("slow",)) == differs


def test_a_slice_tells_which_addresses_are_ready() -> None:
    endpoints = [
        {"addresses": ["a"], "conditions": {"ready": True}},
        {"addresses": ["b"]},
        {"addresses": ["c"], "conditions": {"ready": False}},
    ]
    seen = EndpointSlice.read({"metadata": {"name": "it"}, "endpoints": endpoints})
    assert (seen.addresses, seen.not_ready) == (("a", "b"), ("c",))
