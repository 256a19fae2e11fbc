"""All variants: what is unusual, of which topology it is made, and what must be said of it."""

from __future__ import annotations

from typing import Final

from tests.variants import gateways, needs, proxies
from tests.variants.variant import Variant

VARIANTS: Final[tuple[Variant, ...]] = (
    *gateways.VARIANTS,
    *needs.VARIANTS,
    *proxies.VARIANTS,
)
