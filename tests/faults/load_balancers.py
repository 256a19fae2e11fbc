"""Load balancers in front of gateways that are no part of their clusters; by faults, they do not
pass TLS through.

Source: Envoy, static configuration (HTTP connection manager, TCP proxy, DownstreamTlsContext);
Kubernetes, Service (loadBalancerClass, ipMode).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, Final

from cryptography import x509

from mesh_fixtures import certificates
from mesh_fixtures.install import names
from mesh_fixtures.kube.resources import SERVICES
from mesh_fixtures.scenario import SERVICES_PORT
from tests.faults.fault import Injection
from tests.faults.gateways import OTHER_BALANCER, address_again, unassigned
from tests.faults.target import Manifest, Target

_SYSTEM: Final = names.SYSTEM_NAMESPACE
_NAMESPACE: Final = "default"
_NAME: Final = "load-balancer"
_LABELS: Final = {"app": _NAME}
_CONFIGURATION: Final = "envoy.yaml"
_FOLDER: Final = "/etc/load-balancer"
_ENVOY: Final = "type.googleapis.com/envoy.extensions"
_HOST_NAME: Final = "gateway.example"
_LIFETIME: Final = timedelta(hours=1)

Filters = dict[str, Any]


def in_front(filters: Callable[[], Filters]) -> Injection:
    """The last cluster's gateway has the address of a load balancer, which passes what it gets on
    to it.

    Args:
        filters: makes what the load balancer does with connections, a filter chain of Envoy.
    """

    @contextmanager
    def inject(target: Target) -> Iterator[None]:
        cluster = target.scenario.clusters[-1].name
        service = target.read(cluster, _SYSTEM, "service", names.GATEWAY)
        try:
            target.apply(cluster, _NAMESPACE, *_load_balancer(target, cluster, filters()))
            target.await_rollout(cluster, _NAMESPACE, _NAME)
            _become(target, cluster, service, _address(target, cluster))
            yield
        finally:
            target.delete(cluster, _SYSTEM, f"service/{names.GATEWAY}")
            target.delete(
                cluster,
                _NAMESPACE,
                *(f"{each}/{_NAME}" for each in ("service", "deployment", "secret")),
            )
            target.apply(cluster, _SYSTEM, unassigned(service))
            address_again(target, cluster)

    return inject


def passing_tcp() -> Filters:
    """Passes all bytes on as they are, as a listener of the protocol TCP does, and as all of them
    in front of gateways should.
    """
    proxy = {
        "@type": f"{_ENVOY}.filters.network.tcp_proxy.v3.TcpProxy",
        "stat_prefix": _NAME,
        "cluster": _NAME,
    }
    return {"filters": [{"name": "tcp", "typed_config": proxy}]}


def speaking_http() -> Filters:
    """Reads requests of HTTP, as a listener of the protocol HTTP does."""
    route = {"match": {"prefix": "/"}, "route": {"cluster": _NAME}}
    manager = {
        "@type": f"{_ENVOY}.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": _NAME,
        "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [route]}]},
        "http_filters": [
            {
                "name": "router",
                "typed_config": {"@type": f"{_ENVOY}.filters.http.router.v3.Router"},
            }
        ],
    }
    return {"filters": [{"name": "http", "typed_config": manager}]}


def ending_tls() -> Filters:
    """Has a certificate of a host name, as a listener of the protocol SSL does."""
    root = certificates.authority(
        certificates.subject("Public CA"), certificates.elliptic_key(), _LIFETIME
    )
    server = certificates.leaf(
        certificates.subject(_HOST_NAME),
        certificates.elliptic_key(),
        _LIFETIME,
        root,
        usages=(certificates.SERVER,),
        names=[x509.DNSName(_HOST_NAME)],
    )
    shown = {
        "certificate_chain": {"inline_string": server.certificate_pem.decode()},
        "private_key": {"inline_string": server.key_pem.decode()},
    }
    tls = {
        "@type": f"{_ENVOY}.transport_sockets.tls.v3.DownstreamTlsContext",
        "common_tls_context": {"tls_certificates": [shown]},
    }
    return {**passing_tcp(), "transport_socket": {"name": "tls", "typed_config": tls}}


def _become(target: Target, cluster: str, service: Manifest, address: str) -> None:
    """Make an address that of a gateway's Service, as a load balancer outside of its cluster does:
    nodes send nothing of their own pods' past it.
    """
    spec = {**service["spec"], "loadBalancerClass": OTHER_BALANCER}
    status = {"status": {"loadBalancer": {"ingress": [{"ip": address, "ipMode": "Proxy"}]}}}
    target.delete(cluster, _SYSTEM, f"service/{names.GATEWAY}")
    target.apply(cluster, _SYSTEM, unassigned({**service, "spec": spec}))
    target.system(
        *(cluster, "patch", f"service/{names.GATEWAY}", "--subresource=status"),
        *("--type=merge", "-p", json.dumps(status)),
    )


def _address(target: Target, cluster: str) -> str:
    """Where the load balancer is reached."""
    found = target.until(
        "an address for the load balancer",
        cluster,
        lambda kube: [
            address
            for each in kube.list(SERVICES, _NAMESPACE)
            if each.meta.name == _NAME
            for address in each.external
        ],
        bool,
    )
    return found[0]


def _load_balancer(target: Target, cluster: str, filters: Filters) -> list[Manifest]:
    """Its Secret, Deployment and Service; it runs as an Envoy of the proxies' image."""
    image = target.system(
        *(cluster, "get", "pods", "-l", "istio=eastwestgateway"),
        *("-o", "jsonpath={.items[0].spec.containers[0].image}"),
    )
    container = {
        "name": _NAME,
        "image": image,
        "imagePullPolicy": target.lab.images.pull_policy,
        "command": ["/usr/local/bin/envoy", "--disable-hot-restart", "--concurrency", "1"],
        "args": ["-c", f"{_FOLDER}/{_CONFIGURATION}"],
        "readinessProbe": {"tcpSocket": {"port": SERVICES_PORT}, "periodSeconds": 1},
        "volumeMounts": [{"name": _NAME, "mountPath": _FOLDER}],
    }
    volume = {"name": _NAME, "secret": {"secretName": _NAME}}
    pod = {
        "metadata": {"labels": _LABELS},
        "spec": {"containers": [container], "volumes": [volume]},
    }
    meta = {"name": _NAME}
    return [
        {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": meta,
            "stringData": {_CONFIGURATION: json.dumps(_envoy(filters))},
        },
        {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": meta,
            "spec": {"selector": {"matchLabels": _LABELS}, "template": pod},
        },
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": meta,
            "spec": {
                "type": "LoadBalancer",
                "selector": _LABELS,
                "ports": [{"name": "tls", "port": SERVICES_PORT}],
            },
        },
    ]


def _envoy(filters: Filters) -> dict[str, Any]:
    """Static configuration of an Envoy with one listener, in front of the gateway."""
    gateway = f"{names.GATEWAY}.{_SYSTEM}.svc.cluster.local"
    endpoint = {"endpoint": {"address": _socket(gateway)}}
    upstream = {
        "name": _NAME,
        "type": "STRICT_DNS",
        "load_assignment": {"cluster_name": _NAME, "endpoints": [{"lb_endpoints": [endpoint]}]},
    }
    listener = {"name": _NAME, "address": _socket("0.0.0.0"), "filter_chains": [filters]}
    return {"static_resources": {"listeners": [listener], "clusters": [upstream]}}


def _socket(address: str) -> dict[str, Any]:
    return {"socket_address": {"address": address, "port_value": SERVICES_PORT}}
