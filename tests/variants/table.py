"""All variants: what is unusual, of which topology it is made, and what must be said of it."""

from __future__ import annotations

from typing import Final

from tests.variants import (
    clusters,
    cni_plugin,
    connections,
    control_planes,
    distance,
    distributions,
    gateway_addresses,
    gateways,
    generated_policies,
    hardened,
    names,
    needs,
    neighbours,
    node_ports,
    policies,
    proxies,
    remote_secrets,
    revisions,
    routing,
    scopes,
    spire,
    terminated,
    trust,
)
from tests.variants.variant import Variant

VARIANTS: Final[tuple[Variant, ...]] = (
    *clusters.VARIANTS,
    *cni_plugin.VARIANTS,
    *connections.VARIANTS,
    *control_planes.VARIANTS,
    *distance.VARIANTS,
    *distributions.VARIANTS,
    *gateway_addresses.VARIANTS,
    *gateways.VARIANTS,
    *generated_policies.VARIANTS,
    *hardened.VARIANTS,
    *names.VARIANTS,
    *needs.VARIANTS,
    *neighbours.VARIANTS,
    *node_ports.VARIANTS,
    *policies.VARIANTS,
    *proxies.VARIANTS,
    *remote_secrets.VARIANTS,
    *revisions.VARIANTS,
    *routing.VARIANTS,
    *scopes.VARIANTS,
    *spire.VARIANTS,
    *terminated.VARIANTS,
    *trust.VARIANTS,
)
