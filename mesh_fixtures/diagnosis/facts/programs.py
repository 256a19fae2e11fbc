"""What istiods and proxies say of themselves."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from mesh_fixtures.diagnosis.facts.trust import Root


@dataclass(frozen=True)
class NetworkGateway:
    """A gateway of a network, as istiod knows it."""

    network: str
    cluster: str
    address: str
    port: int


@dataclass(frozen=True)
class Registered:
    """A pod of HelloWorld, as istiod knows it.

    Attributes:
        mutual_tls: whether istiod takes it for one that has a proxy.
    """

    cluster: str
    address: str
    network: str
    mutual_tls: bool


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
    """

    pod: str
    clusters: Mapping[str, str] | None
    connected: tuple[str, ...] | None
    unsynced: tuple[str, ...]
    gateways: tuple[NetworkGateway, ...] | None
    helloworld: tuple[Registered, ...] | None
    log: tuple[str, ...] | None


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
        said = [
            *([f"priority {self.priority}"] if self.priority else []),
            *([self.health] if self.health else []),
            *([f"{self.failed} of {self.connections} connections failed"] if self.failed else []),
            *([f"{self.errors} of {self.requests} requests failed"] if self.errors else []),
        ]
        return f"{self.target} ({', '.join(said)})" if said else self.target


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
    """Ports at which a gateway's proxy listens."""

    pod: str
    ports: tuple[int, ...]
    source: str


@dataclass(frozen=True)
class ProxyIdentity:
    """What a proxy identifies itself by; all empty while it has no certificate.

    Attributes:
        issuing: subject of the certificate that signed its own.
        issuing_key: SHA-256 of the public key of that one.
        roots: what it verifies its peers against.
    """

    pod: str
    source: str
    issuing: str = ""
    issuing_key: str = ""
    roots: tuple[Root, ...] = ()
