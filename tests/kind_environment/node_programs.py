"""What a node runs beside the project's own programs, from Go modules."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from mesh_fixtures.artifacts.gobuild import Programs, kubernetes_settings

MODULES: Final = Path(__file__).parent / "go"

CRI_TOOLS: Final = "1.36.0"
"""Go module `sigs.k8s.io/cri-tools`."""


def kubeadm_and_crictl() -> Programs:
    """kubeadm, and crictl, by which kind asks nodes for their images."""
    version = {"sigs.k8s.io/cri-tools/pkg/version.Version": f"v{CRI_TOOLS}"}
    return Programs(
        "kind-node-programs",
        str(MODULES / "node"),
        {
            "kubeadm": "k8s.io/kubernetes/cmd/kubeadm",
            "crictl": "sigs.k8s.io/cri-tools/cmd/crictl",
        },
        kubernetes_settings() | version,
    )


def coredns() -> Programs:
    """CoreDNS with the plugins of kubeadm's Corefile, which are more than those of our own labs."""
    return Programs("kind-coredns", str(MODULES / "coredns"), {"coredns": "./cmd/coredns"})
