"""East-west gateways by the Kubernetes Gateway API: what a person applies, and istiod deploys.

In a primary, istiod deploys what is configured by a Gateway of its class: its listeners expose
services and, with TLSRoutes, istiod. No istiod deploys anything in a remote: there the Deployment
and the Service are applied, as for any gateway of a manual deployment, and the Gateway of its
primary configures them, since its Service has the same name.

Sources: Istio, Kubernetes Gateway API (Deployment methods: automated and manual deployment);
Resource Annotations (gateway.istio.io/name-override); Installing Gateways (Kubernetes YAML).
Gateway API, TLSRoute.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import yaml

from mesh_fixtures.contract import GATEWAY_API_DEFINITIONS
from mesh_fixtures.images import ImageSet
from mesh_fixtures.install import names
from mesh_fixtures.install.clusters import kinds_defined
from mesh_fixtures.install.exposure import ISTIOD_PORT_NAMES, ISTIOD_SERVICE_PORTS, every_service
from mesh_fixtures.install.method import READINESS_PERIOD, Recipe
from mesh_fixtures.install.names import GATEWAY, GATEWAY_LABELS, NETWORK_LABEL, SYSTEM_NAMESPACE
from mesh_fixtures.install.step import Command
from mesh_fixtures.scenario import SERVICES_PORT, STATUS_PORT, Scenario

ROUTES_FILE: Final = "multicluster/expose-istiod-tlsroutes.yaml"

NAME_LABEL: Final = "gateway.networking.k8s.io/gateway-name"
"""Label of what istiod deploys for a Gateway: the Gateway's name."""

NAME_OVERRIDE: Final = "gateway.istio.io/name-override"
"""Annotation of a Gateway: the name of its Deployment and Service, `NAME-istio` without it."""

LISTENER_OPTION: Final = "gateway.istio.io/listener-protocol"
AUTO_PASSTHROUGH: Final = "auto-passthrough"
"""Value of that option of a listener that passes mutual TLS to every service by its SNI."""

KIND: Final = "gateways.gateway.networking.k8s.io"
"""What kubectl calls Gateways; those of Istio's own API have the same short names."""

_API: Final = "gateway.networking.k8s.io/v1"
_CLASS: Final = "istio"
_DEFINITIONS: Final = ("gateways", "tlsroutes")
_SERVICES_LISTENER: Final = "cross-network"


@dataclass(frozen=True)
class GatewayApi:
    """Implements `install.method.GatewayMethod`."""

    def gateway(self, scenario: Scenario, cluster: str, images: ImageSet, seconds: int) -> Recipe:
        """The Gateway of a primary, and what istiod makes of it; what stands in for that in a
        remote.
        """
        file = f"{cluster}.eastwest-gateway.yaml"
        limit = f"--timeout={seconds // 2}s"
        deployment = f"deployment/{GATEWAY}"
        content: tuple[Mapping[str, Any], ...]
        if scenario.cluster(cluster).is_primary:
            content = (gateway_manifest(scenario, cluster),)
            observe = (names.system_kubectl(cluster, "get", KIND, "-o", "yaml"),)
        else:
            content = remote_manifests(scenario, cluster, images)
            observe = (names.system_kubectl(cluster, "describe", deployment),)
        calls = (
            names.system_kubectl(cluster, "apply", "-f", file),
            names.system_kubectl(cluster, "wait", "--for=create", deployment, limit),
            names.system_kubectl(cluster, "rollout", "status", deployment, limit),
        )
        return Recipe(
            tuple(map(Command, calls)),
            {file: yaml.safe_dump_all(content, sort_keys=False)},
            observe,
        )


def definitions(cluster: str) -> Recipe:
    """Define the kinds of the Gateway API."""
    manifests = names.reference(GATEWAY_API_DEFINITIONS)
    plurals = [f"{each}.gateway.networking.k8s.io" for each in _DEFINITIONS]
    return kinds_defined(cluster, [manifests], plurals)


