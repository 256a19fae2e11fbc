"""Cluster DNS of an embedded cluster (Kubernetes: "DNS for Services and Pods"; CoreDNS manual)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mesh_fixtures.addresses import IPAddress

_NAME = "coredns"
_NAMESPACE = "kube-system"
_LABELS = {"k8s-app": "kube-dns"}
_COREFILE = """\
.:53 {
    errors
    health
    ready
    kubernetes %s in-addr.arpa ip6.arpa {
        pods insecure
    }
    cache 30
}
"""


def dns_manifests(image: str, addresses: Sequence[IPAddress], domain: str) -> list[dict[str, Any]]:
    """CoreDNS without an upstream, because nothing in a lab reaches the outside.

    Args:
        image: CoreDNS with at least the plugins of the Corefile.
        addresses: ClusterIPs of the Service `kube-dns`, the primary family's first.
        domain: of the cluster.
    """
    metadata = {"name": _NAME, "namespace": _NAMESPACE}
    role = "system:coredns"
    rbac = "rbac.authorization.k8s.io"
    return [
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata},
        {
            "apiVersion": f"{rbac}/v1",
            "kind": "ClusterRole",
            "metadata": {"name": role},
            "rules": [
                {
                    "apiGroups": [""],
                    "resources": ["services", "pods", "namespaces"],
                    "verbs": ["list", "watch"],
                },
                {
                    "apiGroups": ["discovery.k8s.io"],
                    "resources": ["endpointslices"],
                    "verbs": ["list", "watch"],
                },
            ],
        },
        {
            "apiVersion": f"{rbac}/v1",
            "kind": "ClusterRoleBinding",
            "metadata": {"name": role},
            "roleRef": {"apiGroup": rbac, "kind": "ClusterRole", "name": role},
            "subjects": [{"kind": "ServiceAccount", **metadata}],
        },
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": metadata,
            "data": {"Corefile": _COREFILE % domain},
        },
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": "kube-dns", "namespace": _NAMESPACE, "labels": _LABELS},
            "spec": {
                "clusterIP": str(addresses[0]),
                **_dual_stack(addresses),
                "selector": _LABELS,
                "ports": [
                    {"name": "dns", "port": 53, "protocol": "UDP"},
                    {"name": "dns-tcp", "port": 53, "protocol": "TCP"},
                ],
            },
        },
        {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {**metadata, "labels": _LABELS},
            "spec": {
                "selector": {"matchLabels": _LABELS},
                "template": {"metadata": {"labels": _LABELS}, "spec": _pod(image)},
            },
        },
    ]


def _dual_stack(addresses: Sequence[IPAddress]) -> dict[str, Any]:
    if len(addresses) == 1:
        return {}
    return {"clusterIPs": [*map(str, addresses)], "ipFamilyPolicy": "RequireDualStack"}


def _pod(image: str) -> dict[str, Any]:
    return {
        "serviceAccountName": _NAME,
        "dnsPolicy": "Default",
        "priorityClassName": "system-cluster-critical",
        "containers": [
            {
                "name": _NAME,
                "image": image,
                "imagePullPolicy": "IfNotPresent",
                "args": ["-conf", "/etc/coredns/Corefile"],
                "ports": [
                    {"name": "dns", "containerPort": 53, "protocol": "UDP"},
                    {"name": "dns-tcp", "containerPort": 53, "protocol": "TCP"},
                ],
                "readinessProbe": {"httpGet": {"path": "/ready", "port": 8181}, "periodSeconds": 1},
                "volumeMounts": [{"name": "configuration", "mountPath": "/etc/coredns"}],
            }
        ],
        "volumes": [{"name": "configuration", "configMap": {"name": _NAME}}],
    }
