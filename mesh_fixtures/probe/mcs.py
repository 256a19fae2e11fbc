"""What istiods are told of Multi-Cluster Services.

Source: Istio, pilot-discovery (environment variables; all of them experimental).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from mesh_fixtures.install.names import MCS_CLUSTER_LOCAL, MCS_DISCOVERY, MCS_HOST
from mesh_fixtures.kube import KubeClient
from mesh_fixtures.kube.resources import SERVICE_EXPORTS
from mesh_fixtures.probe.istiod import CONTAINER, istiods
from mesh_fixtures.probe.variables import is_on

CLUSTER_SET: Final = "clusterset.local"
"""Domain of services' names in the cluster set (KEP-1645), which Istio has no setting for."""

_AUTO_EXPORT: Final = "ENABLE_MCS_AUTO_EXPORT"
_GROUP: Final = "MCS_API_GROUP"


@dataclass(frozen=True)
class MCSSettings:
    """What an istiod does with exported services.

    Attributes:
        discovery: whether its proxies get endpoints of another cluster only of services that are
            exported there.
        host: whether they know services by their names in the cluster set, too.
        cluster_local: whether the names of Kubernetes stand for endpoints of the client's cluster
            only.
        auto_export: whether it exports every service by itself.
        group: of the ServiceExports that it reads.
    """

    discovery: bool = False
    host: bool = False
    cluster_local: bool = False
    auto_export: bool = False
    group: str = SERVICE_EXPORTS.group

    @classmethod
    def read(cls, environment: Mapping[str, str]) -> MCSSettings:
        """Of the variables of an istiod; each but the last two counts only with the one before."""
        discovery = is_on(environment, MCS_DISCOVERY)
        host = discovery and is_on(environment, MCS_HOST)
        return cls(
            discovery,
            host,
            host and is_on(environment, MCS_CLUSTER_LOCAL),
            is_on(environment, _AUTO_EXPORT),
            environment.get(_GROUP) or SERVICE_EXPORTS.group,
        )


def mcs_settings(kube: KubeClient) -> Mapping[str, MCSSettings]:
    """Those of each serving istiod in a cluster, by the name of its pod.

    Raises:
        ProbeError: the API server cannot be asked.
    """
    found = {each.name: each.container(CONTAINER) for each in istiods(kube) if each.serving}
    return {
        name: MCSSettings.read(container.env)
        for name, container in found.items()
        if container is not None
    }
