"""MetalLB's address pool of a cluster (MetalLB: "Configuration", layer 2)."""

from __future__ import annotations

from typing import Any

from mesh_fixtures.lab.provider import AddressPool

NAMESPACE = "metallb-system"


def pool_manifests(pool: AddressPool) -> list[dict[str, Any]]:
    """An IPAddressPool with the cluster's addresses and the L2Advertisement that announces it."""
    return [
        {
            "apiVersion": "metallb.io/v1beta1",
            "kind": "IPAddressPool",
            "metadata": {"name": "load-balancers", "namespace": NAMESPACE},
            "spec": {"addresses": [str(pool)]},
        },
        {
            "apiVersion": "metallb.io/v1beta1",
            "kind": "L2Advertisement",
            "metadata": {"name": "load-balancers", "namespace": NAMESPACE},
            "spec": {"ipAddressPools": ["load-balancers"]},
        },
    ]
