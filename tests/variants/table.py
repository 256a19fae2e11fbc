"""All variants: what is unusual, of which topology it is made, and what must be said of it."""

from __future__ import annotations

from typing import Final

from tests.variants import (
    clusters,
    control_planes,
    gateways,
    names,
    needs,
    policies,
    proxies,
    routing,
    scopes,
    trust,
)
from tests.variants.variant import Variant

VARIANTS: Final[tuple[Variant, ...]] = (
    *clusters.VARIANTS,
    *control_planes.VARIANTS,
    *gateways.VARIANTS,
    *names.VARIANTS,
    *needs.VARIANTS,
    *policies.VARIANTS,
    *proxies.VARIANTS,
    *routing.VARIANTS,
    *scopes.VARIANTS,
    *trust.VARIANTS,
)
