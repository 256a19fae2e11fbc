"""What the rest of the project knows of clusters and networks, whoever provides them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import Protocol

from mesh_fixtures.charts import Charts
from mesh_fixtures.images import ImageSet
from mesh_fixtures.progress import Progress
from mesh_fixtures.scenario import Scenario


@dataclass(frozen=True)
class Node:
    """A Kubernetes node: its name and its address on the cluster's network."""

    name: str
    address: IPv4Address


@dataclass(frozen=True)
class AddressPool:
    """First and last address of a cluster's MetalLB pool, both included."""

    first: IPv4Address
    last: IPv4Address

    def __contains__(self, address: object) -> bool:
        return isinstance(address, IPv4Address) and self.first <= address <= self.last

    def __str__(self) -> str:
        return f"{self.first}-{self.last}"


@dataclass(frozen=True)
class Cluster:
    """A running cluster.

    Attributes:
        name: the scenario's name of it, also its kubeconfig context.
        kubeconfig: file with the one context `name`, for use from this machine.
        api_server: URL by which the other clusters reach its API server. It and what follows are
            None or empty where they are not known: in a cluster that somebody else made.
    """

    name: str
    network: str
    kubeconfig: Path
    api_server: str | None = None
    pod_cidr: IPv4Network | None = None
    service_cidr: IPv4Network | None = None
    nodes: tuple[Node, ...] = ()
    load_balancer_pool: AddressPool | None = None


@dataclass(frozen=True)
class Tools:
    """Client programs that match the lab's versions; helm only where it installs the mesh."""

    kubectl: Path
    istioctl: Path
    helm: Path | None = None


@dataclass(frozen=True)
class EndedService:
    """A process of a node that ended, and was started again.

    Attributes:
        at: when, RFC 3339.
        how: its status, and how long it had run.
    """

    node: str
    name: str
    at: str
    how: str


class Lab(Protocol):
    """Clusters joined by networks, ready for an installation."""

    @property
    def id(self) -> str:
        """Unique name of this lab on this machine."""

    @property
    def provider(self) -> str: ...

    @property
    def scenario(self) -> Scenario: ...

    @property
    def folder(self) -> Path:
        """Working folder of this lab: kubeconfig, certificates, step outputs, logs."""

    @property
    def clusters(self) -> Mapping[str, Cluster]:
        """By name, in the scenario's order."""

    @property
    def kubeconfig(self) -> Path:
        """One file whose contexts are the cluster names."""

    @property
    def environment(self) -> Mapping[str, str]:
        """Environment for programs that work on this lab."""

    @property
    def tools(self) -> Tools: ...

    @property
    def images(self) -> ImageSet: ...

    @property
    def charts(self) -> Charts | None:
        """What Helm installs the mesh from; None where istioctl installs it."""

    @property
    def is_foreign(self) -> bool:
        """Whether its mesh is somebody else's: nothing changes there but `sample_namespace`."""

    @property
    def sample_namespace(self) -> str:
        """Namespace of HelloWorld and Sleep, the same in every cluster."""

    @property
    def ended_services(self) -> Mapping[str, Sequence[EndedService]]:
        """What of nodes' own processes ended since the lab was made, by cluster; what is healthy
        ends with the lab. Empty where that is not known.
        """

    @property
    def kept(self) -> bool:
        """Whether somebody kept it before it was opened now."""

    @property
    def network_command(self) -> Sequence[str]:
        """What a command is preceded by to run where the API servers' own addresses are reached;
        empty where that is this machine itself.
        """

    @property
    def installed(self) -> bool:
        """Whether a kept lab already holds the installed mesh of this scenario."""

    def mark_installed(self) -> None:
        """Record that the mesh is installed, for the next use of a kept lab."""

    def wait_ready(self) -> None:
        """Wait until nodes, DNS and load balancers work; bounded.

        A lab may be handed out while they are still starting, so that an installation can begin.

        Raises:
            LabError: one of them did not become ready in time.
        """

    def close(self, *, keep: bool = False) -> None:
        """Remove everything that was made for this lab, or release it for later use.

        Raises:
            LabError: something that was made is still there.
        """


class Provider(Protocol):
    """Makes labs."""

    @property
    def name(self) -> str: ...

    def problems(self) -> Sequence[Problem]:
        """What this machine lacks, without changing anything; empty when all is there."""

    def prepare(self, progress: Progress) -> None:
        """Build or fetch all that labs are made of, so that opening one takes no longer for it.

        Raises:
            ArtifactError: a part could not be built or fetched.
            MachineError: this machine lacks one.
        """

    def open(
        self, scenario: Scenario, progress: Progress, *, reuse: bool = False, bare: bool = False
    ) -> Lab:
        """Boot clusters and networks.

        Args:
            reuse: take over a kept lab of the same scenario, artifacts and method of installation
                instead, if there is one that works.
            bare: no mesh will be installed; what is taken over then is a lab without one.

        Raises:
            MachineError: the machine lacks something; nothing was created.
            LabError: a cluster or network did not come up in time; what was made is removed.
        """


@dataclass(frozen=True)
class Problem:
    """Something that a machine lacks, and the command that mends it (empty: none known).

    Attributes:
        seen: what there is in place of it.
        without: what cannot be verified because of it; empty where it hinders everything.
    """

    missing: str
    remedy: str
    seen: str = "none"
    without: str = ""
