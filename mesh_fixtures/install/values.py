"""What Istio is told of each cluster, the same whatever installs it: values of its charts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from mesh_fixtures.images import ImageSet
from mesh_fixtures.install import names
from mesh_fixtures.scenario import Scenario

READINESS_PERIOD: Final = 1
"""Seconds between readiness probes of a proxy. By Istio's default of 15, a gateway that is asked a
moment before it is ready keeps its installation waiting for that long."""

REMOTE_PROFILE: Final = "remote"
"""Istio's profile of a cluster whose istiod runs elsewhere."""

Values = Mapping[str, Any]


def primary(scenario: Scenario, cluster: str, images: ImageSet) -> dict[str, Any]:
    """Values of a primary's istiod (guide: Configure cluster1 as a primary)."""
    own: dict[str, dict[str, Any]] = {
        "global": {
            "meshID": scenario.mesh_id,
            "multiCluster": {"clusterName": cluster},
            "network": scenario.cluster(cluster).network,
            "imagePullPolicy": images.pull_policy,
            "proxy": {"readinessPeriodSeconds": READINESS_PERIOD},
        }
    }
    if scenario.exposes_istiod(cluster):
        own["global"]["externalIstiod"] = True
    return merged(images.istio_values, own)


def remote(scenario: Scenario, cluster: str, images: ImageSet) -> dict[str, Any]:
    """Values of a remote, which go with `REMOTE_PROFILE`; they refer to its primary's discovery
    address.

    Cluster and network reach the proxies by the injection path
    (source: Istio, Install Primary-Remote).
    """
    spec = scenario.cluster(cluster)
    address = names.discovery_address_variable(scenario.control_plane_of(cluster))
    own = {
        "istiodRemote": {"injectionPath": f"/inject/cluster/{cluster}/net/{spec.network}"},
        "global": {
            "remotePilotAddress": names.reference(address),
            "imagePullPolicy": images.pull_policy,
        },
    }
    inherited = {key: value for key, value in images.istio_values.items() if key != "pilot"}
    return merged(inherited, own)


def merged(base: Values, over: Values) -> dict[str, Any]:
    """Both nested mappings in one; where both have a value, the second's."""
    result = dict(base)
    for key, value in over.items():
        below = result.get(key)
        if isinstance(below, Mapping) and isinstance(value, Mapping):
            result[key] = merged(below, value)
        else:
            result[key] = value
    return result
