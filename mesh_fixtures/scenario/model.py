"""The schema of a scenario and its derived facts, for any number of clusters and networks."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from ipaddress import IPv4Network
from typing import Annotated, Final, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    model_validator,
)
from pydantic_core import PydanticCustomError

from mesh_fixtures.scenario.rules import contradictions

DNS_LABEL: Final = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"
_LABEL: Final = r"[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?"
LABEL_VALUE: Final = f"^{_LABEL}$"
"""Characters of a label's value, of which the key of a remote secret may have no other either."""

DOMAIN: Final = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$"
"""Characters of a domain in DNS."""

LOCALITY: Final = f"^{_LABEL}(/{_LABEL})?$"
"""A region, or a region and a zone, as Istio writes localities; each is the value of a label."""

CLUSTER_DOMAIN: Final = "cluster.local"
"""Domain of a cluster's Services by default (Kubernetes: DNS for Services and Pods)."""

IpFamily = Literal["IPv4", "IPv6"]
"""A family of IP addresses, as Kubernetes writes it in `ipFamilies` of Services."""

IPV4_ONLY: Final[tuple[IpFamily, ...]] = ("IPv4",)
"""The families of a topology that says nothing of them."""

DEFAULT_REVISION: Final = "default"
"""The revision of what was installed without one (source: Istio, Canary Upgrades)."""


def _of_its_own(revision: str) -> str:
    if revision == DEFAULT_REVISION:
        raise PydanticCustomError(
            "default_revision", "another name, or no such key for an installation without revision"
        )
    return revision


DnsLabel = Annotated[str, StringConstraints(pattern=DNS_LABEL, max_length=63)]
LabelValue = Annotated[str, StringConstraints(pattern=LABEL_VALUE, max_length=63)]
# It is part of the names of files.
ClusterName = Annotated[str, StringConstraints(pattern=LABEL_VALUE, max_length=200)]
Domain = Annotated[str, StringConstraints(pattern=DOMAIN, max_length=100)]
Locality = Annotated[str, StringConstraints(pattern=LOCALITY, max_length=127)]
# It is part of the names of Services.
Revision = Annotated[
    str, StringConstraints(pattern=DNS_LABEL, max_length=50), AfterValidator(_of_its_own)
]
VersionLabel = Annotated[str, StringConstraints(pattern=DNS_LABEL, max_length=40)]
Title = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=200)]
Role = Literal["primary", "remote", "external"]

SERVICES_PORT: Final = 15443
"""Port of an east-west gateway that passes service traffic between networks."""

ISTIOD_PORTS: Final = (15012, 15017)
"""Ports of an east-west gateway that pass discovery and the injection webhook to istiod."""

STATUS_PORT: Final = 15021
"""Port at which every proxy tells whether it is ready (Istio: Ports used by Istio)."""

MOST_NODES: Final = 50
"""Nodes that one cluster may have."""

FEATURES: Final = frozenset(
    {
        "single-network",
        "multi-network",
        "shared-network",
        "multi-primary",
        "primary-remote",
        "east-west-gateway",
        "multi-cluster",
        "three-or-more-clusters",
        "multi-node",
        "dns-proxying",
        "mcs",
        "locality",
        "region-per-network",
        "external-control-plane",
        "dual-stack",
    }
)
"""Every feature that a scenario can have."""


class _Spec(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)


class NetworkSpec(_Spec):
    """A network: within it pods reach each other, between networks they do not.

    Attributes:
        cidr: addresses of IPv4 of its nodes and load balancers; None lets the provider choose.
    """

    name: LabelValue
    cidr: IPv4Network | None = None


