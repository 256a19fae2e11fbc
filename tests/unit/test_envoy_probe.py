from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from fake_kube import FakeKube, Said, pod, result

from mesh_fixtures.errors import ProbeError
from mesh_fixtures.kube import Container
from mesh_fixtures.probe.envoy import (
    CONFIGURATION,
    PROXY,
    Balancing,
    Endpoints,
    admin_text,
    balancing,
    configuration,
    denied,
    draining,
    endpoints,
    listeners,
    read_endpoints,
    requests_per_connection,
    wanting_proxy_protocol,
)

Json = dict[str, Any]
HELLOWORLD = "outbound|5000||helloworld.sample.svc.cluster.local"


def host(address: str, port: int = 5000, **more: Any) -> Json:
    """A host as Envoy 1.40 prints it, with what is at its default left out."""
    return {
        "address": {"socket_address": {"address": address, "port_value": port}},
        "stats": [{"name": "cx_active", "type": "GAUGE"}],
        "health_status": {"eds_health_status": "HEALTHY"},
        "weight": 1,
        "locality": {},
        **more,
    }


def clusters(*hosts: Json, name: str = HELLOWORLD) -> Json:
    cluster = {"name": name, "added_via_api": True, "observability_name": name}
    return {"cluster_statuses": [{**cluster, "host_statuses": list(hosts)} if hosts else cluster]}


def read(answer: Any) -> Endpoints:
    return read_endpoints(result().source, HELLOWORLD, answer)


def test_endpoints_with_where_they_are() -> None:
    seen = read(
        clusters(
            host("172.18.2.100", 15443, weight=2, locality={"region": "r1", "zone": "z1"}),
            host("10.101.0.5"),
        )
    )
    pod_ip, gateway = seen.endpoints
    assert (pod_ip.target, pod_ip.locality) == ("10.101.0.5:5000", "")
    assert (gateway.weight, gateway.locality) == (2, "r1/z1")
    assert gateway.healthy
    assert gateway.priority == 0
    assert str(seen) == "10.101.0.5:5000, 172.18.2.100:15443"


@pytest.mark.parametrize(
    ("health", "why"),
    [
        ({"eds_health_status": "UNHEALTHY"}, "UNHEALTHY"),
        ({"eds_health_status": "DRAINING"}, "DRAINING"),
        ({"failed_outlier_check": True, "eds_health_status": "HEALTHY"}, "failed_outlier_check"),
    ],
)
def test_an_endpoint_that_is_not_used_says_why(health: Json, why: str) -> None:
    seen = read(clusters(host("10.1.0.5", health_status=health)))
    assert not seen.endpoints[0].healthy
    assert str(seen) == f"10.1.0.5:5000 ({why})"
    assert not seen.in_use


@pytest.mark.parametrize(
    ("end", "target"),
    [("10.101.0.5:5000", "10.101.0.5:5000"), ("[fd00::5]:5000", "[fd00::5]:5000"), ("", ":0")],
)
def test_an_endpoint_behind_a_tunnel_is_the_end_of_it(end: str, target: str) -> None:
    within = {"server_listener_name": "connect_originate", "endpoint_id": end}
    tunnelled = {**host(""), "address": {"envoy_internal_address": within}}
    (seen,) = read(clusters(tunnelled)).endpoints
    assert seen.target == target


def test_only_the_first_healthy_priority_is_in_use() -> None:
    sick = {"eds_health_status": "UNHEALTHY"}
    seen = read(
        clusters(
            host("10.1.0.5", health_status=sick),
            host("10.1.0.6", priority=1),
            host("10.1.0.7", priority=2),
        )
    )
    assert [each.address for each in seen.in_use] == ["10.1.0.6"]


def test_health_that_was_not_said_counts_as_healthy() -> None:
    assert read(clusters(host("10.1.0.5", health_status={}))).endpoints[0].healthy
    unknown = {"eds_health_status": "UNKNOWN"}
    assert read(clusters(host("10.1.0.5", health_status=unknown))).endpoints[0].healthy


def test_no_endpoints_differs_from_no_cluster() -> None:
    assert str(read(clusters())) == "no endpoints"
    assert str(read({})) == "no such Envoy cluster"
    assert str(read(clusters(host("10.1.0.5"), name="outbound|80||other"))) == (
        "no such Envoy cluster"
    )


@pytest.mark.parametrize("answer", [[], {"cluster_statuses": [{"host_statuses": []}]}, "text"])
def test_what_envoy_does_not_answer_is_a_probe_error(answer: Any) -> None:
    with pytest.raises(ProbeError, match="admin interface"):
        read(answer)


