"""Faults of east-west gateways: absent, without an address, or without anything to listen for."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final

from mesh_fixtures.errors import LabError
from mesh_fixtures.install import ids, names
from mesh_fixtures.install.exposure import istiod_manifest, services_manifest
from mesh_fixtures.install.external import exposure_manifest
from mesh_fixtures.lab import load_balancer
from mesh_fixtures.patience import patient
from mesh_fixtures.probe.gateways import advertised
from mesh_fixtures.probe.gateways import gateways as find_gateways
from mesh_fixtures.scenario import SERVICES_PORT, STATUS_PORT
from tests.faults import mesh_configuration
from tests.faults.fault import Injection
from tests.faults.target import Manifest, Target, references

_SYSTEM: Final = names.SYSTEM_NAMESPACE
_POOL: Final = "ipaddresspools.metallb.io"
OTHER_BALANCER: Final = "mesh-conformance.example/by-hand"
NOBODY: Final = "192.0.2.2"
"""An address that belongs to nobody (RFC 5737)."""

NO_NAME: Final = "gateway.invalid"
"""A host name that nobody has (RFC 6761)."""

_WANTED_ADDRESS: Final = "metallb.io/loadBalancerIPs"


@contextmanager
def absent(target: Target) -> Iterator[None]:
    """The last cluster has no east-west gateway."""
    cluster = target.scenario.clusters[-1].name
    objects = (f"service/{names.GATEWAY}", f"deployment/{names.GATEWAY}")
    try:
        target.delete(cluster, _SYSTEM, *objects)
        yield
    finally:
        target.run_steps(target.installation, ids.gateway(cluster), ids.gateway_address(cluster))


def address_stale(*, labelled: bool) -> Injection:
    """The mesh configurations name the address that the last cluster's gateway had once.

    Args:
        labelled: whether its Service has the label by which istiods know the one that it has now.
    """

    @contextmanager
    def inject(target: Target) -> Iterator[None]:
        last = target.scenario.clusters[-1]
        service = f"service/{names.GATEWAY}"
        gateway = {"address": NOBODY, "port": SERVICES_PORT}
        endpoints = [{"fromRegistry": last.name}]
        networks = {last.network: {"endpoints": endpoints, "gateways": [gateway]}}
        try:
            with mesh_configuration.changed(target, {"networks": networks}, "meshNetworks"):
                if not labelled:
                    target.system(last.name, "label", service, f"{names.NETWORK_LABEL}-")
                for cluster in target.scenario.primaries:
                    target.until(
                        f"istiod to advertise {NOBODY}",
                        cluster.name,
                        lambda kube: {
                            e.address for e in advertised(kube) if e.network == last.network
                        },
                        lambda seen: NOBODY in seen and (labelled or seen == {NOBODY}),
                    )
                yield
        finally:
            again = f"{names.NETWORK_LABEL}={last.network}"
            target.system(last.name, "label", "--overwrite", service, again)

    return inject


@contextmanager
def pruned(target: Target) -> Iterator[None]:
    """The last cluster's Istio is installed once more by `istioctl install` with its IstioOperator,
    which has no name, and takes the east-west gateway of another one along.
    """
    cluster = target.scenario.clusters[-1].name
    if target.lab.charts is not None:
        raise LabError(wanted="a mesh that istioctl installed", seen="Helm's", where=target.lab.id)
    try:
        target.run_steps(target.installation, ids.istiod(cluster))
        target.until(
            "the east-west gateway to be gone",
            cluster,
            lambda kube: [each for each in find_gateways(kube) if each.network],
            lambda found: not found,
        )
        yield
    finally:
        target.run_steps(target.installation, ids.gateway(cluster), ids.gateway_address(cluster))


@contextmanager
def address_pending(target: Target) -> Iterator[None]:
    """The last cluster's gateway asks for an address when no pool has any."""
    cluster = target.scenario.clusters[-1].name
    pools = _pools(target, cluster)
    try:
        target.delete(
            cluster,
            load_balancer.NAMESPACE,
            *(f"{_POOL}/{each['metadata']['name']}" for each in pools),
        )
        unaddressed(target, cluster)
        yield
    finally:
        target.apply(cluster, load_balancer.NAMESPACE, *pools)
        address_again(target, cluster)


