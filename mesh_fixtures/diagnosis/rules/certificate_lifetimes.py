"""Certificates of proxies that expire so soon that the mesh cannot do without istiod.

Source: Istio, pilot-agent (SECRET_TTL, SECRET_GRACE_PERIOD_RATIO), Security (identity and
certificate management).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from mesh_fixtures.diagnosis.cause import Case, Cause, Evidence, Kind, Layer, listed

SHORT = Kind("certificates-short-lived", Layer.TRUST, ("RESILIENCE-3",), alone=True)

DATED_BACK_SECONDS: Final = 120.0
"""By which istiod dates certificates back, for clocks that are late."""

SHORT_SECONDS: Final = 900.0
"""Less than it takes to bring an istiod back by hand. Istio's default is a day."""


def short_lived(case: Case) -> Iterator[Cause]:
    for spec, facts in case.clusters:
        short = {
            proxy.pod: (proxy.lifetime - DATED_BACK_SECONDS, proxy.source)
            for proxy in facts.proxies or ()
            if proxy.lifetime is not None and proxy.lifetime - DATED_BACK_SECONDS < SHORT_SECONDS
        }
        if short:
            least = min(seconds for seconds, _ in short.values())
            yield Cause(
                SHORT,
                (spec.name,),
                f"certificates of proxies in {spec.name} last for {least:.0f} s: when istiod is "
                f"down for longer, {listed(short)} can reach nothing and is reached by nobody",
                tuple(
                    Evidence(f"{pod}: certificates that last for {seconds:.0f} s", source)
                    for pod, (seconds, source) in short.items()
                ),
                "let them last for hours: remove SECRET_TTL from the proxies' metadata "
                "(annotation proxy.istio.io/config, or meshConfig.defaultConfig.proxyMetadata)",
                certainty="likely",
            )


RULES = (short_lived,)
