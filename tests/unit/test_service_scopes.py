"""Which hosts istiods keep within clusters, as Istio decides it, and what proxies hold of them."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from fake_kube import FakeKube, pod, result
from hypothesis import given
from hypothesis import strategies as st

from mesh_fixtures.errors import ProbeError
from mesh_fixtures.probe.service_scopes import (
    by_host,
    deciding,
    differing,
    held_hosts,
    keeps,
    name_filter,
    read_scopes,
    settings_in,
    with_defaults,
)
from mesh_fixtures.probe.shards import read_addresses

SOURCE = result().source
DOMAIN = "cluster.local"
HOST = "helloworld.sample.svc.cluster.local"
API_SERVER = "kubernetes.default.svc.cluster.local"
DNS = "kube-dns.kube-system.svc.cluster.local"
ISTIOD = "istiod.istio-system.svc.cluster.local"


def mesh(*settings: tuple[bool | None, list[str]], **others: Any) -> dict[str, Any]:
    listed = [
        {"settings": {} if local is None else {"clusterLocal": local}, "hosts": hosts}
        for local, hosts in settings
    ]
    return {"serviceSettings": listed, **others}


@pytest.mark.parametrize(
    ("settings", "kept", "shared"),
    [
        ([], [API_SERVER, DNS, ISTIOD], [HOST]),
        ([(True, [HOST])], [HOST, API_SERVER], ["other.sample.svc.cluster.local"]),
        ([(True, ["*.sample.svc.cluster.local"])], [HOST, DNS], ["a.other.svc.cluster.local"]),
        (
            [(True, ["*"]), (False, ["*.sample.svc.cluster.local"])],
            ["a.other.svc.cluster.local", DNS],
            [HOST],
        ),
        (
            [(False, ["*.svc.cluster.local"]), (True, [HOST])],
            [HOST, DNS],
            ["a.other.svc.cluster.local"],
        ),
        ([(False, [DNS])], [API_SERVER], [DNS, HOST]),
        ([(False, [API_SERVER])], [DNS], [API_SERVER]),
        ([(True, [HOST]), (None, [HOST])], [], [HOST]),
    ],
)
def test_the_most_specific_pattern_decides(
    settings: Any, kept: list[str], shared: list[str]
) -> None:
    found = with_defaults(settings_in(mesh(*settings)), DOMAIN)
    assert [host for host in kept if not keeps(found, host)] == []
    assert [host for host in shared if keeps(found, host)] == []


def test_a_host_of_a_default_pattern_that_is_shared_takes_the_whole_pattern_out() -> None:
    found = with_defaults({DNS: False}, DOMAIN)
    assert not keeps(found, "metrics.kube-system.svc.cluster.local")


@given(st.lists(st.sampled_from(["*", "*.svc.x", "*.a.svc.x", "b.a.svc.x", "c.a.svc.x"])))
def test_a_host_is_decided_by_itself_or_by_the_longest_end(patterns: list[str]) -> None:
    found = deciding(dict.fromkeys(patterns, True), "b.a.svc.x")
    order = ["b.a.svc.x", "*.a.svc.x", "*.svc.x", "*"]
    assert found == next((each for each in order if each in patterns), "")


@pytest.mark.parametrize(
    ("one", "other", "patterns"),
    [
        ({"*.a.svc.cluster.local": True}, {}, ["*.a.svc.cluster.local"]),
        ({"*.a.svc.cluster.local": True}, {"*": True}, ["*"]),
        ({"*.kube-system.svc.cluster.local": True}, {}, []),
        ({"a.b.svc.cluster.local": False}, {}, []),
        ({}, {}, []),
    ],
)
def test_control_planes_that_decide_otherwise(one: Any, other: Any, patterns: list[str]) -> None:
    settings = {"cluster1": with_defaults(one, DOMAIN), "cluster2": with_defaults(other, DOMAIN)}
    assert [*differing(settings, (*one, *other))] == patterns


def test_what_an_istiod_says() -> None:
    shards = {
        HOST: {
            "sample": {
                "Shards": {
                    "Kubernetes/cluster1": [{"Addresses": ["10.1.0.5", "fd00::5"]}],
                    "Kubernetes/cluster2": [{"Address": "10.2.0.5"}],
                }
            }
        },
        "gone": {"sample": {}},
    }
    addresses = read_addresses(SOURCE, json.dumps(shards))
    assert addresses == {HOST: {"cluster1": {"10.1.0.5", "fd00::5"}, "cluster2": {"10.2.0.5"}}}
    said = json.dumps(
        mesh((True, [HOST]), defaultConfig={"discoveryAddress": "istiod-new.mesh.svc:15012"})
    )
    found = read_scopes(SOURCE, "istiod-1", DOMAIN, said, addresses)
    assert found.keeps(HOST)
    assert found.keeps("istiod-new.mesh.svc.cluster.local")
    assert not found.keeps(ISTIOD)
    assert found.exported_to == ("*",)
    with pytest.raises(ProbeError, match="mesh configuration"):
        read_scopes(SOURCE, "istiod-1", DOMAIN, "404 page not found", addresses)


@pytest.mark.parametrize(
    ("patterns", "name", "asked_for"),
    [
        ([HOST], f"outbound|5000||{HOST}", True),
        ([HOST], f"outbound_.5000_._.{HOST}", True),
        ([HOST], f"outbound|5000|v1|{HOST}", True),
        ([HOST], f"outbound|5000||not-{HOST}", False),
        ([HOST], "inbound|5000||", False),
        (["*.kube-system.svc.cluster.local"], f"outbound|53||{DNS}", True),
        (["*.kube-system.svc.cluster.local"], f"outbound|5000||{HOST}", False),
        (["*"], f"outbound|5000||{HOST}", True),
        (["*"], "BlackHoleCluster", False),
    ],
)
def test_envoy_clusters_that_are_asked_for(patterns: list[str], name: str, asked_for: bool) -> None:
    assert bool(re.search(name_filter(patterns), name)) == asked_for


def test_what_a_proxy_holds_of_hosts() -> None:
    def status(name: str, *addresses: str) -> dict[str, Any]:
        sockets = [{"socket_address": {"address": each, "port_value": 80}} for each in addresses]
        return {"name": name, "host_statuses": [{"address": each} for each in sockets]}

    answer = {
        "cluster_statuses": [
            status(f"outbound|5000||{HOST}", "10.1.0.5"),
            status(f"outbound_.5000_._.{HOST}", "10.1.0.6"),
            status(f"outbound|53||{DNS}"),
            {"name": "BlackHoleCluster"},
        ]
    }
    kube = FakeKube(lambda argv: json.dumps(answer), [pod("sleep-1")])
    seen = held_hosts(kube.as_client(), pod("sleep-1"), [HOST])
    assert seen.targets == {HOST: {"10.1.0.5:80", "10.1.0.6:80"}, DNS: frozenset()}
    assert by_host({"outbound|80|v1|a.b": ["x:1"]}) == {"a.b": {"x:1"}}
    broken = FakeKube(lambda argv: '{"cluster_statuses": [{}]}', [pod("sleep-1")])
    with pytest.raises(ProbeError, match="admin interface"):
        held_hosts(broken.as_client(), pod("sleep-1"), [HOST])
