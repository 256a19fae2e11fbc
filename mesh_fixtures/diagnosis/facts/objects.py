"""Kubernetes' objects, trimmed to what rules read and a recording keeps.

The others are kept as `mesh_fixtures.kube.objects` has them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from mesh_fixtures.kube.objects import ServicePort

Labels = Mapping[str, str]


@dataclass(frozen=True)
class Namespace:
    """A namespace.

    Attributes:
        annotated: when its annotations were last set by hand, RFC 3339; empty when unknown.
    """

    name: str
    labels: Labels = field(default_factory=dict)
    annotations: Labels = field(default_factory=dict)
    annotated: str = ""


@dataclass(frozen=True)
class RemoteSecret:
    """Access to the API server of another cluster, as istiod is told of it.

    Attributes:
        name: of the secret.
        cluster: the name that it gives to the cluster.
        labelled: whether it has the label by which istiod finds it.
        server: URL of the API server.
        leads_to: cluster whose certificate authority it trusts; empty when that is none of the
            mesh's.
        accepted: whether the API server of that cluster accepts its token; None when not asked.
        created: RFC 3339.
    """

    name: str
    cluster: str
    labelled: bool
    server: str
    leads_to: str
    accepted: bool | None
    created: str


@dataclass(frozen=True)
class Pod:
    """A pod of istiod, of a gateway or of a sample workload.

    Attributes:
        state: as `kubectl get pods` would say it, e.g. `2/2 Running`.
        serving: running, ready and not going away.
        trouble: why it does not run, as far as its status says.
        told: what its proxy was told at its start: `cluster`, `network`, `mesh` and `discovery`;
            None without a proxy.
    """

    namespace: str
    name: str
    labels: Labels
    ip: str
    state: str
    serving: bool
    trouble: str = ""
    told: Mapping[str, str] | None = None

    def __str__(self) -> str:
        return f"{self.name} {self.state}" + (f" ({self.trouble})" if self.trouble else "")


@dataclass(frozen=True)
class Part:
    """A pod, or a process of a node, of what a cluster of the lab has besides a mesh.

    Attributes:
        namespace: empty for a process.
        restarts: of all its containers.
        restarted: when one of them last ended, RFC 3339; empty for never.
        trouble: why it does not run, as far as its status says.
    """

    namespace: str
    name: str
    state: str
    serving: bool
    restarts: int = 0
    restarted: str = ""
    trouble: str = ""

    def __str__(self) -> str:
        times = f", restarted {self.restarts} times, at last at {self.restarted}"
        said = f" ({self.trouble})" if self.trouble else ""
        return f"{self.name} {self.state}{said}" + (times if self.restarts else "")


@dataclass(frozen=True)
class Deployment:
    """How many pods a Deployment wants, and how many of them are ready."""

    namespace: str
    name: str
    labels: Labels
    wanted: int
    ready: int

    def __str__(self) -> str:
        return f"deployment {self.name} {self.ready}/{self.wanted} ready"


@dataclass(frozen=True)
class Service:
    """A Service.

    Attributes:
        external: addresses or host names that its load balancer got, or its external name.
        preference: where its traffic is to be kept, of `trafficDistribution` or of the annotation
            that stands for it; empty for nowhere.
    """

    namespace: str
    name: str
    kind: str
    labels: Labels
    selector: Labels
    ports: tuple[ServicePort, ...]
    external: tuple[str, ...] = ()
    preference: str = ""


@dataclass(frozen=True)
class WarningEvent:
    """An event of the type Warning.

    Attributes:
        about: `kind/name`.
        last: when it was last seen, RFC 3339; empty when unknown.
    """

    namespace: str
    about: str
    reason: str
    message: str
    last: str = ""

    def __str__(self) -> str:
        return f"{self.about} {self.reason}: {self.message}"
