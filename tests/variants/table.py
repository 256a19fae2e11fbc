"""All variants: what is unusual, of which topology it is made, and what must be said of it."""

from __future__ import annotations

from typing import Final

from tests.variants import gateways, proxies, trust
from tests.variants.variant import Variant

VARIANTS: Final[tuple[Variant, ...]] = (
    *gateways.VARIANTS,
    *proxies.VARIANTS,
    *trust.VARIANTS,
)
