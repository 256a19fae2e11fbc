"""Gateways between networks that somebody installed in a way of his own."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any, Final

import yaml

from mesh_fixtures import runner
from mesh_fixtures.artifacts import helm
from mesh_fixtures.artifacts.definitions import GATEWAY_API
from mesh_fixtures.errors import LabError
from mesh_fixtures.install import ids, names
from mesh_fixtures.install.exposure import services_manifest
from mesh_fixtures.install.gateway_api import gateway_manifest
from mesh_fixtures.kube.resources import PODS, SERVICES
from mesh_fixtures.patience import patient
from mesh_fixtures.probe.envoy import listeners
from mesh_fixtures.scenario import SERVICES_PORT, STATUS_PORT
from tests.faults import load_balancers
from tests.faults.fault import Injection
from tests.faults.gateways import address_stale
from tests.faults.target import Manifest, Target, reference, references
from tests.faults.topologies import THREE_CLUSTERS, TWO_NETWORKS
from tests.variants.variant import Variant

_SYSTEM: Final = names.SYSTEM_NAMESPACE
_USERS: Final = "shop"
_USERS_PORT: Final = 8080
_SERVICE_OF_USERS: Final[Manifest] = {
    "apiVersion": "v1",
    "kind": "Service",
    "metadata": {"name": "cart"},
    "spec": {"ports": [{"name": "http", "port": _USERS_PORT}]},
}
_EXPOSED: Final = "mesh-check"
_LET_PASS: Final = 443
_READY_SECONDS: Final = 60.0
_ANNOUNCER: Final = "announcer"
_SECOND: Final = "second-way"

_PARTS: Final = (
    f"serviceaccount/{names.GATEWAY}-service-account",
    f"role/{names.GATEWAY}-sds",
    f"rolebinding/{names.GATEWAY}-sds",
    f"deployment/{names.GATEWAY}",
)
"""What a gateway of istioctl's is made of, without its Service (Istio: chart istio-ingress)."""


@contextmanager
def further_listener(target: Target) -> Iterator[None]:
    """The gateways of all clusters are for users, too: they listen at another port for HTTP."""
    users = _for_users()
    clusters = [each.name for each in target.scenario.clusters]
    try:
        for cluster in clusters:
            target.apply(cluster, _SYSTEM, users)
        for cluster in clusters:
            _await_listening(target, cluster, present=True)
        yield
    finally:
        for cluster in clusters:
            target.delete(cluster, _SYSTEM, reference(users))
        for cluster in clusters:
            _await_listening(target, cluster, present=False)


@contextmanager
def by_helm(target: Target) -> Iterator[None]:
    """The last cluster's gateway is installed by Helm, in a namespace and by a name of its owner.

    The chart derives the gateway's label from the release's name.
    """
    cluster = target.scenario.clusters[-1]
    namespace, release = "istio-gateways", "eastwest"
    values = {"networkGateway": cluster.network, "imagePullPolicy": pull_policy(target)}
    exposing = exposing_services({"istio": release})
    with (
        _without_the_guides(target, cluster.name),
        further_namespace(target, cluster.name, namespace),
    ):
        helm_install(target, cluster.name, namespace, release, values)
        target.apply(cluster.name, namespace, exposing)
        yield


@contextmanager
def one_for_the_network(target: Target) -> Iterator[None]:
    """The second cluster has no gateway: clients on the other network reach its pods through that
    of the first, which is on the same network.
    """
    _, cluster, _ = (each.name for each in target.scenario.clusters)
    with _without_the_guides(target, cluster):
        yield


@contextmanager
def in_its_own_namespace(target: Target) -> Iterator[None]:
    """All of the last cluster's gateway is moved, and its Service is of type ClusterIP.

    Its external address is announced for another Service, as a router in front of the nodes would.
    """
    cluster = target.scenario.clusters[-1].name
    namespace = "gateways"
    parts = [_read(target, cluster, each) for each in _PARTS]
    service = _read(target, cluster, f"service/{names.GATEWAY}")
    with _without_the_guides(target, cluster), further_namespace(target, cluster, namespace):
        objects = [moved(each, namespace) for each in parts]
        target.apply(cluster, namespace, *objects, exposing_services())
        _await_rollout(target, cluster, namespace, names.GATEWAY)
        selector = service["spec"]["selector"]
        target.apply(cluster, namespace, _announcing(selector, {STATUS_PORT: STATUS_PORT}))
        address = await_address(target, cluster, namespace, _ANNOUNCER)
        target.apply(cluster, namespace, with_external_address(moved(service, namespace), address))
        yield