@contextmanager
def within_its_cluster(target: Target) -> Iterator[None]:
    """The Service of the last cluster's gateway is of the type ClusterIP."""
    cluster = target.scenario.clusters[-1].name
    service = target.read(cluster, _SYSTEM, "service", names.GATEWAY)
    plain = unassigned(service)
    kept = {key: plain["spec"][key] for key in ("ports", "selector")}
    try:
        target.delete(cluster, _SYSTEM, f"service/{names.GATEWAY}")
        target.apply(cluster, _SYSTEM, {**plain, "spec": {**kept, "type": "ClusterIP"}})
        yield
    finally:
        target.delete(cluster, _SYSTEM, f"service/{names.GATEWAY}")
        target.apply(cluster, _SYSTEM, plain)
        address_again(target, cluster)


@contextmanager
def wanting_proxy_protocol(target: Target) -> Iterator[None]:
    """The last cluster's gateway takes only connections with a header that no load balancer of the
    lab adds.
    """
    cluster = target.scenario.clusters[-1].name

    def configure(text: str | None) -> None:
        annotated = {"metadata": {"annotations": {names.PROXY_CONFIG: text}}}
        change = json.dumps({"spec": {"template": annotated}})
        target.system(cluster, "patch", f"deployment/{names.GATEWAY}", "-p", change)
        target.await_rollout(cluster, _SYSTEM, names.GATEWAY)

    try:
        configure('{"gatewayTopology": {"proxyProtocol": {}}}')
        yield
    finally:
        configure(None)


@contextmanager
def unknown_host_name(target: Target) -> Iterator[None]:
    """The last cluster's gateway has a host name in place of an address, which nobody knows."""
    cluster = target.scenario.clusters[-1].name
    service = target.read(cluster, _SYSTEM, "service", names.GATEWAY)
    plain = unassigned(service)
    named = {**plain, "spec": {**plain["spec"], "loadBalancerClass": OTHER_BALANCER}}
    status = {"status": {"loadBalancer": {"ingress": [{"hostname": NO_NAME}]}}}
    try:
        target.delete(cluster, _SYSTEM, f"service/{names.GATEWAY}")
        target.apply(cluster, _SYSTEM, named)
        target.system(
            *(cluster, "patch", f"service/{names.GATEWAY}", "--subresource=status"),
            *("--type=merge", "-p", json.dumps(status)),
        )
        yield
    finally:
        target.delete(cluster, _SYSTEM, f"service/{names.GATEWAY}")
        target.apply(cluster, _SYSTEM, plain)
        address_again(target, cluster)


def unaddressed(target: Target, cluster: str) -> None:
    """Make the gateway's Service anew, so that it asks for an address."""
    service = target.read(cluster, _SYSTEM, "service", names.GATEWAY)
    target.delete(cluster, _SYSTEM, f"service/{names.GATEWAY}")
    target.apply(cluster, _SYSTEM, unassigned(service))


def address_again(target: Target, cluster: str) -> None:
    """Wait until the gateway has got an address."""
    target.until(
        "an address for the east-west gateway",
        cluster,
        find_gateways,
        lambda found: all(each.addresses for each in found),
    )


def viewing(network: str) -> Injection:
    """The last cluster's gateway asks for endpoints of another network."""

    @contextmanager
    def inject(target: Target) -> Iterator[None]:
        last = target.scenario.clusters[-1]
        deployment = f"deployment/{names.GATEWAY}"

        def view(value: str) -> None:
            target.system(last.name, "set", "env", deployment, f"{names.NETWORK_VIEW}={value}")
            target.await_rollout(last.name, _SYSTEM, names.GATEWAY)

        try:
            view(network)
            yield
        finally:
            view(last.network)

    return inject


