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
from mesh_fixtures.lab.addressing import ClusterAddresses
from mesh_fixtures.lab.netns.coredns import dns_manifests

Manifest = dict[str, Any]

_WEBHOOK = "ValidatingWebhookConfiguration"
_OF_ONE_CLUSTER = ("Namespace", "ConfigMap", "Secret", "Service")


@dataclass(frozen=True)
class AddOns:
    """Manifests of the add-ons, in the order in which they can be created.

    Attributes:
        definitions: CustomResourceDefinitions.
        shared: the same in every cluster.
        of_cluster: with addresses of the cluster or, like namespaces, with an identity of its own.
    """

    definitions: tuple[Manifest, ...]
    shared: tuple[Manifest, ...]
    of_cluster: tuple[Manifest, ...]


def add_ons(artifacts: Artifacts, cluster: ClusterAddresses) -> AddOns:
    """The add-ons of a cluster.

    MetalLB's pool comes before MetalLB's webhook, which would refuse it until it serves.
    """
    metallb = [m for m in yaml.safe_load_all(artifacts.metallb_manifest.read_text()) if m]
    everything = [*metallb, *dns_manifests(artifacts.coredns_image, cluster.dns_service)]
    definitions = _of_kinds(everything, ["CustomResourceDefinition"])
    own = [manifest for kind in _OF_ONE_CLUSTER for manifest in _of_kinds(everything, [kind])]
    webhooks = _of_kinds(everything, [_WEBHOOK])
    apart = (*definitions, *own, *webhooks)
    return AddOns(
        definitions=definitions,
        shared=tuple(m for m in everything if m not in apart),
        of_cluster=(*own, *load_balancer.pool_manifests(cluster.pool), *webhooks),
    )


def _of_kinds(manifests: Sequence[Manifest], kinds: Sequence[str]) -> tuple[Manifest, ...]:
    return tuple(m for m in manifests if m["kind"] in kinds)
