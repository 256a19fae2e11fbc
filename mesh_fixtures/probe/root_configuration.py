"""Configuration that holds for a whole mesh, as it is in its root namespace.

Source: Istio, Global Mesh Options (rootNamespace); DestinationRule.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from mesh_fixtures.errors import NotPermitted
from mesh_fixtures.kube import Configuration, KubeClient, Resource
from mesh_fixtures.kube.objects import Json
from mesh_fixtures.kube.resources import DESTINATION_RULES
from mesh_fixtures.probe.service_scopes import deciding


def configuration_of_root(
    kube: KubeClient, kind: Resource[Configuration]
) -> Sequence[Configuration]:
    """Configuration of the root namespace; none where it may not be read.

    Raises:
        ProbeError: the API server cannot be asked.
    """
    try:
        return kube.list(kind, kube.names.root_namespace)
    except NotPermitted:
        return ()


def client_tls(kube: KubeClient, host: str) -> Json:
    """The TLS settings that a rule of the whole mesh has clients use for a host; empty where none
    says anything of it. A rule of the host's own namespace takes the place of the whole of that
    one, and has to repeat them (source: Istio, DestinationRule).

    Raises:
        ProbeError: as `configuration_of_root`.
    """
    return tls_in(configuration_of_root(kube, DESTINATION_RULES), host)


def tls_in(rules: Iterable[Configuration], host: str) -> Json:
    """The TLS settings for a host in the rules of a root namespace."""
    policies = {
        str(each.spec.get("host", "")): each.spec.get("trafficPolicy") or {}
        for each in rules
        if not each.spec.get("workloadSelector")
    }
    tls: Json = policies.get(deciding(policies, host), {}).get("tls") or {}
    return tls
