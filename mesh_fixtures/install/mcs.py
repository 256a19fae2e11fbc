"""Multi-Cluster Services (MCS): what has istiods take part in it, and the kinds that it needs.

With `ENABLE_MCS_SERVICE_DISCOVERY`, an istiod gives its proxies endpoints of another cluster only
of those services that a ServiceExport there exports. With `ENABLE_MCS_HOST`, they know a service by
`NAME.NAMESPACE.svc.clusterset.local`, too, where there is a ServiceImport with an address.

Sources: Istio, pilot-discovery (environment variables; experimental); KEP-1645, Multi-Cluster
Services API.
"""

from __future__ import annotations

from typing import Final

from mesh_fixtures.contract import MCS_DEFINITIONS
from mesh_fixtures.install import names
from mesh_fixtures.install.clusters import kinds_defined
from mesh_fixtures.install.method import Recipe

_GROUP: Final = "multicluster.x-k8s.io"
_DEFINITIONS: Final = ("serviceexports", "serviceimports")


def definitions(cluster: str) -> Recipe:
    """Define ServiceExports and ServiceImports."""
    folder = names.reference(MCS_DEFINITIONS)
    files = [f"{folder}/{_GROUP}_{each}.yaml" for each in _DEFINITIONS]
    return kinds_defined(cluster, files, [f"{each}.{_GROUP}" for each in _DEFINITIONS])