def answering(**answers: Any) -> FakeKube:
    def answer(argv: Sequence[str]) -> Said:
        assert argv[:3] == ("pilot-agent", "request", "GET")
        return json.dumps(answers[argv[3].partition("?")[0]]) + "\n"

    return FakeKube(answer)


def test_endpoints_are_asked_from_the_pods_proxy() -> None:
    kube = answering(clusters=clusters(host("10.1.0.5")))
    seen = endpoints(kube.as_client(), pod("sleep-1"))
    assert str(seen) == "10.1.0.5:5000"
    ((container, *_, path),) = kube.asked
    assert container == "istio-proxy"
    assert path == (
        "clusters?format=json&filter=%5Eoutbound%5C%7C5000%5C%7C%5C%7Chelloworld"
        "%5C.sample%5C.svc%5C.cluster%5C.local%24"
    )
    assert "sample/sleep-1 (istio-proxy)" in seen.source.subject


@pytest.mark.parametrize(
    ("stats", "opened"),
    [
        ([{"name": "cx_total", "value": "38"}, {"name": "rq_total", "value": "99"}], 38),
        ([{"name": "cx_total"}], 0),
        ([], 0),
    ],
)
def test_connections_to_an_endpoint_are_counted(stats: list[Json], opened: int) -> None:
    (seen,) = read(clusters(host("10.1.0.5", stats=stats))).endpoints
    assert seen.connections == opened


@pytest.mark.parametrize(
    ("options", "most"),
    [
        ({"common_http_protocol_options": {"max_requests_per_connection": 1}}, 1),
        ({"explicit_http_config": {"http_protocol_options": {}}}, 0),
    ],
)
def test_requests_that_a_connection_serves(options: Json, most: int) -> None:
    named = {"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": options}
    dynamic = {"cluster": {"typed_extension_protocol_options": named}}
    kube = answering(config_dump={"configs": [dynamic]})
    assert requests_per_connection(kube.as_client(), pod("sleep-1"), "outbound|5000||a") == most
    ((*_, path),) = kube.asked
    assert "name_regex=%5Eoutbound%5C%7C5000%5C%7C%5C%7Ca%24" in path


def test_an_envoy_cluster_without_options_or_none_at_all() -> None:
    bare = answering(config_dump={"configs": [{"cluster": {}}]})
    assert requests_per_connection(bare.as_client(), pod("sleep-1"), "a") == 0
    none = answering(config_dump={})
    assert requests_per_connection(none.as_client(), pod("sleep-1"), "a") is None
    other = answering(config_dump={"configs": [{}]})
    with pytest.raises(ProbeError, match="admin interface"):
        requests_per_connection(other.as_client(), pod("sleep-1"), "a")


@pytest.mark.parametrize(
    ("found", "seen"),
    [
        ({"lb_policy": "LEAST_REQUEST", "common_lb_config": {}}, Balancing()),
        ({}, Balancing()),
        ({"lb_policy": "RING_HASH"}, Balancing(by_hash=True)),
        ({"lb_policy": "MAGLEV"}, Balancing(by_hash=True)),
        ({"common_lb_config": {"locality_weighted_lb_config": {}}}, Balancing(by_locality=True)),
        ({"common_lb_config": {"zone_aware_lb_config": {}}}, Balancing(by_locality=True)),
        ({"least_request_lb_config": {"slow_start_config": {}}}, Balancing(by_age=True)),
        ({"round_robin_lb_config": {"slow_start_config": {}}}, Balancing(by_age=True)),
        ({"least_request_lb_config": {"choice_count": 3}}, Balancing()),
        (
            {"common_lb_config": {"zone_aware_lb_config": {"routing_enabled": {"value": 0}}}},
            Balancing(),
        ),
        (
            {"common_lb_config": {"zone_aware_lb_config": {"routing_enabled": {}}}},
            Balancing(),
        ),
    ],
)
def test_how_a_proxy_chooses_among_endpoints(found: Json, seen: Balancing) -> None:
    kube = answering(config_dump={"configs": [{"cluster": found}]})
    assert balancing(kube.as_client(), pod("sleep-1"), "outbound|5000||a") == seen
    ((*_, path),) = kube.asked
    assert all(f"cluster.{each}" in path for each in found)


def test_a_proxy_without_the_envoy_cluster_chooses_as_usual() -> None:
    none = answering(config_dump={})
    assert balancing(none.as_client(), pod("sleep-1"), "a").is_plain


def test_ports_that_want_the_proxy_protocol() -> None:
    def listener(port: int, *filters: str) -> Json:
        address = {"socket_address": {"address": "0.0.0.0", "port_value": port}}
        named = [{"name": f"envoy.filters.listener.{each}"} for each in filters]
        return {"active_state": {"listener": {"address": address, "listener_filters": named}}}

    dump = json.dumps(
        {"configs": [listener(15443, "proxy_protocol", "tls_inspector"), listener(15012), {}]}
    )
    kube = FakeKube(lambda argv: dump)
    assert wanting_proxy_protocol(kube.as_client(), pod("gateway-1")) == {15443}


