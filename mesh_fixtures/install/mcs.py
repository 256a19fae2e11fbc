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
from mesh_fixtures.install.method import Recipe
from mesh_fixtures.install.step import Command

_GROUP: Final = "multicluster.x-k8s.io"
_DEFINITIONS: Final = ("serviceexports", "serviceimports")
_DEFINED_SECONDS: Final = 30


def definitions(cluster: str) -> Recipe:
    """Define ServiceExports and ServiceImports."""
    folder = names.reference(MCS_DEFINITIONS)
    kinds = [f"{each}.{_GROUP}" for each in _DEFINITIONS]
    files = [word for each in _DEFINITIONS for word in ("-f", f"{folder}/{_GROUP}_{each}.yaml")]
    established = ("--for=condition=Established", *(f"crd/{each}" for each in kinds))
    return Recipe(
        (
            Command(names.kubectl(cluster, "apply", "--server-side", *files)),
            Command(names.kubectl(cluster, "wait", *established, f"--timeout={_DEFINED_SECONDS}s")),
        ),
        {},
        (names.kubectl(cluster, "get", "crd"),),
    )
