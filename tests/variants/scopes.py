"""Services that leave their clusters only where they are to, and names that only proxies know."""

from __future__ import annotations

from typing import Final

from tests.faults.control_planes import cluster_local, exporting_everything
from tests.faults.topologies import DNS_PROXYING, MCS, TWO_NETWORKS
from tests.variants.variant import Variant, as_it_is

_KEPT: Final = "*.sample.svc.cluster.local"

VARIANTS: Final = (
    Variant(
        id="services-kept-in-one-cluster",
        mesh="Of two mesh configurations, that of cluster2 keeps a namespace within its cluster.",
        topology=TWO_NETWORKS,
        make=cluster_local(_KEPT),
        applies=("SCOPE-1",),
        notes=(
            (
                f"SCOPE-1: cluster1: its istiod does not keep {_KEPT} within each cluster, that of "
                "cluster2 does"
            ),
        ),
    ),
    Variant(
        id="dns-proxying",
        mesh="Proxies answer DNS queries for what the mesh has.",
        topology=DNS_PROXYING,
        make=as_it_is,
        applies=("SCOPE-1", "SCOPE-2"),
    ),
    Variant(
        id="services-exported",
        mesh="Clusters know only services of each other that are exported.",
        topology=MCS,
        make=as_it_is,
        applies=("SCOPE-2", "MCS-1"),
        notes=("MCS-1: nothing makes ServiceImports of what is exported",),
    ),
    Variant(
        id="services-exported-by-istiod",
        mesh="Every istiod exports all services by itself.",
        topology=MCS,
        make=exporting_everything,
        applies=("SCOPE-2", "MCS-1"),
        notes=("MCS-1: nothing makes ServiceImports of what is exported",),
    ),
)