def test_what_policies_made_a_proxy_refuse_is_counted() -> None:
    def counting(**counters: int) -> FakeKube:
        counted = [{"name": name, "value": count} for name, count in counters.items()]
        return answering(stats={"stats": [*counted, {"histograms": {"supported_quantiles": []}}]})

    assert denied(counting().as_client(), pod("gateway-1")) == 0
    kube = counting(**{"tcp.rbac.denied": 2, "http.outbound_0.0.0.0_80.rbac.denied": 3})
    assert denied(kube.as_client(), pod("gateway-1")) == 5
    with pytest.raises(ProbeError, match="admin interface"):
        denied(answering(stats={"stats": [{"name": "x"}]}).as_client(), pod("gateway-1"))


def test_what_a_proxy_is_about_to_remove_is_counted() -> None:
    name = "listener_manager.total_filter_chains_draining"
    kube = answering(stats={"stats": [{"name": name, "value": 7}]})
    assert draining(kube.as_client(), pod("helloworld-1")) == 7


def test_listeners() -> None:
    def at(name: str, address: str, port: int) -> Json:
        socket = {"address": address, "port_value": port}
        return {"name": name, "local_address": {"socket_address": socket}}

    kube = answering(
        listeners={
            "listener_statuses": [
                at("0.0.0.0_15443", "0.0.0.0", 15443),
                at("status", "0.0.0.0", 15021),
                at("local", "127.0.0.1", 15053),
                {
                    "name": "connect",
                    "local_address": {"envoy_internal_address": {"server_listener_name": "x"}},
                },
            ]
        }
    )
    seen = listeners(kube.as_client(), pod("gateway-1"))
    assert seen.ports == {15021, 15443}
    assert [each.name for each in seen.listeners] == [
        "connect",
        "status",
        "local",
        "0.0.0.0_15443",
    ]


@pytest.mark.parametrize(
    "response",
    [
        (1, "", "Error: dial tcp [::1]:15000: connect: connection refused"),
        (0, "<html>", ""),
        (0, "", ""),
        (0, '{"listener_statuses": [{}]}', ""),
    ],
)
def test_a_proxy_that_does_not_answer_is_a_probe_error(response: Said) -> None:
    with pytest.raises(ProbeError, match="sample/sleep-1"):
        listeners(FakeKube(lambda argv: response).as_client(), pod("sleep-1"))


def test_asks_the_port_of_the_proxy_where_ports_are_forwarded() -> None:
    answer = json.dumps(clusters(host("10.101.0.5")))
    kube = FakeKube(lambda asked: answer, forwards=True)
    seen = endpoints(kube.as_client(), pod("sleep-1"), HELLOWORLD)
    assert [each.address for each in seen.endpoints] == ["10.101.0.5"]
    ((port, path),) = kube.asked
    assert port == "15000"
    assert path.startswith("/clusters?")


@pytest.mark.parametrize(
    ("text", "found"),
    [('{"concurrency": 2}', {"concurrency": 2}), ("{}", {}), ("", {}), ("[]", {})],
)
def test_what_a_proxy_was_configured_with(text: str, found: Json) -> None:
    proxy = Container(PROXY, env={CONFIGURATION: text})
    assert configuration(replace(pod("sleep-1"), containers=(proxy,))) == found
    assert configuration(pod("sleep-1")) == {}


def test_a_port_of_a_proxy_that_refuses_is_a_probe_error() -> None:
    response: Said = (403, "no", "")
    kube = FakeKube(lambda asked: response, forwards=True)
    with pytest.raises(ProbeError, match="HTTP 403"):
        endpoints(kube.as_client(), pod("sleep-1"), HELLOWORLD)


@pytest.mark.parametrize(
    ("configured", "asked"),
    [
        ("{}", ("istio-proxy", "pilot-agent", "request", "GET", "clusters")),
        ("", ("istio-proxy", "pilot-agent", "request", "GET", "clusters")),
        ('{"proxyAdminPort": 15900}', ("15900", "/clusters")),
    ],
)
def test_the_admin_interface_is_asked_where_it_is(configured: str, asked: tuple[str, ...]) -> None:
    proxy = Container("istio-proxy", env={"PROXY_CONFIG": configured})
    kube = FakeKube(lambda argv: "an answer")
    _, text = admin_text(kube.as_client(), replace(pod("sleep-1"), containers=(proxy,)), "clusters")
    assert text == "an answer"
    assert kube.asked == [asked]
