"""The container images of a mesh, and the Istio values they need."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class ImageSet:
    """Images of Istio and of the sample workloads.

    Attributes:
        name: "built" (from Go modules, stock Envoy) or "released" (Istio's own registry).
        istio_version: version that istiod, the proxies and istioctl report.
        istio_hub: value of IstioOperator's `spec.hub`; empty for istioctl's own.
        istio_tag: value of IstioOperator's `spec.tag`; empty for istioctl's own.
        istio_values: Helm values that every istiod of this image set needs, nested; empty for
            released images. Scenarios never name them.
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
