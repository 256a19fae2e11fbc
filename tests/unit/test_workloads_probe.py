from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, cast

import pytest
from fake_kube import pod

from mesh_fixtures.kube import (
    Container,
    Deployment,
    EndpointSlice,
    KubeClient,
    Meta,
    Pod,
    Resource,
    Service,
    Source,
)
from mesh_fixtures.probe.gateways import gateways
from mesh_fixtures.probe.workloads import (
    Injection,
    control_plane,
    discovery,
    injection_of,
    workloads,
)


@dataclass
class FakeObjects:
    """A cluster of written-down objects; selectors are `key=value`."""

    pods_there: tuple[Pod, ...] = ()
    services_there: tuple[Service, ...] = ()
    deployments_there: tuple[Deployment, ...] = ()
    slices: Mapping[str, tuple[EndpointSlice, ...]] = field(default_factory=dict)
    name: str = "cluster1"
    sample_namespace: str = "sample"

    def list(self, resource: Resource[Any], namespace: str, selector: str) -> Sequence[object]:
        key, _, value = selector.partition("=")
        match resource.kind:
            case "Pod":
                return [each for each in self.pods_there if each.meta.labels.get(key) == value]
            case "EndpointSlice":
                assert key == "kubernetes.io/service-name"
                return self.slices.get(value, ())
            case "Service":
                return self.services_there
        return self.deployments_there

    def get(self, resource: Resource[Service], namespace: str, name: str) -> Service | None:
        found = (each for each in self.services_there if str(each.meta) == f"{namespace}/{name}")
        return next(found, None)

    def source(self, kind: str, namespace: str = "", detail: str = "") -> Source:
        return Source(self.name, kind, "kubectl get")

    def as_client(self) -> KubeClient:
        return cast("KubeClient", self)


def injected(env: dict[str, str]) -> Pod:
    proxy = Container("istio-proxy", env=env, ready=True)
    plain = pod("helloworld-v1-abc", app="helloworld", version="v1")
    return replace(plain, containers=(proxy, Container("helloworld", ready=True)))


def test_what_a_proxy_was_told() -> None:
    env = {
        "ISTIO_META_CLUSTER_ID": "cluster2",
        "ISTIO_META_NETWORK": "network2",
        "ISTIO_META_MESH_ID": "mesh1",
        "PROXY_CONFIG": json.dumps({"discoveryAddress": "istiod-x.istio-system.svc:15012"}),
    }
    assert injection_of(injected(env)) == Injection(
        cluster_id="cluster2",
        network="network2",
        mesh_id="mesh1",
        discovery="istiod-x.istio-system.svc:15012",
    )


@pytest.mark.parametrize("configuration", ["{}\n", "", "[]", "{"])
def test_what_a_proxy_was_not_told(configuration: str) -> None:
    seen = injection_of(injected({"PROXY_CONFIG": configuration}))
    assert seen is not None
    assert (seen.cluster_id, seen.network, seen.mesh_id) == ("", "", "")
    assert seen.discovery == "istiod.istio-system.svc:15012"


def test_workloads_without_those_that_go_away() -> None:
    sleep = pod("sleep-1", app="sleep")
    kube = FakeObjects((injected({}), sleep, replace(sleep, terminating=True)))
    hello, slept = workloads(kube.as_client())
    assert (hello.app, hello.version, hello.cluster) == ("helloworld", "v1", "cluster1")
    assert hello.injection is not None
    assert (slept.app, slept.version, slept.injection) == ("sleep", "", None)


@pytest.mark.parametrize(
    ("wanted", "ready", "running"), [(1, 1, True), (2, 1, False), (0, 0, False)]
)
def test_a_control_plane_runs_when_all_its_pods_are_ready(
    wanted: int, ready: int, running: bool
) -> None:
    deployment = Deployment(Meta("istiod", "istio-system"), wanted, ready)
    istiod = pod("istiod-1", "istio-system", app="istiod")
    seen = control_plane(FakeObjects((istiod,), deployments_there=(deployment,)).as_client())
    assert seen.is_running is running
    assert str(seen) == (
        f"istio-system/istiod {ready}/{wanted}, pod istio-system/istiod-1 0/0 Running"
    )


def test_no_control_plane() -> None:
    seen = control_plane(FakeObjects().as_client())
    assert not seen.is_running
    assert str(seen) == "no istiod"


def test_discovery_by_endpoint_slices() -> None:
    meta = Meta("istiod", "istio-system")
    service = Service(meta, "ClusterIP", {}, (), ())
    slices = {"istiod": (EndpointSlice(meta, ("172.18.1.100",)),)}
    kube = FakeObjects(services_there=(service,), slices=slices)
    seen = discovery(kube.as_client(), "istiod.istio-system.svc:15012")
    assert seen.addresses == {"172.18.1.100"}
    assert str(seen) == "istio-system/istiod at 172.18.1.100"


def test_discovery_by_an_external_name() -> None:
    meta = Meta("istiod-x", "istio-system")
    service = Service(meta, "ExternalName", {}, (), ("gateway.example",))
    seen = discovery(
        FakeObjects(services_there=(service,)).as_client(), "istiod-x.istio-system.svc:15012"
    )
    assert seen.addresses == {"gateway.example"}


def test_no_discovery() -> None:
    seen = discovery(FakeObjects().as_client(), "istiod.istio-system.svc:15012")
    assert str(seen) == "istio-system/istiod at no address"


def test_gateways_with_the_pods_that_they_select() -> None:
    labels = {"istio": "eastwestgateway"}
    meta = Meta("istio-eastwestgateway", "istio-system", labels)
    balanced = Service(meta, "LoadBalancer", labels, (), ("172.18.1.100",))
    inner = replace(balanced, kind="ClusterIP", external=())
    gateway_pod = pod("gw-1", "istio-system", **labels)
    kube = FakeObjects((gateway_pod, pod("other", app="other")), (balanced, inner))
    (seen,) = gateways(kube.as_client())
    assert seen.addresses == ("172.18.1.100",)
    assert seen.pods == (gateway_pod,)
    assert str(seen) == (
        "service istio-system/istio-eastwestgateway: 172.18.1.100; gw-1 0/0 Running"
    )


def test_a_gateway_that_waits_for_its_address() -> None:
    labels = {"istio": "eastwestgateway"}
    service = Service(Meta("gw", "istio-system", labels), "LoadBalancer", labels, (), ())
    (seen,) = gateways(FakeObjects(services_there=(service,)).as_client())
    assert str(seen) == "service istio-system/gw: no external address; no pod"
