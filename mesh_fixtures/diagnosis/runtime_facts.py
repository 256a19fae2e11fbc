"""What programs and the network showed: certificates, istiods, proxies, connections and requests.

They are part of `mesh_fixtures.diagnosis.facts`, from which everything else imports them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from mesh_fixtures.addresses import with_port
from mesh_fixtures.kube.admission import Selector
from mesh_fixtures.probe.shards import ShardEndpoint

ISTIOD_TLS: Final = "istiod-tls"
"""Kind of the paths by which proxies get to istiod's TLS."""

GATEWAY: Final = "gateway"
"""Kind of the paths to gateways' addresses."""

GATEWAY_POD: Final = "gateway-pod"
"""Kind of the paths to gateways' pods themselves, past whatever is in front of them."""


@dataclass(frozen=True)
class Root:
    """A certificate that others are verified against.

    Attributes:
        fingerprint: SHA-256, hex in lower case.
        subject: as in RFC 4514.
        key: SHA-256 of its public key; empty when unknown.
    """

    fingerprint: str
    subject: str
    key: str = ""

    def verifies_as(self, other: Root) -> bool:
        """Whether both verify the same: one certificate, or two of one key and name."""
        renewed = bool(self.key) and (self.key, self.subject) == (other.key, other.subject)
        return renewed or self.fingerprint == other.fingerprint

    def __str__(self) -> str:
        return f"{self.subject} {self.fingerprint[:16]}"


@dataclass(frozen=True)
class Authority:
    """What the istiod of a cluster is given to sign with, or has made for itself.

    Attributes:
        present: whether it is given a secret `cacerts`.
        secret: the one that holds the authority; empty, as all that follows, where there is none
            that can be read, or where istiod leaves signing to somebody else.
        issuing: subject of the certificate that istiod signs with.
        below: certificates that what it signs is verified by: that one, and those above it.
        defects: why proxies could not trust it.
        unread: entries of the secret that istiod does not read, as there are others for the same.
    """

    present: bool
    secret: str = ""
    issuing: str = ""
    below: tuple[Root, ...] = ()
    roots: tuple[Root, ...] = ()
    defects: tuple[str, ...] = ()
    unread: tuple[str, ...] = ()


@dataclass(frozen=True)
class NetworkGateway:
    """A gateway of a network, as istiod knows it."""

    network: str
    cluster: str
    address: str
    port: int


@dataclass(frozen=True)
class SliceAddresses:
    """What a cluster's EndpointSlices of HelloWorld have.

    Attributes:
        ready: addresses that take traffic.
        not_ready: the others.
    """

    namespace: str
    ready: tuple[str, ...]
    not_ready: tuple[str, ...] = ()


@dataclass(frozen=True)
class LostServices:
    """Services of a cluster of which an istiod holds no address, although it should.

    Attributes:
        reader: the istiod's cluster.
        istiod: name of its pod.
        services: each `namespace/name`; those that are not the mesh's come first.
    """

    reader: str
    istiod: str
    cluster: str
    services: tuple[str, ...]
    source: str


@dataclass(frozen=True)
class TrustDomains:
    """In which trust domain an istiod names workloads, and those that its proxies accept.

    Attributes:
        others: accepted besides its own; None for any.
    """

    own: str
    others: tuple[str, ...] | None

    def accept(self, trust_domain: str) -> bool:
        """Whether its proxies accept a peer of a trust domain."""
        return self.others is None or trust_domain in (self.own, *self.others)


@dataclass(frozen=True)
class Istiod:
    """What an istiod says of itself. A part is None where it did not say.

    Attributes:
        clusters: state (`synced`, `syncing`, `timeout`) by id of the clusters that it reads.
        connected: `cluster/pod.namespace` of the proxies that it configures.
        unsynced: those of them that have not acknowledged what was sent last.
        gateways: of all networks.
        helloworld: every pod that it would tell clients of.
        log: its last warnings and errors, oldest first.
        last_words: what it logged last before it was last restarted; empty where it was not, or
            where that is not known.
        cluster_local: whether a host's endpoints are those of the client's cluster only, by the
            host's pattern, as the settings of the mesh say.
        selectors: of namespaces in all clusters, to none but which it looks; empty for all.
        auto_mtls: whether clients use mutual TLS where no DestinationRule says anything of it.
        secrets: `namespace/name` of the secret by which it reads a cluster, by the cluster's id.
        exported_to: namespaces that services without exportTo are known in.
    """

    pod: str
    clusters: Mapping[str, str] | None
    connected: tuple[str, ...] | None
    unsynced: tuple[str, ...]
    gateways: tuple[NetworkGateway, ...] | None
    helloworld: tuple[ShardEndpoint, ...] | None
    log: tuple[str, ...] | None
    last_words: str = ""
    cluster_local: Mapping[str, bool] | None = None
    trust_domains: TrustDomains | None = None
    selectors: tuple[Selector, ...] = ()
    auto_mtls: bool = True
    secrets: Mapping[str, str] = field(default_factory=dict)
    exported_to: tuple[str, ...] | None = None

    def held(self, cluster: str) -> frozenset[str]:
        """Addresses of HelloWorld in a cluster that it would tell clients of."""
        return frozenset(each.address for each in self.helloworld or () if each.cluster == cluster)


