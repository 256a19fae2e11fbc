"""Networks that have names of their own and are joined without gateways.

Source: Istio, Deployment Models (Network models); pilot, `EndpointsByNetworkFilter`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from mesh_fixtures.install import ids, names
from mesh_fixtures.install.exposure import services_manifest
from tests.faults.table import TWO_NETWORKS
from tests.faults.target import Target, references
from tests.faults.underlay import PROVIDER, not_isolated
from tests.variants.reinstallation import without_gateway
from tests.variants.variant import Variant


@contextmanager
def routed(target: Target) -> Iterator[None]:
    """Pods are routed between the networks, as in peered ones; no cluster has a gateway, nor what
    passes services on by one.
    """
    clusters = [each.name for each in target.scenario.clusters]
    with not_isolated(target):
        try:
            for name in clusters:
                target.delete(name, names.SYSTEM_NAMESPACE, *references(services_manifest()))
                without_gateway(target, name)
            yield
        finally:
            steps = (ids.gateway, ids.gateway_address, ids.expose_services)
            target.run_steps(
                target.installation, *(each(name) for each in steps for name in clusters)
            )


VARIANTS: Final = (
    Variant(
        id="routed-networks-without-gateways",
        mesh="Each cluster is on a network of its own name without a gateway; pods are routed.",
        topology=TWO_NETWORKS,
        make=routed,
        notes=(
            "GATEWAY-1: istiod advertises no gateway of network1: clients on other networks reach",
            "TRAFFIC-3: network2 has no gateway for requests to pass through",
            "pods of cluster1 reach those of cluster2 past its gateways, too",
        ),
        provider=PROVIDER,
    ),
)
