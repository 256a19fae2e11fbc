"""What an embedded cluster needs besides Kubernetes itself: DNS and load balancers.

Most of it is the same in every cluster and stored in the prepared control plane; the rest carries
addresses of one cluster and is created when that cluster boots.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import yaml

from mesh_fixtures.artifacts.build import Artifacts
from mesh_fixtures.lab import load_balancer
from mesh_fixtures.lab.addressing import ClusterAddresses, NodeAddresses, locality_labels
from mesh_fixtures.lab.netns.coredns import dns_manifests

Manifest = dict[str, Any]

_WEBHOOK = "ValidatingWebhookConfiguration"
_OF_ONE_CLUSTER = ("Namespace", "ConfigMap", "Secret", "Service")
_WORKLOADS = ("DaemonSet", "Deployment")


@dataclass(frozen=True)
class AddOns:
    """Manifests of the add-ons, in the order in which they can be created.

    Attributes:
        nodes: to be applied, as a kubelet may have registered its own first.
        definitions: CustomResourceDefinitions.
        shared: the same in every cluster.
        of_cluster: with addresses of the cluster or, like namespaces, with an identity of its own.
    """

    nodes: tuple[Manifest, ...]
    definitions: tuple[Manifest, ...]
    shared: tuple[Manifest, ...]
    of_cluster: tuple[Manifest, ...]


def add_ons(artifacts: Artifacts, cluster: ClusterAddresses) -> AddOns:
    """The add-ons of a cluster.

    Workloads come after what they mount, because a kubelet looks for a missing volume again and
    again only after longer and longer pauses. MetalLB's pool comes before MetalLB's webhook, which
    would refuse it until it serves.
    """
    metallb = [m for m in yaml.safe_load_all(artifacts.metallb_manifest.read_text()) if m]
    dns = dns_manifests(artifacts.coredns_image, cluster.dns_services, cluster.domain)
    everything = [*metallb, *dns]
    definitions = _of_kinds(everything, ["CustomResourceDefinition"])
    own = [
        load_balancer.with_webhook_certificate(manifest)
        for kind in _OF_ONE_CLUSTER
        for manifest in _of_kinds(everything, [kind])
    ]
    workloads = _of_kinds(everything, _WORKLOADS)
    webhooks = _of_kinds(everything, [_WEBHOOK])
    apart = ("CustomResourceDefinition", *_OF_ONE_CLUSTER, *_WORKLOADS, _WEBHOOK)
    return AddOns(
        nodes=tuple(map(node_manifest, cluster.nodes)),
        definitions=definitions,
        shared=tuple(m for m in everything if m["kind"] not in apart),
        of_cluster=(
            *own,
            *workloads,
            *load_balancer.pool_manifests(*cluster.pools),
            *webhooks,
        ),
    )


def node_manifest(node: NodeAddresses) -> Manifest:
    """What the lab decides about a node: its pod CIDR and labels, and its addresses, so that
    kube-proxy need not wait for the kubelet to register it.
    """
    labels = {"kubernetes.io/hostname": node.name, "kubernetes.io/os": "linux"}
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": node.name, "labels": labels | locality_labels(node.locality)},
        "spec": {"podCIDR": str(node.pod_cidr), "podCIDRs": [*map(str, node.pod_cidrs)]},
        "status": {
            "addresses": [
                *({"type": "InternalIP", "address": str(each)} for each in node.addresses),
                {"type": "Hostname", "address": node.name},
            ]
        },
    }


def _of_kinds(manifests: Sequence[Manifest], kinds: Sequence[str]) -> tuple[Manifest, ...]:
    return tuple(m for m in manifests if m["kind"] in kinds)