class ClusterSpec(_Spec):
    """A cluster of the mesh.

    Attributes:
        network: name of the network that its pods are on.
        role: `primary` has an istiod and workloads, `remote` workloads alone, and `external` an
            istiod alone, which serves remotes (source: Istio, Install Istio with an External
            Control Plane).
        primary: for a remote, the cluster whose istiod it uses; None for others.
        nodes: number of nodes.
        pod_cidr: of IPv4; None lets the provider choose.
        service_cidr: of IPv4; None lets the provider choose.
        helloworld: version of HelloWorld that the guide's check runs in it.
        locality: `region` or `region/zone` of its nodes; None where nothing is expected of it.
        node_localities: those of its first nodes, where they are in other zones.
    """

    name: ClusterName
    network: LabelValue
    role: Role
    primary: ClusterName | None = None
    nodes: int = Field(default=1, ge=1, le=MOST_NODES)
    pod_cidr: IPv4Network | None = Field(default=None, alias="podCIDR")
    service_cidr: IPv4Network | None = Field(default=None, alias="serviceCIDR")
    helloworld: VersionLabel
    locality: Locality | None = None
    node_localities: tuple[Locality, ...] = Field(default=(), alias="nodeLocalities")

    @property
    def is_primary(self) -> bool:
        """Whether an istiod of the mesh runs in it: as that of a primary, or as an external one."""
        return self.role != "remote"

    @property
    def is_external(self) -> bool:
        """Whether nothing of the mesh runs in it but the istiod of its remotes."""
        return self.role == "external"

    @property
    def region(self) -> str:
        """The region of its nodes; empty where none is declared."""
        return (self.locality or "").partition("/")[0]

    @property
    def localities(self) -> tuple[str, ...]:
        """The locality of each node; empty where none is declared."""
        rest = (self.locality or "",) * (self.nodes - len(self.node_localities))
        return (*self.node_localities, *rest)


@dataclass(frozen=True)
class RemoteSecretSpec:
    """Access to the API server of cluster `of`, for the istiod in cluster `installed_in`."""

    of: str
    installed_in: str


_DEFAULTS: Final[dict[str, object]] = {
    "others": [],
    "clusterDomain": CLUSTER_DOMAIN,
    "dnsProxying": False,
    "mcs": False,
    "revision": None,
    "ipFamilies": [*IPV4_ONLY],
}
_OF_CLUSTER: Final[dict[str, object]] = {"locality": None, "nodeLocalities": []}
"""Values of later keys that digests leave out: those of what says nothing of them."""