@dataclass(frozen=True)
class Endpoint:
    """An endpoint of HelloWorld as a client's proxy holds it.

    Attributes:
        health: why it is not used; empty when it is healthy.
        connections: that the proxy has opened or tried to open to it.
        failed: how many of these it could not open: no answer, refused, or no TLS.
        requests: that the proxy has sent to it.
        errors: how many of these ended without an answer or with a server's error.
    """

    target: str
    weight: int
    priority: int
    locality: str
    health: str
    connections: int = 0
    failed: int = 0
    requests: int = 0
    errors: int = 0

    def __str__(self) -> str:
        notes = [
            *([f"priority {self.priority}"] if self.priority else []),
            *([self.health] if self.health else []),
            *([f"{self.failed} of {self.connections} connections failed"] if self.failed else []),
            *([f"{self.errors} of {self.requests} requests failed"] if self.errors else []),
        ]
        return f"{self.target} ({', '.join(notes)})" if notes else self.target


@dataclass(frozen=True)
class Client:
    """What the proxy of Sleep knows of HelloWorld.

    Attributes:
        endpoints: None when the proxy could not be asked; so for the following.
        routes: weight by Envoy cluster to which requests go.
        source: how its endpoints are seen.
    """

    pod: str
    endpoints: tuple[Endpoint, ...] | None
    routes: Mapping[str, int] | None
    source: str


@dataclass(frozen=True)
class Listening:
    """Ports at which a gateway's proxy listens.

    Attributes:
        denied: connections and requests that policies made it refuse since its start; None when
            unknown.
        proxy_protocol: those of the ports at which it takes only connections that begin with a
            header of the PROXY protocol.
    """

    pod: str
    ports: tuple[int, ...]
    source: str
    denied: int | None = None
    proxy_protocol: tuple[int, ...] = ()


@dataclass(frozen=True)
class ProxyIdentity:
    """What a proxy identifies itself by; all empty while it has no certificate.

    Attributes:
        issuing: subject of the certificate that signed its own.
        below: certificates that its own is verified by: that one, and those above it.
        roots: what it verifies its peers against.
        lifetime: of its certificate, in seconds.
        validity: from when to when its certificate is valid, in seconds since the epoch.
        served_elsewhere: whether it gets that from an SDS server of its node, and not from istiod.
    """

    pod: str
    source: str
    issuing: str = ""
    below: tuple[Root, ...] = ()
    roots: tuple[Root, ...] = ()
    lifetime: float | None = None
    validity: tuple[float, float] | None = None
    served_elsewhere: bool = False


@dataclass(frozen=True)
class Path:
    """Attempts to connect, past the mesh, from a pod of one cluster to another address.

    Attributes:
        client: cluster of the pod that tried.
        server: cluster that the address belongs to; empty when unknown.
        kind: `pod`, `gateway` (of another cluster, or of the client's), `gateway-pod` (of the
            client's cluster), `api-server`, `istiod` (where proxies of the client's cluster look
            for it), `istiod-tls` (the same, open where it agrees on TLS, refused where it ends the
            connection before) or `dns` (a name that every cluster knows).
        address: an IP address or a host name.
        unresolved: how many failed as the name had no address.
        slow: of those that were open, how many took a second or more.
        resent: first packets that the pod sent again meanwhile, on all paths; None if unknown.
        message: why the last one that failed did.
        http_status: of the last answer to one; 0 where none was answered by HTTP.
    """

    client: str
    server: str
    kind: str
    address: str
    port: int
    attempts: int
    open: int
    refused: int
    timed_out: int
    unreachable: int
    slow: int
    message: str
    source: str
    resent: int | None = None
    unresolved: int = 0
    http_status: int = 0

    @property
    def target(self) -> str:
        return with_port(self.address, self.port)

    @property
    def is_open(self) -> bool:
        """Whether at least one attempt succeeded."""
        return self.open > 0

    @property
    def prompt(self) -> int:
        """Attempts that succeeded at once."""
        return self.open - self.slow

    @property
    def is_closed(self) -> bool:
        """Whether there were attempts and none succeeded."""
        return self.attempts > 0 and not self.open

    def __str__(self) -> str:
        counts = {
            "open": self.open - self.slow,
            "open after a second or more": self.slow,
            "refused": self.refused,
            "timed out": self.timed_out,
            "unreachable": self.unreachable,
            "name not resolved": self.unresolved,
        }
        seen = ", ".join(f"{count} {what}" for what, count in counts.items() if count)
        how = " by TLS" if self.kind == ISTIOD_TLS else ""
        answer = f", HTTP {self.http_status}" if self.http_status else ""
        return f"{self.attempts} connections to {self.target}{how}: {seen or 'none tried'}{answer}"