@contextmanager
def scaled_to_zero(target: Target) -> Iterator[None]:
    """The last cluster's gateway has no pod."""
    cluster = target.scenario.clusters[-1].name
    deployment = f"deployment/{names.GATEWAY}"
    try:
        target.system(cluster, "scale", deployment, "--replicas=0")
        target.until(
            "the gateway's pods to go",
            cluster,
            find_gateways,
            lambda found: not any(pod.serving for each in found for pod in each.pods),
        )
        yield
    finally:
        target.system(cluster, "scale", deployment, "--replicas=1")
        target.system(cluster, "rollout", "status", deployment, f"--timeout={patient(60):g}s")


@contextmanager
def address_shared(target: Target) -> Iterator[None]:
    """The last cluster's gateway has the address of the first one's: their pools overlap."""
    first, last = target.scenario.clusters[0].name, target.scenario.clusters[-1].name
    (address,) = find_gateways(target.kube[first])[0].addresses
    service = target.read(last, _SYSTEM, "service", names.GATEWAY)
    pool = {
        "apiVersion": "metallb.io/v1beta1",
        "kind": "IPAddressPool",
        "metadata": {"name": "overlapping"},
        "spec": {"addresses": [f"{address}/32"], "autoAssign": False},
    }
    asking = {**unassigned(service)}
    asking["metadata"] = {
        **service["metadata"],
        "annotations": {**service["metadata"]["annotations"], _WANTED_ADDRESS: address},
    }
    try:
        target.apply(last, load_balancer.NAMESPACE, pool)
        target.delete(last, _SYSTEM, f"service/{names.GATEWAY}")
        target.apply(last, _SYSTEM, asking)
        target.until(
            f"the address {address} for the gateway",
            last,
            find_gateways,
            lambda found: [each.addresses for each in found] == [(address,)],
        )
        yield
    finally:
        target.delete(last, _SYSTEM, f"service/{names.GATEWAY}")
        target.delete(last, load_balancer.NAMESPACE, f"{_POOL}/overlapping")
        target.apply(last, _SYSTEM, unassigned(service))
        target.until(
            "an address for the east-west gateway",
            last,
            find_gateways,
            lambda found: all(each.addresses for each in found),
        )


@contextmanager
def services_not_exposed(target: Target) -> Iterator[None]:
    """The last primary does not expose the services of the mesh."""
    cluster = target.scenario.primaries[-1].name
    try:
        target.delete(cluster, _SYSTEM, *references(services_manifest()))
        yield
    finally:
        target.run_steps(target.installation, ids.expose_services(cluster))


@contextmanager
def services_terminated(target: Target) -> Iterator[None]:
    """What exposes the last primary's services ends clients' TLS at the gateway itself."""
    cluster = target.scenario.primaries[-1].name
    server = {
        "port": {"name": "https", "number": SERVICES_PORT, "protocol": "HTTPS"},
        "tls": {"mode": "ISTIO_MUTUAL"},
        "hosts": ["*.local"],
    }
    terminated = [{"op": "replace", "path": "/spec/servers/0", "value": server}]
    try:
        (gateway,) = references(services_manifest())
        target.system(cluster, "patch", gateway, "--type=json", "-p", json.dumps(terminated))
        yield
    finally:
        target.run_steps(target.installation, ids.expose_services(cluster))


@contextmanager
def selector_mismatch(target: Target) -> Iterator[None]:
    """What exposes the last primary's services selects a gateway that there is not."""
    cluster = target.scenario.primaries[-1].name
    nobody = json.dumps({"spec": {"selector": {"istio": "east-west-gateway"}}})
    try:
        (gateway,) = references(services_manifest())
        target.system(cluster, "patch", gateway, "--type=merge", "-p", nobody)
        yield
    finally:
        target.run_steps(target.installation, ids.expose_services(cluster))