@contextmanager
def by_gateway_api(target: Target) -> Iterator[None]:
    """The last cluster's gateway is a Gateway of the Gateway API, which istiod deploys."""
    cluster = target.scenario.clusters[-1]
    definitions = GATEWAY_API.ensure(target.progress).read_text(encoding="utf-8")
    gateway = under_its_own_name(gateway_manifest(target.scenario, cluster.name), "eastwest")
    with _without_the_guides(target, cluster.name):
        try:
            target.kubectl(*(cluster.name, "apply", "--server-side", "-f", "-"), stdin=definitions)
            # It looks for the Gateway API where it starts.
            target.restart(cluster.name, (_SYSTEM, "istiod"))
            target.apply(cluster.name, _SYSTEM, gateway)
            made = f"{gateway['metadata']['name']}-istio"
            await_address(target, cluster.name, _SYSTEM, made)
            _await_rollout(target, cluster.name, _SYSTEM, made)
            yield
        finally:
            target.delete(cluster.name, _SYSTEM, reference(gateway))
            target.kubectl(
                *(cluster.name, "delete", "--ignore-not-found", "-f", "-"), stdin=definitions
            )
            target.restart(cluster.name, (_SYSTEM, "istiod"))


@contextmanager
def behind_a_host_name(target: Target) -> Iterator[None]:
    """The last cluster's gateway is reached by a host name that only the first one's DNS knows."""
    client, cluster = target.scenario.clusters[0].name, target.scenario.clusters[-1].name
    name, namespace = "eastwest", "names"
    host = f"{name}.{namespace}.svc.cluster.local"
    service = _read(target, cluster, f"service/{names.GATEWAY}")
    with further_namespace(target, client, namespace):
        try:
            selector = service["spec"]["selector"]
            ports = {STATUS_PORT: STATUS_PORT, SERVICES_PORT: SERVICES_PORT}
            target.apply(cluster, _SYSTEM, _announcing(selector, ports))
            address = await_address(target, cluster, _SYSTEM, _ANNOUNCER)
            target.apply(client, namespace, *_name_record(name, address))
            target.delete(cluster, _SYSTEM, f"service/{names.GATEWAY}")
            target.apply(cluster, _SYSTEM, by_other_load_balancer(service))
            status = {"status": {"loadBalancer": {"ingress": [{"hostname": host}]}}}
            target.system(
                *(cluster, "patch", f"service/{names.GATEWAY}", "--subresource=status"),
                *("--type=merge", "-p", yaml.safe_dump(status)),
            )
            yield
        finally:
            objects = (f"service/{names.GATEWAY}", f"service/{_ANNOUNCER}")
            target.delete(cluster, _SYSTEM, *objects)
            _install_again(target, cluster)


@contextmanager
def at_another_port(target: Target) -> Iterator[None]:
    """The last cluster's gateway is reached at the one port that its firewall lets pass."""
    cluster = target.scenario.clusters[-1].name
    service = _read(target, cluster, f"service/{names.GATEWAY}")
    try:
        target.delete(cluster, _SYSTEM, f"service/{names.GATEWAY}")
        target.apply(cluster, _SYSTEM, with_port(service, _LET_PASS))
        await_address(target, cluster, _SYSTEM, names.GATEWAY)
        yield
    finally:
        target.delete(cluster, _SYSTEM, f"service/{names.GATEWAY}")
        _install_again(target, cluster)


@contextmanager
def at_two_services(target: Target) -> Iterator[None]:
    """The last cluster's gateway has two Services with addresses of their own, as where a part of
    the clients has a way of its own to it.
    """
    cluster = target.scenario.clusters[-1].name
    service = _read(target, cluster, f"service/{names.GATEWAY}")
    further = {**service, "metadata": {**service["metadata"], "name": _SECOND}}
    spec = service["spec"]
    further["spec"] = {
        **{key: spec[key] for key in ("type", "selector")},
        "ports": _unassigned(spec["ports"]),
    }
    try:
        target.apply(cluster, _SYSTEM, further)
        await_address(target, cluster, _SYSTEM, _SECOND)
        yield
    finally:
        target.delete(cluster, _SYSTEM, f"service/{_SECOND}")


