"""Guide: Configure Trust. A namespace and the cluster's own intermediate CA, before istiod."""

from __future__ import annotations

from typing import Final

from mesh_fixtures.install import ids, names
from mesh_fixtures.install.certificates import CACERTS, CLUSTER_FILES, FOLDER
from mesh_fixtures.install.step import Command, Step

SECTION: Final = "Configure Trust"


def steps(cluster: str) -> tuple[Step, ...]:
    """Create istio-system and its secret `cacerts`
    (source: Istio, Plug in CA Certificates).
    """
    namespace = names.SYSTEM_NAMESPACE
    sources = tuple(f"--from-file={FOLDER}/{cluster}/{file}" for file in CLUSTER_FILES)
    secret = names.system_kubectl(cluster, "create", "secret", "generic", CACERTS, *sources)
    return (
        Step(
            id=ids.system_namespace(cluster),
            cluster=cluster,
            section=SECTION,
            title=f"Create the namespace {namespace} in {cluster}",
            needs=(),
            commands=(Command(names.kubectl(cluster, "create", "namespace", namespace)),),
            deadline=30,
            observe=(names.kubectl(cluster, "get", "namespaces"),),
        ),
        Step(
            id=ids.cacerts(cluster),
            cluster=cluster,
            section=SECTION,
            title=f"Give {cluster} its intermediate certificate of the common root",
            needs=(ids.system_namespace(cluster),),
            commands=(Command(secret),),
            deadline=30,
            observe=(names.system_kubectl(cluster, "get", "secrets"),),
        ),
    )
