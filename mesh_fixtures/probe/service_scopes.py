"""Which hosts istiods keep within each cluster, which endpoints of them proxies hold, and to whom
services are known that do not say it themselves.

A host that the mesh configuration declares local to clusters has for clients in a cluster only the
endpoints of that cluster. istiod decides so for the proxies that it configures. Some hosts are
local by default: those of kube-system, `kubernetes.default`, and istiod itself.
Source: Istio, Multi-cluster Traffic Management (Keeping traffic in-cluster); Global Mesh Options
(ServiceSettings, defaultServiceExportTo); `pilot/pkg/model` (ClusterLocalHosts); Envoy,
Administration interface.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import quote

from mesh_fixtures.addresses import target_host
from mesh_fixtures.kube import KubeClient, Pod, Source
from mesh_fixtures.probe.answers import answer_in, readable
from mesh_fixtures.probe.envoy import admin, targets_by_cluster
from mesh_fixtures.probe.istiod import MESH_PATH, debug, of_each
from mesh_fixtures.probe.mesh_configuration import WANTED
from mesh_fixtures.probe.shards import PATH as SHARDS_PATH
from mesh_fixtures.probe.shards import Addresses, read_addresses
from mesh_fixtures.probe.workloads import DEFAULT_DISCOVERY

_OUTBOUND: Final = re.compile(r"outbound\|\d+\|[^|]*\|(.+)|outbound_\.\d+_\.[^.]*_\.(.+)")
"""Names of Envoy clusters by which sidecars reach a host, and by which gateways pass it on."""

EVERYWHERE: Final = ("*",)
"""Namespaces that services are exported to, where nothing says otherwise."""

_EXPORTS: Final[Mapping[str, str]] = {
    "*": "everywhere",
    ".": "in their own namespace",
    "~": "nowhere",
}
"""Whether services are known, by a namespace of `exportTo` (Istio: Global Mesh Options)."""

EXPORT_OBJECT: Final = "MeshConfig//defaultServiceExportTo"
"""What findings and causes say that they are about, where it is that setting."""

Settings = Mapping[str, bool]
"""Whether a host is local to clusters, by its name or pattern (`*`, `*.kube-system.svc...`)."""


@dataclass(frozen=True)
class ServiceScopes:
    """What one istiod keeps within each cluster.

    Attributes:
        source: how its mesh configuration is asked for.
        istiod: name of the pod.
        configured: by the mesh configuration.
        settings: those, and the defaults.
        addresses: of all endpoints that it holds, by host and cluster.
        exported_to: namespaces that services without exportTo are known in.
    """

    source: Source
    istiod: str
    configured: Settings
    settings: Settings
    addresses: Addresses
    exported_to: tuple[str, ...] = EVERYWHERE

    def keeps(self, host: str) -> bool:
        """Whether a host, or each that a pattern is for, is local to clusters."""
        return keeps(self.settings, host)

    @property
    def patterns(self) -> frozenset[str]:
        """Of hosts that may be local; more specific ones that are not local are excepted."""
        return frozenset(pattern for pattern, local in self.settings.items() if local)


def keeps(settings: Settings, host: str) -> bool:
    """Whether settings make a host local to clusters."""
    pattern = deciding(settings, host)
    return bool(pattern) and settings[pattern]


def deciding(settings: Iterable[str], host: str) -> str:
    """The pattern that decides on a host: the most specific that matches it; empty for none."""
    matching = [
        pattern
        for pattern in settings
        if pattern == host or (pattern.startswith("*") and host.endswith(pattern[1:]))
    ]
    return max(matching, key=lambda each: (each == host, len(each)), default="")


def settings_in(mesh: Any) -> Settings:
    """Those of a mesh configuration; of equal hosts, the last counts.

    Source: Istio, Global Mesh Options, ServiceSettings.

    Raises:
        AttributeError, TypeError: it is none.
    """
    return {
        str(host): bool((each.get("settings") or {}).get("clusterLocal"))
        for each in mesh.get("serviceSettings") or ()
        for host in each.get("hosts") or ()
    }


def exported_to(mesh: Any) -> tuple[str, ...]:
    """Namespaces that a mesh configuration exports services to that do not say it themselves.

    Source: Istio, Global Mesh Options, defaultServiceExportTo.

    Raises:
        AttributeError, TypeError: it is none.
    """
    return tuple(sorted({str(each) for each in mesh.get("defaultServiceExportTo") or EVERYWHERE}))


def known_where(namespaces: Iterable[str]) -> str:
    """Where services are known that are exported to some namespaces, in words."""
    each = [_EXPORTS.get(name, f"in {name}") for name in namespaces]
    return " and ".join(each)


def differing(
    settings: Mapping[str, Settings], patterns: Iterable[str]
) -> Mapping[str, Mapping[str, bool]]:
    """Patterns that some control planes keep within each cluster and others do not.

    Args:
        settings: of each control plane, by its name, with the defaults.
        patterns: that any of them is configured with.

    Returns:
        Whether it does, by pattern and control plane.
    """
    decisions = {
        pattern: {name: keeps(own, pattern) for name, own in settings.items()}
        for pattern in sorted({*patterns})
    }
    return {
        pattern: decided for pattern, decided in decisions.items() if len({*decided.values()}) > 1
    }


def host_object(pattern: str) -> str:
    """What findings and causes say that they are about, where it is hosts of a pattern."""
    return f"Host//{pattern}"


def with_defaults(
    configured: Settings, cluster_domain: str, discovery: str = DEFAULT_DISCOVERY
) -> Settings:
    """Settings with those of hosts that are local unless the configuration says otherwise of them.

    Args:
        discovery: `host:port` at which proxies find istiod.
    """
    istiod = target_host(discovery)
    known = (
        f"*.kube-system.svc.{cluster_domain}",
        f"kubernetes.default.svc.{cluster_domain}",
        istiod if istiod.endswith(cluster_domain) else f"{istiod}.{cluster_domain}",
    )
    shared = [host for host, local in configured.items() if not local]
    defaults = {
        pattern: True
        for pattern in known
        if not any(
            host == pattern or (pattern.startswith("*") and host.endswith(pattern[1:]))
            for host in shared
        )
    }
    return {**defaults, **configured}


def service_scopes(kube: KubeClient) -> tuple[ServiceScopes, ...]:
    """What each ready istiod in a cluster keeps within clusters; empty without any istiod.

    Raises:
        ProbeError: one of them did not answer, or not as istiod does.
    """
    return of_each(kube, lambda pod: _asked(kube, pod))


def _asked(kube: KubeClient, pod: Pod) -> ServiceScopes:
    mesh, held = debug(kube, pod, MESH_PATH), debug(kube, pod, SHARDS_PATH)
    return read_scopes(
        mesh.source,
        pod.name,
        kube.names.cluster_domain,
        mesh.text,
        read_addresses(held.source, held.text),
    )


def read_scopes(
    source: Source, istiod: str, cluster_domain: str, mesh: str, addresses: Addresses
) -> ServiceScopes:
    """Read an istiod's answer to `/debug/mesh`.

    Raises:
        ProbeError: it is none.
    """
    with readable(source, mesh, WANTED):
        configuration = answer_in(mesh)
        configured = settings_in(configuration)
        exported = exported_to(configuration)
        proxies = configuration.get("defaultConfig") or {}
        discovery = str(proxies.get("discoveryAddress") or DEFAULT_DISCOVERY)
    settings = with_defaults(configured, cluster_domain, discovery)
    return ServiceScopes(source, istiod, configured, settings, addresses, exported)


@dataclass(frozen=True)
class HeldHosts:
    """Endpoints of some hosts in a proxy, as `address:port`, by host."""

    source: Source
    targets: Mapping[str, frozenset[str]]


def held_hosts(kube: KubeClient, pod: Pod, patterns: Collection[str]) -> HeldHosts:
    """Endpoints of the hosts that some patterns are for, in a pod's proxy.

    Raises:
        ProbeError: the proxy did not answer, or not as Envoy does.
    """
    path = f"clusters?format=json&filter={quote(name_filter(patterns), safe='')}"
    source, answer = admin(kube, pod, path)
    return HeldHosts(source, by_host(targets_by_cluster(source, answer)))


def name_filter(patterns: Iterable[str]) -> str:
    """Expression for the names of Envoy clusters of the hosts that patterns are for."""
    ends = sorted(
        re.escape(each[1:]) if each.startswith("*") else rf"[|.]{re.escape(each)}"
        for each in patterns
    )
    return f"^outbound.*({'|'.join(ends)})$"


def by_host(clusters: Mapping[str, Iterable[str]]) -> Mapping[str, frozenset[str]]:
    """Targets of Envoy clusters by the host that these are for; without those of no host."""
    found: dict[str, set[str]] = {}
    for name, targets in clusters.items():
        if match := _OUTBOUND.fullmatch(name):
            found.setdefault(match[1] or match[2], set()).update(targets)
    return {host: frozenset(targets) for host, targets in found.items()}