@contextmanager
def behind_another_service(target: Target) -> Iterator[None]:
    """The Service of the last cluster's gateway sends to the ingress gateway, for users."""
    cluster = target.scenario.clusters[-1].name
    service = f"service/{names.GATEWAY}"
    given = target.read(cluster, _SYSTEM, "service", names.GATEWAY)["spec"]["selector"]

    def select(selector: Mapping[str, str]) -> None:
        change = [{"op": "replace", "path": "/spec/selector", "value": dict(selector)}]
        target.system(cluster, "patch", service, "--type=json", "-p", json.dumps(change))

    try:
        select({"istio": "ingressgateway"})
        yield
    finally:
        select(given)


@contextmanager
def istiod_not_exposed(target: Target) -> Iterator[None]:
    """The gateway of a remote's primary does not pass its istiod on."""
    primary = target.scenario.control_plane_of(target.scenario.remotes[0].name)
    is_external = target.scenario.cluster(primary).is_external
    exposing = exposure_manifest() if is_external else istiod_manifest()
    try:
        target.delete(primary, target.system_namespace, *references(exposing))
        yield
    finally:
        target.run_steps(target.installation, ids.expose_istiod(primary))


def labelled(network: str) -> Injection:
    """The last cluster's gateway is labelled as one of another network.

    Args:
        network: empty for none.
    """
    label = f"{names.NETWORK_LABEL}={network}" if network else f"{names.NETWORK_LABEL}-"

    @contextmanager
    def inject(target: Target) -> Iterator[None]:
        cluster = target.scenario.clusters[-1]
        own = f"{names.NETWORK_LABEL}={cluster.network}"
        gateway = ("label", "--overwrite", f"service/{names.GATEWAY}")
        try:
            target.system(cluster.name, *gateway, label)
            yield
        finally:
            target.system(cluster.name, *gateway, own)

    return inject


def with_ports(changed: Callable[[Sequence[Manifest]], Sequence[Manifest]]) -> Injection:
    """The Service of the last cluster's gateway has other ports.

    Args:
        changed: makes them of those that it has.
    """

    @contextmanager
    def inject(target: Target) -> Iterator[None]:
        cluster = target.scenario.clusters[-1].name
        ports = target.read(cluster, _SYSTEM, "service", names.GATEWAY)["spec"]["ports"]
        try:
            _set_ports(target, cluster, changed(ports))
            yield
        finally:
            _set_ports(target, cluster, ports)

    return inject


def without_services(ports: Sequence[Manifest]) -> Sequence[Manifest]:
    """The ports but for that of services."""
    return [each for each in ports if each["port"] != SERVICES_PORT]


def misdirected(ports: Sequence[Manifest]) -> Sequence[Manifest]:
    """The ports, that of services sent to the proxies' status port: to one where nothing listens,
    istiod would let them listen.
    """
    return [
        {**each, "targetPort": STATUS_PORT} if each["port"] == SERVICES_PORT else each
        for each in ports
    ]


def _set_ports(target: Target, cluster: str, ports: Sequence[Manifest]) -> None:
    change = json.dumps([{"op": "replace", "path": "/spec/ports", "value": [*map(dict, ports)]}])
    target.system(cluster, "patch", f"service/{names.GATEWAY}", "--type=json", "-p", change)


def unassigned(service: Manifest) -> Manifest:
    """The Service without the addresses and node ports that it was assigned."""
    assigned = ("clusterIP", "clusterIPs", "healthCheckNodePort")
    spec = {key: value for key, value in service["spec"].items() if key not in assigned}
    ports = [
        {key: value for key, value in port.items() if key != "nodePort"} for port in spec["ports"]
    ]
    return {**service, "spec": {**spec, "ports": ports}}


def _pools(target: Target, cluster: str) -> list[Mapping[str, Any]]:
    namespace = load_balancer.NAMESPACE
    found = target.kubectl(cluster, "-n", namespace, "get", _POOL, "-o", "name").split()
    return [target.read(cluster, namespace, *each.split("/", 1)) for each in found]