@contextmanager
def without_status_port(target: Target) -> Iterator[None]:
    """The gateways are reached from outside at nothing but what other clusters need."""
    clusters = [each.name for each in target.scenario.clusters]
    before = {each: _read(target, each, f"service/{names.GATEWAY}") for each in clusters}
    try:
        for cluster, service in before.items():
            spec = service["spec"]
            ports = [each for each in spec["ports"] if each["port"] != STATUS_PORT]
            replace_service(target, cluster, {**service, "spec": {**spec, "ports": ports}})
        yield
    finally:
        for cluster, service in before.items():
            replace_service(target, cluster, service)


def replace_service(target: Target, cluster: str, manifest: Manifest) -> None:
    """Give a gateway's Service back what it had."""
    replace = (cluster, "-n", _SYSTEM, "replace", "-f", "-")
    target.kubectl(*replace, stdin=json.dumps(manifest))


@contextmanager
def several_replicas(target: Target) -> Iterator[None]:
    """Each istiod and each gateway runs twice, as where nothing may be missing for a moment."""
    parts = [
        (cluster.name, deployment)
        for cluster in target.scenario.clusters
        for deployment in ("istiod", names.GATEWAY)
    ]

    def scaled(count: int) -> None:
        for cluster, deployment in parts:
            target.system(cluster, "scale", f"deployment/{deployment}", f"--replicas={count}")
        for cluster, deployment in parts:
            _await_rollout(target, cluster, _SYSTEM, deployment)

    try:
        scaled(2)
        yield
    finally:
        scaled(1)


def with_port(service: Manifest, number: int) -> dict[str, Any]:
    """A gateway's Service that passes mutual TLS at another port, and says so (Istio: Resource
    Labels, networking.istio.io/gatewayPort).
    """
    labels = {**service["metadata"]["labels"], "networking.istio.io/gatewayPort": str(number)}
    spec = service["spec"]
    ports = [
        {**each, "port": number, "targetPort": SERVICES_PORT}
        if each["port"] == SERVICES_PORT
        else each
        for each in _unassigned(spec["ports"])
    ]
    return {
        **service,
        "metadata": {**service["metadata"], "labels": labels},
        "spec": {"type": spec["type"], "selector": spec["selector"], "ports": ports},
    }


def moved(manifest: Manifest, namespace: str) -> dict[str, Any]:
    """An object in another namespace, without what it was assigned in its own."""
    made = copy.deepcopy(dict(manifest))
    made["metadata"].pop("namespace", None)
    for subject in made.get("subjects", ()):
        subject["namespace"] = namespace
    return made


def with_external_address(service: Manifest, address: str) -> dict[str, Any]:
    """A Service of type ClusterIP that takes what nodes get for an address (Kubernetes: Service,
    External IPs).
    """
    spec = service["spec"]
    kept = {"selector": spec["selector"], "ports": _unassigned(spec["ports"])}
    return {**service, "spec": {**kept, "type": "ClusterIP", "externalIPs": [address]}}


def by_other_load_balancer(service: Manifest) -> dict[str, Any]:
    """The Service as one that the cluster's load balancer leaves to another (Kubernetes: Service,
    Load balancer class).
    """
    spec = service["spec"]
    kept = {"selector": spec["selector"], "ports": _unassigned(spec["ports"])}
    balancer = {"type": "LoadBalancer", "loadBalancerClass": "example.test/by-name"}
    return {**service, "spec": {**kept, **balancer}}


def under_its_own_name(gateway: Manifest, name: str) -> Manifest:
    """A Gateway of the Gateway API whose owner has called it otherwise, and leaves it to istiod how
    to call what it deploys.
    """
    return {**gateway, "metadata": {"name": name, "labels": gateway["metadata"]["labels"]}}


def exposing_namespaces(*further: str) -> Injection:
    """The services of one namespace are passed on, and those of others that have none yet.

    Args:
        further: names of these.
    """

    @contextmanager
    def inject(target: Target) -> Iterator[None]:
        domain = target.lab.names.cluster_domain
        hosts = [f"*.{namespace}.svc.{domain}" for namespace in (_USERS, *further)]
        exposing = exposing_services()
        limited = copy.deepcopy(exposing)
        limited["spec"]["servers"][0]["hosts"] = hosts
        clusters = target.scenario.config_clusters
        with ExitStack() as undo:
            for cluster in clusters:
                undo.enter_context(further_namespace(target, cluster, _USERS))
                target.apply(cluster, _USERS, _SERVICE_OF_USERS)
                undo.callback(target.apply, cluster, _SYSTEM, exposing)
                target.apply(cluster, _SYSTEM, limited)
            yield

    return inject