def gateway_manifest(scenario: Scenario, cluster: str) -> dict[str, Any]:
    """The Gateway of a primary, with a listener for each port that other clusters need.

    What it deploys is called as the guide calls a gateway, so that what the guide says of that goes
    for it, too; and a remote's gateway, which has the same name, takes its configuration.
    """
    listeners: list[dict[str, Any]] = []
    if scenario.exposes_services(cluster):
        listener = _listener(
            _SERVICES_LISTENER, SERVICES_PORT, options={LISTENER_OPTION: AUTO_PASSTHROUGH}
        )
        listeners.append({**listener, "hostname": every_service(scenario.cluster_domain)})
    if scenario.exposes_istiod(cluster):
        listeners += [_listener(name, port) for port, name in ISTIOD_PORT_NAMES.items()]
    return {
        "apiVersion": _API,
        "kind": "Gateway",
        "metadata": {
            "name": GATEWAY,
            "annotations": {NAME_OVERRIDE: GATEWAY},
            "labels": {NETWORK_LABEL: scenario.cluster(cluster).network},
        },
        "spec": {"gatewayClassName": _CLASS, "listeners": listeners},
    }


def _listener(name: str, port: int, **tls: Any) -> dict[str, Any]:
    return {"name": name, "port": port, "protocol": "TLS", "tls": {"mode": "Passthrough", **tls}}


def routes_manifest(cluster_domain: str) -> str:
    """TLSRoutes that pass discovery and the webhook to istiod, by the names that proxies and API
    servers call it, as YAML.
    """
    host = f"{names.istiod('')}.{SYSTEM_NAMESPACE}.svc"
    routes = [
        {
            "apiVersion": _API,
            "kind": "TLSRoute",
            "metadata": {"name": name},
            "spec": {
                "parentRefs": [{"name": GATEWAY, "sectionName": name}],
                "hostnames": [host, f"{host}.{cluster_domain}"],
                "rules": [
                    {
                        "backendRefs": [
                            {"name": names.istiod(""), "port": ISTIOD_SERVICE_PORTS[port]}
                        ]
                    }
                ],
            },
        }
        for port, name in ISTIOD_PORT_NAMES.items()
    ]
    return yaml.safe_dump_all(routes, sort_keys=False)


def remote_manifests(
    scenario: Scenario, cluster: str, images: ImageSet
) -> tuple[dict[str, Any], ...]:
    """A remote's gateway: its account, its Deployment, whose proxy is injected, and its Service."""
    network = scenario.cluster(cluster).network
    meta = {"name": GATEWAY, "labels": {**GATEWAY_LABELS, NETWORK_LABEL: network}}
    ports = {"status-port": STATUS_PORT, "tls": SERVICES_PORT}
    account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": GATEWAY}}
    deployment = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": meta,
        "spec": {
            "selector": {"matchLabels": dict(GATEWAY_LABELS)},
            "template": {
                "metadata": {
                    "annotations": {"inject.istio.io/templates": "gateway"},
                    "labels": {
                        **GATEWAY_LABELS,
                        "sidecar.istio.io/inject": "true",
                        NETWORK_LABEL: network,
                    },
                },
                "spec": {
                    "serviceAccountName": GATEWAY,
                    "containers": [_proxy(network, images)],
                },
            },
        },
    }
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": meta,
        "spec": {
            "type": "LoadBalancer",
            **(names.BOTH_FAMILIES if scenario.is_dual_stack else {}),
            "selector": dict(GATEWAY_LABELS),
            "ports": [{"name": name, "port": port} for name, port in ports.items()],
        },
    }
    return account, deployment, service


def _proxy(network: str, images: ImageSet) -> dict[str, Any]:
    """What injection fills in; as an unprivileged user, like a gateway of Istio's chart."""
    return {
        "name": "istio-proxy",
        "image": "auto",
        "imagePullPolicy": images.pull_policy,
        "env": [{"name": names.NETWORK_VIEW, "value": network}],
        "readinessProbe": {
            "httpGet": {"path": "/healthz/ready", "port": STATUS_PORT},
            "periodSeconds": READINESS_PERIOD,
        },
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "privileged": False,
            "readOnlyRootFilesystem": True,
            "runAsNonRoot": True,
        },
    }
