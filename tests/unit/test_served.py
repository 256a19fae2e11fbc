"""What pods answered, of their sidecars' metrics."""

from __future__ import annotations

from dataclasses import replace

from fake_kube import FakeKube, pod

from mesh_fixtures.kube import Container
from mesh_fixtures.probe.served import Served, read_served, served, since

METRICS = """# TYPE istio_requests_total counter
istio_requests_total{reporter="destination",source_cluster="cluster1",response_code="200",response_flags="-"} 96
istio_requests_total{reporter="destination",source_cluster="cluster1",response_code="503",response_flags="-"} 4
istio_requests_total{reporter="destination",source_cluster="unknown",response_code="503",response_flags="UF"} 2
istio_requests_total{reporter="source",source_cluster="cluster2",response_code="503",response_flags="UF"} 7
istio_requests_total{reporter="destination",source_cluster="cluster1",source_app="a\\"b",response_code="503",response_flags="-"} 1
"""  # noqa: E501
OF_CLUSTER1 = Served("pod-1", "v2", "cluster1", 503, "", 5, "stats")


def test_answers_are_counted_by_client_status_and_flags() -> None:
    assert read_served(METRICS, "pod-1", "v2", "stats") == (
        Served("pod-1", "v2", "", 503, "UF", 2, "stats"),
        Served("pod-1", "v2", "cluster1", 200, "", 96, "stats"),
        OF_CLUSTER1,
    )
    assert read_served("", "pod-1", "v2", "stats") == ()


def test_what_was_answered_before_does_not_count() -> None:
    later = replace(OF_CLUSTER1, count=9)
    assert since([OF_CLUSTER1], [later]) == (replace(OF_CLUSTER1, count=4),)
    assert since([OF_CLUSTER1], [OF_CLUSTER1]) == ()
    assert since([], [OF_CLUSTER1]) == (OF_CLUSTER1,)


def test_pods_without_a_proxy_are_not_asked() -> None:
    with_proxy = replace(pod("a", version="v2"), containers=(Container("istio-proxy"),))
    kube = FakeKube(lambda argv: METRICS, [with_proxy, pod("b")])
    assert {each.pod for each in served(kube.as_client())} == {"a"}
    assert len(kube.asked) == 1
