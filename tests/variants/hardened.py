"""Hardened meshes that use what is beyond the guide: DNS proxying, exported services, regions.

They are as strict as Istio's settings allow at once: only mutual TLS, nothing allowed, known or
reached that is not named, and a rule of the whole mesh that limits connections, ejects failing
servers and prefers nobody.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from mesh_fixtures.install import names
from tests.faults import mesh_configuration
from tests.faults.policies import applied, policy
from tests.faults.target import Target
from tests.faults.topologies import DNS_PROXYING, MCS, TWO_REGIONS
from tests.variants.policies import (
    ALLOW_NOTHING,
    CONTROL_PLANE_ONLY,
    ENCRYPTED_ONLY,
    EXPORTED_TO_NOBODY,
    GATEWAYS_ALLOWED,
    REGISTERED_ONLY,
)
from tests.variants.variant import Variant

_OWN: Final = "AUTHZ-1: AuthorizationPolicy mesh-conformance-"
"""What allows requests is the run's own policy, and not `allow-nothing`."""

_WITHOUT_PREFERENCE: Final = {"localityLbSetting": {"enabled": False}}

LIMITED: Final = policy(
    "networking",
    "DestinationRule",
    "limited",
    host="*.local",
    trafficPolicy={
        "tls": {"mode": "ISTIO_MUTUAL"},
        "loadBalancer": {"simple": "ROUND_ROBIN"},
        "connectionPool": {
            "tcp": {"maxConnections": 20, "connectTimeout": "5s"},
            "http": {"http1MaxPendingRequests": 20, "maxRequestsPerConnection": 10},
        },
        "outlierDetection": {"consecutive5xxErrors": 5, "interval": "10s"},
    },
)


@contextmanager
def restricted(target: Target) -> Iterator[None]:
    """All of it at once."""
    clusters = [each.name for each in target.scenario.primaries]
    policies = (ENCRYPTED_ONLY, GATEWAYS_ALLOWED, ALLOW_NOTHING, CONTROL_PLANE_ONLY, LIMITED)
    settings = {**EXPORTED_TO_NOBODY, **REGISTERED_ONLY, **_WITHOUT_PREFERENCE}
    with (
        applied(target, clusters, *policies, namespace=names.SYSTEM_NAMESPACE),
        mesh_configuration.changed(target, settings),
    ):
        yield


VARIANTS: Final = (
    Variant(
        id="hardened-with-dns-proxying",
        mesh="A hardened mesh whose proxies answer DNS queries.",
        topology=DNS_PROXYING,
        make=restricted,
        applies=("SCOPE-1", "SCOPE-2", "AUTHZ-1"),
        notes=(_OWN,),
    ),
    Variant(
        id="hardened-with-exports",
        mesh="A hardened mesh whose clusters know only services of each other that are exported.",
        topology=MCS,
        make=restricted,
        applies=("SCOPE-2", "MCS-1", "AUTHZ-1"),
        notes=(_OWN,),
    ),
    Variant(
        id="hardened-with-regions",
        mesh="A hardened mesh whose clusters are in different regions.",
        topology=TWO_REGIONS,
        make=restricted,
        applies=("LOCALITY-2", "AUTHZ-1"),
        notes=(_OWN,),
    ),
)
