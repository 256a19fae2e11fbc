"""MetalLB in a lab's cluster: its address pool, and the certificate of its webhook.

Source: MetalLB documentation, "Configuration", layer 2.
"""

from __future__ import annotations

import base64
from typing import Any

from mesh_fixtures.certificates import rsa_key
from mesh_fixtures.contract import AddressPool
from mesh_fixtures.lab.pki import ClusterAuthority

NAMESPACE = "metallb-system"
_SECRET = "metallb-webhook-cert"  # noqa: S105 - a name
_SERVICE = f"metallb-webhook-service.{NAMESPACE}.svc"
# The name that MetalLB's certificate rotation expects its authority to be valid for.
_AUTHORITY = "cert"


def pool_manifests(*pools: AddressPool) -> list[dict[str, Any]]:
    """An IPAddressPool with the cluster's addresses and the L2Advertisement that announces it.

    Args:
        pools: one of each family.
    """
    return [
        {
            "apiVersion": "metallb.io/v1beta1",
            "kind": "IPAddressPool",
            "metadata": {"name": "load-balancers", "namespace": NAMESPACE},
            "spec": {"addresses": [*map(str, pools)]},
        },
        {
            "apiVersion": "metallb.io/v1beta1",
            "kind": "L2Advertisement",
            "metadata": {"name": "load-balancers", "namespace": NAMESPACE},
            "spec": {"ipAddressPools": ["load-balancers"]},
        },
    ]


def with_webhook_certificate(manifest: dict[str, Any]) -> dict[str, Any]:
    """The manifest, with a certificate if it is the empty Secret of MetalLB's webhook.

    MetalLB fills the Secret itself, but then waits until its kubelet has updated the mounted files,
    which takes up to a minute.
    """
    if (manifest["kind"], manifest["metadata"]["name"]) != ("Secret", _SECRET):
        return manifest
    authority = ClusterAuthority("metallb-ca", names=[_AUTHORITY], make_key=rsa_key)
    server = authority.issue("metallb-webhook", names=[_SERVICE])
    files = {
        "ca.crt": authority.credential.certificate_pem,
        "ca.key": authority.credential.key_pem,
        "tls.crt": server.certificate_pem,
        "tls.key": server.key_pem,
    }
    data = {name: base64.b64encode(content).decode() for name, content in files.items()}
    return {**manifest, "data": data}
