"""What east-west gateways are to pass: istiod's ports, and every service by its SNI.

Source: Istio, Expose the control plane, and Expose services.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

import yaml

from mesh_fixtures.install import names
from mesh_fixtures.install.names import SYSTEM_NAMESPACE
from mesh_fixtures.scenario import CLUSTER_DOMAIN, ISTIOD_PORTS, SERVICES_PORT

ISTIOD_FILE: Final = "multicluster/expose-istiod.yaml"
SERVICES_FILE: Final = "multicluster/expose-services.yaml"

_API: Final = "networking.istio.io/v1"
_SELECTOR: Final = {"istio": "eastwestgateway"}
_ISTIOD_GATEWAY: Final = "istiod-gateway"

_DISCOVERY_PORT, _WEBHOOK_PORT = ISTIOD_PORTS
_ISTIOD_SERVICE_PORTS: Final = {_DISCOVERY_PORT: 15012, _WEBHOOK_PORT: 443}


def istiod_manifest(cluster_domain: str = CLUSTER_DOMAIN, revision: str = "") -> str:
    """Gateway and VirtualService that pass discovery and the webhook to istiod, as YAML.

    Args:
        revision: of the only istiod there is; empty for the default one.
    """
    names_of_ports = {_DISCOVERY_PORT: "tls-istiod", _WEBHOOK_PORT: "tls-istiodwebhook"}
    servers = [_server(name, port, "PASSTHROUGH", "*") for port, name in names_of_ports.items()]
    service = _istiod_service(revision, ["*"], cluster_domain)
    return yaml.safe_dump_all([_gateway(_ISTIOD_GATEWAY, servers), service], sort_keys=False)


def revision_manifest(revision: str, cluster_domain: str = CLUSTER_DOMAIN) -> str:
    """VirtualService by which the same Gateway passes what asks for a revision of istiod to that
    one, as YAML; what asks for another goes on as before.
    """
    host = f"{names.istiod(revision)}.{SYSTEM_NAMESPACE}.svc"
    server_names = [host, f"{host}.{cluster_domain}"]
    return yaml.safe_dump(_istiod_service(revision, server_names, cluster_domain), sort_keys=False)


def istiod_route(revision: str) -> str:
    """Name of the VirtualService that passes requests to a revision of istiod.

    Args:
        revision: empty for the default one.
    """
    return f"istiod-vs-{revision}" if revision else "istiod-vs"


def _istiod_service(
    revision: str, server_names: Iterable[str], cluster_domain: str
) -> dict[str, Any]:
    host = f"{names.istiod(revision)}.{SYSTEM_NAMESPACE}.svc.{cluster_domain}"
    routes = [
        {
            "match": [{"port": port, "sniHosts": [*server_names]}],
            "route": [{"destination": {"host": host, "port": {"number": number}}}],
        }
        for port, number in _ISTIOD_SERVICE_PORTS.items()
    ]
    return {
        "apiVersion": _API,
        "kind": "VirtualService",
        "metadata": {"name": istiod_route(revision)},
        "spec": {"hosts": ["*"], "gateways": [_ISTIOD_GATEWAY], "tls": routes},
    }


def services_manifest(cluster_domain: str = CLUSTER_DOMAIN) -> str:
    """Gateway that passes mutual TLS to every service by its SNI, as YAML; by the guide, to
    `*.local`, the last label of the cluster domain.
    """
    hosts = f"*.{cluster_domain.rpartition('.')[2]}"
    server = _server("tls", SERVICES_PORT, "AUTO_PASSTHROUGH", hosts)
    return yaml.safe_dump(_gateway("cross-network-gateway", [server]), sort_keys=False)


def _gateway(name: str, servers: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "apiVersion": _API,
        "kind": "Gateway",
        "metadata": {"name": name},
        "spec": {"selector": dict(_SELECTOR), "servers": servers},
    }


def _server(name: str, port: int, mode: str, host: str) -> dict[str, Any]:
    return {
        "port": {"name": name, "number": port, "protocol": "TLS"},
        "tls": {"mode": mode},
        "hosts": [host],
    }
