"""What east-west gateways are to pass: istiod's ports, and every service by its SNI.

Source: Istio, Expose the control plane, and Expose services.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

import yaml

from mesh_fixtures.install import names
from mesh_fixtures.install.names import GATEWAY_LABELS, SYSTEM_NAMESPACE
from mesh_fixtures.scenario import CLUSTER_DOMAIN, ISTIOD_PORTS, SERVICES_PORT

ISTIOD_FILE: Final = "multicluster/expose-istiod.yaml"
SERVICES_FILE: Final = "multicluster/expose-services.yaml"

_API: Final = "networking.istio.io/v1"
_ISTIOD_GATEWAY: Final = "istiod-gateway"

ISTIOD_SERVICE_PORTS: Final = dict(zip(ISTIOD_PORTS, (15012, 443), strict=True))
"""Where istiod's Service serves what a gateway passes at each of its ports."""

ISTIOD_PORT_NAMES: Final = dict(zip(ISTIOD_PORTS, ("tls-istiod", "tls-istiodwebhook"), strict=True))


def istiod_manifest(cluster_domain: str = CLUSTER_DOMAIN, revision: str = "") -> str:
    """Gateway and VirtualService that pass discovery and the webhook to istiod, as YAML.

    Args:
        revision: of the only istiod there is; empty for the default one.
    """
    servers = [_server(name, port, "PASSTHROUGH", "*") for port, name in ISTIOD_PORT_NAMES.items()]
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
        for port, number in ISTIOD_SERVICE_PORTS.items()
    ]
    return {
        "apiVersion": _API,
        "kind": "VirtualService",
        "metadata": {"name": istiod_route(revision)},
        "spec": {"hosts": ["*"], "gateways": [_ISTIOD_GATEWAY], "tls": routes},
    }


def every_service(domain: str) -> str:
    """The SNI of all services; by the guide `*.local`, of the last label of the cluster domain.

    Args:
        domain: of the cluster, or of a service in it.
    """
    return f"*.{domain.rpartition('.')[2]}"


def services_manifest(cluster_domain: str = CLUSTER_DOMAIN) -> str:
    """Gateway that passes mutual TLS to every service by its SNI, as YAML."""
    server = _server("tls", SERVICES_PORT, "AUTO_PASSTHROUGH", every_service(cluster_domain))
    return yaml.safe_dump(_gateway("cross-network-gateway", [server]), sort_keys=False)


def _gateway(name: str, servers: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "apiVersion": _API,
        "kind": "Gateway",
        "metadata": {"name": name},
        "spec": {"selector": dict(GATEWAY_LABELS), "servers": servers},
    }


def _server(name: str, port: int, mode: str, host: str) -> dict[str, Any]:
    return {
        "port": {"name": name, "number": port, "protocol": "TLS"},
        "tls": {"mode": mode},
        "hosts": [host],
    }
