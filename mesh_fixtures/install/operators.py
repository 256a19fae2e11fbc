"""IstioOperator configurations: what `istioctl install` is given for each cluster and gateway."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import yaml

from mesh_fixtures.images import ImageSet
from mesh_fixtures.install import names, values
from mesh_fixtures.scenario import ISTIOD_PORTS, SERVICES_PORT, STATUS_PORT, Scenario

_DISCOVERY_PORT, _WEBHOOK_PORT = ISTIOD_PORTS

GATEWAY_PORTS: Final = {
    "status-port": STATUS_PORT,
    "tls": SERVICES_PORT,
    "tls-istiod": _DISCOVERY_PORT,
    "tls-webhook": _WEBHOOK_PORT,
}
"""Ports of every east-west gateway's service, by name (source: Istio's gateway generator)."""


def primary(scenario: Scenario, cluster: str, images: ImageSet) -> str:
    """IstioOperator of a primary, as YAML (guide: Configure cluster1 as a primary)."""
    return _operator(images, {"values": values.primary(scenario, cluster, images)})


def remote(scenario: Scenario, cluster: str, images: ImageSet) -> str:
    """IstioOperator of a remote, as YAML; refers to its primary's discovery address
    (source: Istio, Install Primary-Remote).
    """
    spec = {
        "profile": values.REMOTE_PROFILE,
        "values": values.remote(scenario, cluster, images),
    }
    return _operator(images, spec)


def gateway(scenario: Scenario, cluster: str, images: ImageSet) -> str:
    """IstioOperator of an east-west gateway alone, as YAML.

    Its proxy takes everything else from istiod by injection, hence none of the image set's values.
    """
    network = scenario.cluster(cluster).network
    ports = [
        {"name": name, "port": port, "targetPort": port} for name, port in GATEWAY_PORTS.items()
    ]
    ingress = {
        "name": names.GATEWAY,
        "label": {
            "istio": "eastwestgateway",
            "app": names.GATEWAY,
            names.NETWORK_LABEL: network,
        },
        "enabled": True,
        "k8s": {
            "env": [{"name": "ISTIO_META_REQUESTED_NETWORK_VIEW", "value": network}],
            "service": {"ports": ports},
        },
    }
    own = {
        "gateways": {"istio-ingressgateway": {"injectionTemplate": "gateway"}},
        "global": {"network": network, "imagePullPolicy": images.pull_policy},
    }
    spec = {"profile": "empty", "components": {"ingressGateways": [ingress]}, "values": own}
    return _operator(images, spec, metadata={"name": "eastwest"})


def _operator(
    images: ImageSet, spec: values.Values, metadata: Mapping[str, str] | None = None
) -> str:
    """As YAML. Names must differ within a cluster: an install prunes what its name left before."""
    return yaml.safe_dump(
        {
            "apiVersion": "install.istio.io/v1alpha1",
            "kind": "IstioOperator",
            **({"metadata": dict(metadata)} if metadata else {}),
            "spec": {**_source(images), **spec},
        },
        sort_keys=False,
    )


def _source(images: ImageSet) -> dict[str, str]:
    """Where istioctl takes images from; nothing where it knows by itself."""
    told = {"hub": images.istio_hub, "tag": images.istio_tag}
    return {key: value for key, value in told.items() if value}
