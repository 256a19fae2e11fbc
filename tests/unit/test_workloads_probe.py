from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from fake_api_server import FakeApiServer
from fake_kube import pod, result
from kube_client import client_of

from mesh_fixtures.contract import GUIDE_NAMES, MeshNames
from mesh_fixtures.errors import NotPermitted, ProbeError
from mesh_fixtures.install.names import GATEWAY_PORT_LABEL, NETWORK_LABEL
from mesh_fixtures.kube import (
    ConfigMap,
    Container,
    Deployment,
    EndpointSlice,
    HttpAnswer,
    KubeClient,
    Meta,
    Pod,
    Resource,
    Service,
    ServicePort,
    Source,
)
from mesh_fixtures.probe.gateways import (
    Gateway,
    gateways,
    is_gateway,
    passing,
    read_advertised,
    read_ambient_networks,
    routers,
)
from mesh_fixtures.probe.workloads import (
    Injection,
    control_plane,
    discovery,
    injection_of,
    is_served_elsewhere,
    is_signed_elsewhere,
    may_be_served_elsewhere,
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
    names: MeshNames = GUIDE_NAMES

    def list(
        self, resource: Resource[Any], namespace: str = "", selector: str = ""
    ) -> Sequence[object]:
        key, _, value = selector.partition("=")
        match resource.kind:
            case "Pod" if not selector:
                return [each for each in self.pods_there if namespace in ("", each.meta.namespace)]
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


@pytest.mark.parametrize(
    ("address", "elsewhere"),
    [
        ("", False),
        ("istiod.istio-system.svc:15012", False),
        ("istiod-canary.istio-system.svc:15012", False),
        ("control-plane.example:15012", False),
        ("cert-manager-istio-csr.cert-manager.svc:443", True),
    ],
)
def test_who_signs_a_proxys_certificate(address: str, elsewhere: bool) -> None:
    configuration = json.dumps({"discoveryAddress": "control-plane.example:15012"})
    environment = {"PROXY_CONFIG": configuration, **({"CA_ADDR": address} if address else {})}
    assert is_signed_elsewhere(injected(environment)) == elsewhere
    assert not is_signed_elsewhere(pod("plain-1"))


UDS = "/var/run/secrets/workload-spiffe-uds"
FILES = "/var/run/secrets/workload-spiffe-credentials"


def mounting(
    path: str, source: dict[str, Any], environment: Mapping[str, str] | None = None
) -> Pod:
    """A pod whose proxy has a volume at a path, and Istio's own at another, as its API has it."""
    variables = [{"name": name, "value": value} for name, value in (environment or {}).items()]
    mounts = [
        {"name": "given", "mountPath": path},
        {"name": "istio-token", "mountPath": "/var/run/secrets/tokens"},
    ]
    proxy = {"name": "istio-proxy", "env": variables, "volumeMounts": mounts}
    volumes = [{"name": "given", **source}, {"name": "istio-token", "projected": {"sources": []}}]
    spec = {"containers": [proxy, {"name": "sleep"}], "volumes": volumes}
    return Pod.read({"metadata": {"name": "sleep-1", "namespace": "sample"}, "spec": spec})


CSI = {"csi": {"driver": "csi.spiffe.io", "readOnly": True}}
ON_NODE = {"hostPath": {"path": "/run/spire/agent"}}


@pytest.mark.parametrize(
    ("path", "source", "environment", "elsewhere"),
    [
        (UDS, {"emptyDir": {}}, {}, False),
        (UDS, {}, {}, False),
        (UDS, CSI, {}, True),
        (UDS, ON_NODE, {}, True),
        ("/run/secrets/workload-spiffe-uds/", CSI, {}, True),
        (FILES, {"csi": {"driver": "workloadcertificates.security.cloud.google.com"}}, {}, True),
        (FILES, {"emptyDir": {}}, {}, False),
        ("/var/run/secrets/other", CSI, {}, False),
        (UDS, {"emptyDir": {}}, {"WORKLOAD_IDENTITY_SOCKET_FILE": "socket"}, False),
        (UDS, {"emptyDir": {}}, {"WORKLOAD_IDENTITY_SOCKET_FILE": "spire-agent.sock"}, True),
        (UDS, {"emptyDir": {}}, {"USE_EXTERNAL_WORKLOAD_SDS": "true"}, True),
        (UDS, {"emptyDir": {}}, {"USE_EXTERNAL_WORKLOAD_SDS": "false"}, False),
    ],
)
def test_whose_server_gives_a_proxy_its_certificate(
    path: str, source: dict[str, Any], environment: dict[str, str], elsewhere: bool
) -> None:
    seen = mounting(path, source, {"CA_ADDR": "istiod.istio-system.svc:15012", **environment})
    assert is_served_elsewhere(seen) == is_signed_elsewhere(seen) == elsewhere


def test_config_maps_without_which_a_pod_does_not_start() -> None:
    volumes = [
        {"name": "istiod-ca-cert", "configMap": {"name": "istio-ca-root-cert"}},
        {"name": "istio-ca-crl", "configMap": {"name": "istio-ca-crl", "optional": True}},
        {"name": "istio-token", "projected": {"sources": []}},
    ]
    seen = Pod.read({"metadata": {"name": "p"}, "spec": {"containers": [], "volumes": volumes}})
    assert seen.config_maps == {"istio-ca-root-cert"}


OWN_TEMPLATE = "spec:\n  volumes:\n  {{- if x }}\n  - csi:\n    name: workload-socket\n  {{- end }}"
SPIRE_TEMPLATE = """
spec:
  volumes:
  - name: workload-socket
    csi: {driver: csi.spiffe.io, readOnly: true}
"""
ANOTHER_VOLUME = """
spec:
  containers:
  - name: istio-proxy
    volumeMounts:
    - {name: sockets, mountPath: /run/secrets/workload-spiffe-uds}
  volumes:
  - name: sockets
    hostPath: {path: /run/spire}
"""


@pytest.mark.parametrize(
    ("templates", "may_be"),
    [
        ({"sidecar": OWN_TEMPLATE}, False),
        ({"sidecar": OWN_TEMPLATE, "spire": SPIRE_TEMPLATE}, True),
        ({"spire": ANOTHER_VOLUME}, True),
        ({"own": "spec:\n  volumes:\n  - {name: workload-socket, emptyDir: {}}"}, False),
        ({"own": "metadata: {}"}, False),
        ({"own": "spec: []"}, False),
        (None, False),
    ],
)
def test_whether_templates_have_proxies_served_elsewhere(
    templates: Mapping[str, str] | None, may_be: bool
) -> None:
    config = json.dumps({"defaultTemplates": ["sidecar"], "templates": templates})
    maps = (
        ConfigMap(Meta("istio", "istio-system"), {"config": json.dumps({"templates": 1})}),
        ConfigMap(Meta("istio-sidecar-injector-canary", "istio-system"), {"config": config}),
    )
    kube = cast("Any", SimpleNamespace(names=GUIDE_NAMES, list=lambda kind, namespace: maps))
    assert may_be_served_elsewhere(kube) == may_be


def test_templates_that_may_not_be_read_say_nothing() -> None:
    def refused(kind: object, namespace: str) -> None:
        raise NotPermitted(wanted="ConfigMaps", seen="403", where="cluster1")

    kube = cast("Any", SimpleNamespace(names=GUIDE_NAMES, list=refused))
    assert not may_be_served_elsewhere(kube)


def test_what_another_container_mounts_is_nothing_to_the_proxy() -> None:
    seen = mounting(UDS, CSI)
    moved = [replace(each, mounts={}) for each in seen.containers]
    other = replace(moved[1], mounts={UDS: "given"})
    assert not is_served_elsewhere(replace(seen, containers=(moved[0], other)))
    assert not is_served_elsewhere(pod("plain-1"))


def test_workloads_without_those_that_go_away() -> None:
    sleep = pod("sleep-1", app="sleep")
    kube = FakeObjects((injected({}), sleep, replace(sleep, terminating=True)))
    hello, slept = workloads(kube.as_client())
    assert (hello.app, hello.version, hello.cluster) == ("helloworld", "v1", "cluster1")
    assert hello.injection is not None
    assert (slept.app, slept.version, slept.injection) == ("sleep", "", None)


@pytest.mark.parametrize(
    ("wanted", "ready", "running"), [(1, 1, True), (2, 1, True), (2, 0, False), (0, 0, False)]
)
def test_a_control_plane_runs_when_one_of_its_pods_is_ready(
    wanted: int, ready: int, running: bool
) -> None:
    deployment = Deployment(Meta("istiod", "istio-system"), wanted, ready)
    istiod = pod("istiod-1", "istio-system", app="istiod")
    seen = control_plane(FakeObjects((istiod,), deployments_there=(deployment,)).as_client())
    assert seen.is_running is running
    assert str(seen) == (
        f"istio-system/istiod {ready}/{wanted}, pod istio-system/istiod-1 0/0 Running"
    )


@pytest.mark.parametrize(
    ("replicas", "running"),
    [
        (((1, 1), (2, 2)), True),
        (((0, 0), (1, 1)), True),
        (((1, 1), (1, 0)), False),
        (((0, 0), (0, 0)), False),
    ],
    ids=["both revisions", "an old one at 0", "a new one that does not start", "none"],
)
def test_each_revision_that_is_wanted_runs(
    replicas: tuple[tuple[int, int], ...], running: bool
) -> None:
    deployments = tuple(
        Deployment(Meta(f"istiod-{at}", "istio-system"), *counts)
        for at, counts in enumerate(replicas)
    )
    seen = control_plane(FakeObjects((), deployments_there=deployments).as_client())
    assert seen.is_running is running


def test_no_control_plane() -> None:
    seen = control_plane(FakeObjects().as_client())
    assert not seen.is_running
    assert str(seen) == "no istiod"


def test_discovery_by_endpoint_slices() -> None:
    meta = Meta("istiod", "istio-system")
    service = Service(meta, "ClusterIP", {}, (), ())
    slices = {"istiod": (EndpointSlice(meta, ("172.18.1.100",), (15012, 15017)),)}
    kube = FakeObjects(services_there=(service,), slices=slices)
    seen = discovery(kube.as_client(), "istiod.istio-system.svc:15012")
    assert seen.targets == {("172.18.1.100", 15012), ("172.18.1.100", 15017)}
    assert not seen.selects
    assert str(seen) == "istio-system/istiod at 172.18.1.100"


def test_discovery_by_an_external_name() -> None:
    meta = Meta("istiod-x", "istio-system")
    service = Service(meta, "ExternalName", {}, (), ("gateway.example",))
    seen = discovery(
        FakeObjects(services_there=(service,)).as_client(), "istiod-x.istio-system.svc:15012"
    )
    assert seen.targets == {("gateway.example", 15012)}


def test_discovery_at_another_host() -> None:
    seen = discovery(FakeObjects().as_client(), "istiod.mesh.example:15012")
    assert seen.service == "istiod.mesh.example"
    assert seen.targets == {("istiod.mesh.example", 15012)}


def test_no_discovery() -> None:
    seen = discovery(FakeObjects().as_client(), "istiod.istio-system.svc:15012")
    assert str(seen) == "istio-system/istiod at no address"


def service(
    name: str, kind: str, labels: Mapping[str, str], *ports: int, external: tuple[str, ...] = ()
) -> Service:
    there = tuple(ServicePort(port, "", "") for port in ports)
    return Service(Meta(name, "edge", labels), kind, {"app": name}, there, external)


@pytest.mark.parametrize(
    ("made", "found"),
    [
        (service("a", "LoadBalancer", {NETWORK_LABEL: "n"}, 15443), True),
        (service("a", "ClusterIP", {NETWORK_LABEL: "n"}, 443, external=("192.0.2.1",)), True),
        (service("a", "NodePort", {NETWORK_LABEL: "n"}, 15443), True),
        (service("a", "LoadBalancer", {NETWORK_LABEL: "n"}, 15021, 15008), False),
        (service("a", "LoadBalancer", {NETWORK_LABEL: "n"}, 15443, 15008), True),
        (
            service("a", "NodePort", {NETWORK_LABEL: "n", GATEWAY_PORT_LABEL: "443"}, 443, 15008),
            True,
        ),
        (service("a", "LoadBalancer", {}, 15012), True),
        (service("a", "LoadBalancer", {"istio": "eastwestgateway"}, 15443), False),
        (service("istiod", "ClusterIP", {}, 15012), False),
        (service("istiod", "ExternalName", {}, 15012, external=("istiod.example",)), False),
    ],
)
def test_what_is_a_gateway(made: Service, found: bool) -> None:
    assert is_gateway(made) is found


def test_gateways_with_the_pods_that_they_select() -> None:
    balanced = service("gw", "LoadBalancer", {NETWORK_LABEL: "n"}, 15443, external=("192.0.2.1",))
    gateway_pod = pod("gw-1", "edge", app="gw")
    kube = FakeObjects((gateway_pod, pod("other", app="other")), (balanced,))
    (seen,) = gateways(kube.as_client())
    assert (seen.network, seen.addresses, seen.pods) == ("n", ("192.0.2.1",), (gateway_pod,))
    assert str(seen) == "service edge/gw: 192.0.2.1; gw-1 0/0 Running"


@pytest.mark.parametrize(
    ("discovery", "found"),
    [
        ("istiod.istio-system.svc:15012", True),
        ("istiod-canary.istio-system.svc.cluster.local:15012", True),
        ("istiod.example:15012", True),
        ("192.0.2.7:15012", True),
        ("", True),
        ("istiod.other-mesh.svc:15012", False),
    ],
)
def test_gateways_of_another_control_plane_are_none_of_the_meshs(
    discovery: str, found: bool
) -> None:
    balanced = service("gw", "LoadBalancer", {NETWORK_LABEL: "n"}, 15443)
    environment = {"PROXY_CONFIG": json.dumps({"discoveryAddress": discovery})} if discovery else {}
    proxy = Container("istio-proxy", env=environment)
    gateway_pod = replace(pod("gw-1", "edge", app="gw"), containers=(proxy,))
    kube = FakeObjects((gateway_pod,), (balanced,))
    assert bool(gateways(kube.as_client())) == found


@pytest.mark.parametrize(
    ("labels", "ports", "passes_on"),
    [
        ({NETWORK_LABEL: "n"}, (15021, 15443), True),
        ({NETWORK_LABEL: "n"}, (80, 443), False),
        ({NETWORK_LABEL: "n", GATEWAY_PORT_LABEL: "443"}, (443,), True),
        ({NETWORK_LABEL: "n", GATEWAY_PORT_LABEL: "443"}, (15443,), False),
        ({NETWORK_LABEL: "n", GATEWAY_PORT_LABEL: "tls"}, (15443,), True),
        ({}, (15443,), False),
    ],
)
def test_what_istiod_takes_for_a_gateway_of_a_network(
    labels: Mapping[str, str], ports: Sequence[int], passes_on: bool
) -> None:
    made = service("gw", "LoadBalancer", labels, *ports)
    proxy = replace(pod("gw-1"), containers=(Container("istio-proxy"),))
    starting, front = replace(proxy, ready=False), pod("haproxy-1")
    gateway = Gateway(result().source, "cluster1", made, (proxy, starting, front))
    assert gateway.passes_on is passes_on
    assert (gateway.proxied, gateway.serving) == ((proxy, starting), (proxy,))


def test_proxies_of_gateways_whatever_leads_to_them() -> None:
    def made(name: str, *arguments: str, **changes: Any) -> Pod:
        proxy = Container("istio-proxy", arguments=arguments, env=changes.pop("env", {}))
        return replace(pod(name, "edge"), containers=(proxy,), **changes)

    elsewhere = {"PROXY_CONFIG": json.dumps({"discoveryAddress": "istiod.other.svc:15012"})}
    kube = FakeObjects(
        (
            made("east-1", "proxy", "router", "--domain", "x"),
            made("east-2", "proxy", "router", ready=False),
            made("east-3", "proxy", "router", env=elsewhere),
            made("app-1", "proxy", "sidecar"),
            pod("router", "edge"),
        )
    )
    assert [each.name for each in routers(kube.as_client())] == ["east-1"]


def test_proxies_of_gateways_are_none_where_pods_may_not_be_listed() -> None:
    class Closed(FakeObjects):
        def list(self, resource: Any, namespace: str = "", selector: str = "") -> Any:
            raise NotPermitted(wanted="pods", seen="403", where="cluster1")

    assert routers(Closed().as_client()) == ()


def test_a_gateway_that_waits_for_its_address() -> None:
    pending = service("gw", "LoadBalancer", {NETWORK_LABEL: "n"}, 15443)
    (seen,) = gateways(FakeObjects(services_there=(pending,)).as_client())
    assert str(seen) == "service edge/gw: no external address; no pod"


def test_what_istiod_advertises() -> None:
    answer = json.dumps(
        [
            {"Network": "n2", "Cluster": "c2", "Addr": "192.0.2.2", "Port": 31443, "HBONEPort": 0},
            {"Network": "n3", "Cluster": "", "Addr": "192.0.2.3", "Port": 443},
            {"Network": "n4", "Cluster": "c4", "Addr": "192.0.2.4", "Port": 0, "HBONEPort": 15008},
        ]
    )
    source = Source("cluster1", "istiod", "kubectl exec")
    found = read_advertised(source, answer)
    assert [str(each) for each in found] == ["192.0.2.2:31443 (n2 in c2)", "192.0.2.3:443 (n3)"]
    assert read_advertised(source, "null") == ()
    assert read_ambient_networks([HttpAnswer(source, 200, text) for text in (answer, "null")]) == {
        "n4"
    }
    with pytest.raises(ProbeError, match="kubectl exec"):
        read_advertised(source, '[{"Network": "n2"}]')


@pytest.mark.parametrize(
    ("modes", "refused", "passes"),
    [
        (["PASSTHROUGH", None], False, False),
        (["SIMPLE", "AUTO_PASSTHROUGH"], False, True),
        ([], False, False),
        (["AUTO_PASSTHROUGH"], True, False),
    ],
)
def test_what_passes_services_on(
    modes: Sequence[str | None], refused: bool, passes: bool, tmp_path: Path
) -> None:
    servers: list[dict[str, Any]] = [
        {"tls": {"mode": mode}} if mode else {"port": {}} for mode in modes
    ]
    meta = {"name": "g", "namespace": "istio-system"}
    answers = {
        "/apis/networking.istio.io/v1/gateways": {
            "items": [{"metadata": meta, "spec": {"servers": servers}}]
        }
    }
    with client_of(FakeApiServer(answers, [403] if refused else []), tmp_path) as kube:
        assert bool(passing(kube)) is passes
