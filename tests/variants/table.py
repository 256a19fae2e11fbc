"""All variants: what is unusual, of which topology it is made, and what must be said of it."""

from __future__ import annotations

from typing import Final

from tests.variants import (
    clusters,
    cni_plugin,
    connections,
    control_planes,
    distance,
    gateways,
    names,
    needs,
    neighbours,
    policies,
    proxies,
    remote_secrets,
    routing,
    scopes,
    spire,
    trust,
)
from tests.variants.variant import Variant

VARIANTS: Final[tuple[Variant, ...]] = (
    *clusters.VARIANTS,
    *cni_plugin.VARIANTS,
    *connections.VARIANTS,
    *control_planes.VARIANTS,
    *distance.VARIANTS,
    *gateways.VARIANTS,
    *names.VARIANTS,
    *needs.VARIANTS,
    *neighbours.VARIANTS,
    *policies.VARIANTS,
    *proxies.VARIANTS,
    *remote_secrets.VARIANTS,
    *routing.VARIANTS,
    *scopes.VARIANTS,
    *spire.VARIANTS,
    *trust.VARIANTS,
)