class Scenario(_Spec):
    """A mesh topology to install and verify. Clusters and networks are referred to by name.

    Attributes:
        id: name of its file without the suffix.
        mesh_id: value of Istio's `meshID`.
        networks: in the file's order.
        clusters: in the file's order.
        others: names of clusters that belong to the mesh as well, of which nothing is verified.
        cluster_domain: of Kubernetes' DNS, the same in all clusters.
        dns_proxying: whether proxies answer their pods' DNS queries for what the mesh has.
        mcs: whether other clusters know only those of a cluster's services that it exports
            (Multi-Cluster Services).
        revision: as which every istiod is installed; None for an installation without revision
            (source: Istio, Canary Upgrades).
        ip_families: of nodes, pods, services and gateways in all clusters, the primary one first;
            two are dual stack (source: Kubernetes, IPv4/IPv6 dual-stack).

    Raises:
        pydantic.ValidationError: a value is malformed, or values contradict each other.
    """

    id: DnsLabel
    title: Title
    mesh_id: LabelValue = Field(alias="mesh")
    networks: tuple[NetworkSpec, ...] = Field(min_length=1)
    clusters: tuple[ClusterSpec, ...] = Field(min_length=1)
    others: tuple[ClusterName, ...] = ()
    cluster_domain: Domain = Field(default=CLUSTER_DOMAIN, alias="clusterDomain")
    dns_proxying: bool = Field(default=False, alias="dnsProxying")
    mcs: bool = False
    revision: Revision | None = None
    ip_families: tuple[IpFamily, ...] = Field(
        default=IPV4_ONLY, alias="ipFamilies", min_length=1, max_length=2
    )

    @model_validator(mode="after")
    def _consistent(self) -> Scenario:
        found = contradictions(
            dict(enumerate(self.networks)),
            dict(enumerate(self.clusters)),
            others=self.others,
            revision=self.revision or "",
            ip_families=self.ip_families,
        )
        if found:
            raise ValueError("; ".join(str(defect) for defect in found))
        return self

    @property
    def digest(self) -> str:
        """SHA-256 (hex) of the content; the same for equal content in different notation."""
        content = self.model_dump(mode="json", by_alias=True, exclude={"id"})
        parts = [(content, _DEFAULTS), *((each, _OF_CLUSTER) for each in content["clusters"])]
        for part, defaults in parts:
            for name, default in defaults.items():
                if part[name] == default:  # as before there were any others
                    del part[name]
        canonical = json.dumps(content, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(canonical.encode()).hexdigest()

    def cluster(self, name: str) -> ClusterSpec:
        """The cluster of that name.

        Raises:
            KeyError: there is none.
        """
        for cluster in self.clusters:
            if cluster.name == name:
                return cluster
        raise KeyError(f"{name}: the clusters are {', '.join(c.name for c in self.clusters)}")

    def position(self, name: str) -> int:
        """Place of the cluster of that name, from 1.

        Raises:
            KeyError: there is none.
        """
        return self.clusters.index(self.cluster(name)) + 1

    @property
    def data_planes(self) -> tuple[ClusterSpec, ...]:
        """Clusters whose pods belong to the mesh: all but those of an external control plane."""
        return tuple(cluster for cluster in self.clusters if not cluster.is_external)

    @property
    def mesh_networks(self) -> tuple[NetworkSpec, ...]:
        """Networks that pods of the mesh are on."""
        used = {cluster.network for cluster in self.data_planes}
        return tuple(network for network in self.networks if network.name in used)

    @property
    def external(self) -> ClusterSpec | None:
        """The cluster of an external control plane; None where istiods run in the mesh itself."""
        return next((cluster for cluster in self.clusters if cluster.is_external), None)

    def config_cluster_of(self, primary: str) -> str:
        """Name of the cluster that istiod of another takes configuration from, as its own: itself,
        but for an external istiod its first remote (source: Istio, Install Istio with an External
        Control Plane).
        """
        if not self.cluster(primary).is_external:
            return primary
        return self.remotes_of(primary)[0].name

    @property
    def config_clusters(self) -> tuple[str, ...]:
        """Names of the clusters whose API servers have the mesh's configuration."""
        return tuple(self.config_cluster_of(each.name) for each in self.primaries)

    def read_by(self, primary: str) -> tuple[str, ...]:
        """Names of the clusters whose API servers istiod of a cluster reads, its own one first."""
        remote = (one.of for one in self.remote_secrets if one.installed_in == primary)
        return (self.config_cluster_of(primary), *remote)

    @property
    def primaries(self) -> tuple[ClusterSpec, ...]:
        """Clusters that run an istiod, an external one too."""
        return tuple(cluster for cluster in self.clusters if cluster.is_primary)

    @property
    def remotes(self) -> tuple[ClusterSpec, ...]:
        """Clusters that use another cluster's istiod."""
        return tuple(cluster for cluster in self.clusters if not cluster.is_primary)

    def remotes_of(self, primary: str) -> tuple[ClusterSpec, ...]:
        """Remotes that use the istiod of this primary."""
        return tuple(cluster for cluster in self.remotes if cluster.primary == primary)

    def control_plane_of(self, cluster: str) -> str:
        """Name of the cluster whose istiod configures this cluster's proxies."""
        return self.cluster(cluster).primary or cluster

    @property
    def is_multi_network(self) -> bool:
        """Whether pods of the mesh are on networks that are apart."""
        return len(self.mesh_networks) > 1

    @property
    def is_dual_stack(self) -> bool:
        """Whether everything has an address of each family."""
        return len(self.ip_families) > 1

    def describes_same(self, other: Scenario) -> bool:
        """Whether another scenario describes the same mesh, in whatever words. Where this one says
        nothing of regions, they may be any.
        """
        regions = {each.name: each.region for each in self.clusters if each.region}
        return self._essence == other._essence and all(
            other.cluster(name).region == region for name, region in regions.items()
        )

    @property
    def _essence(self) -> tuple[object, ...]:
        clusters = {
            (each.name, "" if each.is_external else each.network, each.primary)
            for each in self.clusters
        }
        others = frozenset(self.others)
        configuring = frozenset(self.config_clusters)
        return self.mesh_id, frozenset(clusters), others, configuring, self.cluster_domain

    def same_network(self, one: str, other: str) -> bool:
        """Whether the pods of two clusters reach each other directly."""
        return self.cluster(one).network == self.cluster(other).network

    @property
    def remote_secrets(self) -> tuple[RemoteSecretSpec, ...]:
        """One for each primary and each other cluster of the mesh that it does not read as its own
        (guide: Enable Endpoint Discovery).
        """
        return tuple(
            RemoteSecretSpec(of=cluster.name, installed_in=primary.name)
            for primary in self.primaries
            for cluster in self.data_planes
            if cluster.name != self.config_cluster_of(primary.name)
        )

    def needs_gateway(self, cluster: str) -> bool:
        """Whether it needs an east-west gateway: for other networks or for its remotes. An external
        istiod has an ingress gateway for them.
        """
        if self.cluster(cluster).is_external:
            return False
        return self.is_multi_network or self.exposes_istiod(cluster)

    def exposes_istiod(self, cluster: str) -> bool:
        """Whether its gateway has to pass its istiod to remotes."""
        return bool(self.remotes_of(cluster))

    def exposes_services(self, cluster: str) -> bool:
        """Whether the configuration that exposes services belongs into this cluster.

        A remote's gateway takes it from where its istiod reads it.
        """
        return self.is_multi_network and cluster in self.config_clusters

    def gateway_ports(self, cluster: str) -> frozenset[int]:
        """Ports, beside the status port, at which its gateway must serve; empty without one."""
        apart = self.is_multi_network and not self.cluster(cluster).is_external
        services = {SERVICES_PORT} if apart else set()
        istiod = set(ISTIOD_PORTS) if self.exposes_istiod(cluster) else set()
        return frozenset(services | istiod)

    @property
    def regions(self) -> tuple[str, ...]:
        """The region of each cluster of the mesh's pods; empty where none is declared."""
        return tuple(cluster.region for cluster in self.data_planes)

    @property
    def has_regions(self) -> bool:
        """Whether clusters differ in their regions, each of them in one that is known."""
        return all(self.regions) and len(set(self.regions)) > 1

    @property
    def _has_regions_behind_gateway(self) -> bool:
        """Whether a gateway chooses between regions for clients on another network."""
        places = {(cluster.network, cluster.region) for cluster in self.data_planes}
        return self.is_multi_network and len(places) > len(self.mesh_networks)

    def clusters_in(self, region: str) -> tuple[ClusterSpec, ...]:
        """The clusters of a region."""
        return tuple(cluster for cluster in self.data_planes if cluster.region == region)

    @property
    def has_choice_behind_gateway(self) -> bool:
        """Whether a gateway chooses between clusters for clients on another network."""
        return self.is_multi_network and self._shares_network

    @property
    def _shares_network(self) -> bool:
        return len(self.data_planes) > len(self.mesh_networks)

    @property
    def features(self) -> frozenset[str]:
        """What decides which requirements apply; a subset of `FEATURES`."""
        present = {
            "single-network": not self.is_multi_network,
            "multi-network": self.is_multi_network,
            "shared-network": self._shares_network,
            "multi-primary": len(self.primaries) > 1,
            "primary-remote": bool(self.remotes) and self.external is None,
            "external-control-plane": self.external is not None,
            "east-west-gateway": any(self.needs_gateway(each.name) for each in self.clusters),
            "multi-cluster": len(self.data_planes) > 1,
            "three-or-more-clusters": len(self.data_planes) > 2,
            "multi-node": any(cluster.nodes > 1 for cluster in self.data_planes),
            "dns-proxying": self.dns_proxying,
            "mcs": self.mcs,
            "locality": self.has_regions,
            "region-per-network": self.has_regions and not self._has_regions_behind_gateway,
            "dual-stack": self.is_dual_stack,
        }
        return frozenset(feature for feature, here in present.items() if here)