@dataclass(frozen=True)
class Handshake:
    """A handshake of TLS by which a plain client asks a gateway for HelloWorld as sidecars do, by
    its SNI, without a certificate of its own.

    Attributes:
        client: cluster of the pod that tried.
        server: cluster of the gateway.
        kind: of the address, as of paths: `gateway` or `gateway-pod`.
        presented: whether a server showed its certificate; what follows is of that.
        subject: as in RFC 4514; empty for none.
        issuer: likewise.
        workloads: SPIFFE ids of whom it names.
        source: how a person comes closest to it.
    """

    client: str
    server: str
    kind: str
    address: str
    port: int
    source: str
    presented: bool = False
    subject: str = ""
    issuer: str = ""
    workloads: tuple[str, ...] = ()

    @property
    def target(self) -> str:
        return with_port(self.address, self.port)

    @property
    def is_by_no_workload(self) -> bool:
        """Whether a server has answered that is no workload of a mesh: their certificates have
        SPIFFE ids, by which clients verify them (Istio: Secure naming).
        """
        return self.presented and not self.workloads

    def __str__(self) -> str:
        if not self.presented:
            return f"{self.target} shows no certificate"
        whose = ", ".join(self.workloads) or self.subject or "nobody"
        return f"{self.target} shows a certificate of {whose} by {self.issuer}"


@dataclass(frozen=True)
class PacketSizes:
    """A path that carries small packets and loses large ones.

    Attributes:
        client: cluster of the pod that sent them.
        server: cluster that the address belongs to.
        carried: the largest IP packet that arrived, in bytes.
        lost: the smallest that did not; no larger one did.
    """

    client: str
    server: str
    address: str
    port: int
    carried: int
    lost: int
    source: str

    @property
    def target(self) -> str:
        return with_port(self.address, self.port)


@dataclass(frozen=True)
class WaitingProxy:
    """A proxy whose pod is not ready.

    Attributes:
        discovery: `host:port` of its istiod.
        log: its last warnings and errors, oldest first.
        source: how its log is seen.
    """

    pod: str
    namespace: str
    discovery: str
    log: tuple[str, ...]
    source: str


@dataclass(frozen=True)
class Served:
    """What the sidecar in front of a pod of HelloWorld counted of its application over this run's
    own requests.

    Attributes:
        server: cluster of the pod.
        requests: that the sidecar passed to the application.
        errors: how many of these ended without an answer or with a server's error.
        failed: connections to the application that could not be opened.
    """

    server: str
    pod: str
    version: str
    requests: int
    errors: int
    failed: int
    source: str


@dataclass(frozen=True)
class Exchanged:
    """What a client's proxy exchanged with an endpoint over this run's own requests; its fields are
    as those of `Endpoint`.
    """

    target: str
    connections: int = 0
    failed: int = 0
    requests: int = 0
    errors: int = 0


@dataclass(frozen=True)
class Traffic:
    """Requests from Sleep to HelloWorld.

    Attributes:
        versions: answers by version.
        failures: by message, without what differs between requests.
        by_proxy: how many requests the client's own proxy sent meanwhile to HelloWorld; None when
            it was not asked.
        endpoints: what the client's proxy counted meanwhile, by endpoint.
    """

    client: str
    sent: int
    versions: Mapping[str, int]
    failures: Mapping[str, int]
    source: str
    by_proxy: int | None = None
    endpoints: tuple[Exchanged, ...] = ()