def exposing_services(selector: Mapping[str, str] | None = None) -> Manifest:
    """What passes mutual TLS to every service.

    Args:
        selector: labels of the gateway; None for the guide's.
    """
    (exposing,) = yaml.safe_load_all(services_manifest())
    if selector is not None:
        exposing["spec"]["selector"] = dict(selector)
    return dict(exposing)


def _for_users() -> Manifest:
    port = {"name": "http", "number": _USERS_PORT, "protocol": "HTTP"}
    return {
        "apiVersion": "networking.istio.io/v1",
        "kind": "Gateway",
        "metadata": {"name": "for-users"},
        "spec": {
            "selector": {"istio": "eastwestgateway"},
            "servers": [{"port": port, "hosts": ["shop.example"]}],
        },
    }


def _announcing(selector: Mapping[str, str], ports: Mapping[int, int]) -> Manifest:
    """A Service for which the lab's load balancer announces an address; no gateway for istiod."""
    listed = [
        {"name": f"tcp-{port}", "port": port, "targetPort": target}
        for port, target in ports.items()
    ]
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": _ANNOUNCER},
        "spec": {"type": "LoadBalancer", "selector": dict(selector), "ports": listed},
    }


def _name_record(name: str, address: str) -> tuple[Manifest, Manifest]:
    """A headless Service, by which a cluster's DNS answers for an address outside of it."""
    port = {"name": "tls", "port": SERVICES_PORT}
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name},
        "spec": {"clusterIP": "None", "ports": [port]},
    }
    slices = {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {"name": name, "labels": {"kubernetes.io/service-name": name}},
        "addressType": "IPv4",
        "ports": [port],
        "endpoints": [{"addresses": [address], "conditions": {"ready": True}}],
    }
    return service, slices


@contextmanager
def _without_the_guides(target: Target, cluster: str) -> Iterator[None]:
    """A cluster without the gateway of the guide, and without what exposes services by it."""
    try:
        gateway = (f"service/{names.GATEWAY}", f"deployment/{names.GATEWAY}")
        target.delete(cluster, _SYSTEM, *gateway, *references(services_manifest()))
        yield
    finally:
        _install_again(target, cluster)


def _install_again(target: Target, cluster: str) -> None:
    steps = [ids.gateway(cluster), ids.gateway_address(cluster)]
    if target.scenario.exposes_services(cluster):
        steps.append(ids.expose_services(cluster))
    target.run_steps(target.installation, *steps)


@contextmanager
def further_namespace(target: Target, cluster: str, name: str) -> Iterator[None]:
    try:
        target.kubectl(cluster, "create", "namespace", name)
        yield
    finally:
        gone = ("--ignore-not-found", f"--timeout={patient(_READY_SECONDS) - 2:g}s")
        target.kubectl(cluster, "delete", "namespace", name, *gone, seconds=_READY_SECONDS)


def _read(target: Target, cluster: str, name: str) -> Manifest:
    return target.read(cluster, _SYSTEM, *name.split("/", 1))


def _await_rollout(target: Target, cluster: str, namespace: str, deployment: str) -> None:
    target.kubectl(
        *(cluster, "-n", namespace, "rollout", "status", f"deployment/{deployment}"),
        f"--timeout={patient(_READY_SECONDS) - 2:g}s",
        seconds=_READY_SECONDS,
    )


def await_address(target: Target, cluster: str, namespace: str, service: str) -> str:
    """The external address of a Service, once it has one."""
    found = target.until(
        f"an address for {service}",
        cluster,
        lambda kube: kube.get(SERVICES, namespace, service),
        lambda service: service is not None and bool(service.external),
    )
    assert found is not None
    return found.external[0]


def _await_listening(target: Target, cluster: str, *, present: bool) -> None:
    target.until(
        f"the gateway to {'listen' if present else 'stop listening'} at {_USERS_PORT}",
        cluster,
        lambda kube: [
            _USERS_PORT in listeners(kube, pod).ports
            for pod in kube.list(PODS, _SYSTEM, "istio=eastwestgateway")
            if pod.serving
        ],
        lambda found: bool(found) and all(each == present for each in found),
    )


