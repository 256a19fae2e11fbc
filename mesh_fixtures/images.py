"""The container images of a mesh, and the Istio values they need."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

BUILT: Final = "built"
RELEASED: Final = "released"

ENVOY_LABEL: Final = "org.mesh-conformance.envoy"
"""Label of a proxy image's configuration that says which Envoy is in it; images of Istio have none.
"""

STOCK_ENVOY: Final = "stock"
"""Upstream's own build."""

_DEFAULT_REGISTRY: Final = "docker.io"


@dataclass(frozen=True)
class ImageSet:
    """Images of Istio and of the sample workloads.

    Attributes:
        name: `BUILT` (from Go modules, on this machine) or `RELEASED` (from a registry).
        istio_version: version that istiod, the proxies and istioctl report.
        istio_hub: value of IstioOperator's `spec.hub`; empty for istioctl's own.
        istio_tag: value of IstioOperator's `spec.tag`; empty for istioctl's own.
        istio_values: Helm values that every istiod of this image set needs, nested: those of
            `values_for` its proxy, and its variant. Scenarios never name them.
        helloworld: image by version; the pod's SERVICE_VERSION makes further versions.
        sleep: image that holds curl and a shell.
        pull_policy: imagePullPolicy of every pod.
    """

    name: str
    istio_version: str
    istio_hub: str
    istio_tag: str
    helloworld: Mapping[str, str]
    sleep: str
    istio_values: Mapping[str, Any] = field(default_factory=dict)
    pull_policy: str = "IfNotPresent"


@dataclass(frozen=True)
class NodeImage:
    """An image that nodes run.

    Attributes:
        name: its full name.
        origin: where nodes get it from, for people.
        digest: of what is there already; empty where that is not known.
        pulled: whether it comes from a registry.
    """

    name: str
    origin: str
    digest: str = ""
    pulled: bool = False


def values_for(labels: Mapping[str, str]) -> Mapping[str, Any]:
    """The Helm values of istiod that a proxy image needs, nested.

    A stock Envoy lacks the filters that Istio's own build adds, and rejects configuration that
    names them; the values keep istiod from naming them.

    Args:
        labels: of the proxy image's configuration.
    """
    if labels.get(ENVOY_LABEL) != STOCK_ENVOY:
        return {}
    return {
        "telemetry": {"enabled": False},
        "pilot": {
            "env": {
                "PILOT_ENABLE_METADATA_EXCHANGE": "false",
                "PILOT_ENABLE_ALPN_FILTER": "false",
            }
        },
        "meshConfig": {"defaultConfig": {"proxyMetadata": {"CLOUD_PLATFORM": "none"}}},
    }


def full_name(name: str) -> str:
    """The name by which a container runtime stores the image that a pod calls `name`.

    Source: Kubernetes documentation, "Images", "Image names".
    """
    registry, slash, path = name.partition("/")
    if not slash or not (registry == "localhost" or set(".:") & set(registry)):
        registry, path = _DEFAULT_REGISTRY, name
    if registry == _DEFAULT_REGISTRY and "/" not in path:
        path = f"library/{path}"
    has_tag = "@" in path or ":" in path.rpartition("/")[2]
    return f"{registry}/{path}" if has_tag else f"{registry}/{path}:latest"