def helm_install(
    target: Target, cluster: str, namespace: str, release: str, values: Mapping[str, Any]
) -> None:
    seconds = patient(_READY_SECONDS)
    charts = helm.ensure_charts(target.progress)
    runner.output_of(
        [
            helm.ensure_helm(target.progress),
            *("install", release, *charts.reference("gateway"), "-n", namespace, "-f", "-"),
            f"--kubeconfig={target.lab.clusters[cluster].kubeconfig}",
            *("--wait", f"--timeout={seconds - 5:g}s"),
        ],
        error=LabError,
        seconds=seconds,
        stdin=yaml.safe_dump(dict(values)),
        env=target.lab.environment,
        where=cluster,
    )


def pull_policy(target: Target) -> str:
    return target.lab.images.pull_policy


def _unassigned(ports: list[Mapping[str, Any]]) -> list[dict[str, Any]]:
    return [{key: value for key, value in each.items() if key != "nodePort"} for each in ports]


VARIANTS: Final = (
    Variant(
        id="gateway-for-users-too",
        mesh="The gateways between the networks listen for users' HTTP at port 8080 as well.",
        topology=TWO_NETWORKS,
        make=further_listener,
    ),
    Variant(
        id="gateway-by-helm",
        mesh="cluster2's gateway is the Helm release eastwest in the namespace istio-gateways.",
        topology=TWO_NETWORKS,
        make=by_helm,
    ),
    Variant(
        id="gateway-by-gateway-api",
        mesh="cluster2's gateway is a Gateway of the Gateway API, with another name.",
        topology=TWO_NETWORKS,
        make=by_gateway_api,
    ),
    Variant(
        id="gateway-of-the-network",
        mesh="cluster1 and cluster2 are on one network, whose only gateway is in cluster1.",
        topology=THREE_CLUSTERS,
        make=one_for_the_network,
    ),
    Variant(
        id="gateway-in-its-own-namespace",
        mesh="cluster2's gateway is in another namespace, and its Service has external addresses "
        "though it is of type ClusterIP.",
        topology=TWO_NETWORKS,
        make=in_its_own_namespace,
    ),
    Variant(
        id="gateway-behind-a-host-name",
        mesh="cluster2's gateway has a host name in place of an address, which only cluster1's DNS "
        "knows.",
        topology=TWO_NETWORKS,
        make=behind_a_host_name,
    ),
    Variant(
        id="gateway-behind-a-load-balancer",
        mesh="cluster2's gateway has the address of a load balancer outside of its cluster, which "
        "passes TCP through.",
        topology=TWO_NETWORKS,
        make=load_balancers.in_front(load_balancers.passing_tcp),
    ),
    Variant(
        id="gateway-at-another-port",
        mesh="cluster2's gateway is reached at port 443 in place of 15443.",
        topology=TWO_NETWORKS,
        make=at_another_port,
    ),
    Variant(
        id="address-that-was-forgotten",
        mesh="meshNetworks name an address that cluster2's gateway no longer has; its label does.",
        topology=TWO_NETWORKS,
        make=address_stale(labelled=True),
    ),
    Variant(
        id="namespaces-exposed-by-name",
        mesh="The gateways pass on the services of two namespaces, one of which is the run's.",
        topology=TWO_NETWORKS,
        make=exposing_namespaces(_EXPOSED),
        arguments=("--namespace", _EXPOSED),
    ),
    Variant(
        id="namespaces-exposed-without-the-runs",
        mesh="The gateways pass on the services of one namespace, and not of the run's.",
        topology=TWO_NETWORKS,
        make=exposing_namespaces(),
        hindrances=(
            "services of shop are passed on, and those of the run are not",
            "add *.NAME.svc.cluster.local to these hosts, and give that NAME by --mesh-namespace",
        ),
    ),
    Variant(
        id="gateway-at-two-services",
        mesh="cluster2's gateway has two Services, each with an address of its own.",
        topology=TWO_NETWORKS,
        make=at_two_services,
    ),
    Variant(
        id="gateways-without-a-status-port",
        mesh="The gateways' Services have the port 15443 only.",
        topology=TWO_NETWORKS,
        make=without_status_port,
    ),
    Variant(
        id="several-replicas",
        mesh="Each istiod and each gateway has two pods.",
        topology=TWO_NETWORKS,
        make=several_replicas,
    ),
)
