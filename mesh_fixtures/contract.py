"""The contract between labs and everything else: what is known of clusters, and who provides them.

A provider is a class that extends `Provider`; the class of its labs extends `Lab`. Whatever only
some labs have is a method with a default here, so that nobody asks where a lab comes from.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Final, Protocol

from mesh_fixtures.addresses import IPAddress, IPNetwork
from mesh_fixtures.errors import MachineError
from mesh_fixtures.options import BY_HELM, BY_ISTIOCTL, InstallMethods

if TYPE_CHECKING:
    from mesh_fixtures.charts import Charts
    from mesh_fixtures.images import ImageSet, NodeImage
    from mesh_fixtures.options import Choice, Option
    from mesh_fixtures.progress import Progress
    from mesh_fixtures.records import Record
    from mesh_fixtures.scenario import Scenario

SAMPLE_NAMESPACE: Final = "sample"
"""The guide's namespace of HelloWorld and Sleep; that of a lab is `Lab.sample_namespace`."""

RUN_PREFIX: Final = "mesh-conformance-"
"""Beginning of the name of a run's namespace in existing clusters, where none is given."""

RUN_NAMESPACES: Final = f"{RUN_PREFIX}* (or that of --mesh-namespace)"
"""Names of runs' namespaces in existing clusters, for messages."""

SYSTEM_NAMESPACE: Final = "istio-system"
"""The guide's namespace of istiod; that of a mesh is `Lab.names.system_namespace`."""

CLUSTER_DOMAIN: Final = "cluster.local"
"""Kubernetes' and Istio's default; that of a mesh is `Lab.names.cluster_domain`."""

GATEWAY_API_DEFINITIONS: Final = "GATEWAY_API"
"""Variable of a plan: file or URL of the Gateway API's definitions."""

MCS_DEFINITIONS: Final = "MCS_API"
"""Variable of a plan: folder or URL with the definitions of the Multi-Cluster Services API, as its
project has them, in a file each."""


@dataclass(frozen=True)
class MeshNames:
    """Names that a mesh is installed with, the same in all of its clusters.

    Attributes:
        system_namespace: of its istiods, with their mesh configuration and the secrets they read
            (Istio: global.istioNamespace).
        root_namespace: whose configuration holds for the whole mesh (Istio: MeshConfig,
            rootNamespace).
        cluster_domain: under which its Services have their full names (Istio:
            global.proxy.clusterDomain; Kubernetes: DNS for Services and Pods).
    """

    system_namespace: str = SYSTEM_NAMESPACE
    root_namespace: str = SYSTEM_NAMESPACE
    cluster_domain: str = CLUSTER_DOMAIN


GUIDE_NAMES: Final = MeshNames()
"""Those of a mesh that the guide installs."""

EXTERNAL_NAMESPACE: Final = "external-istiod"
"""Namespace of an external istiod, and of what it needs in the clusters that it serves (source:
Istio, Install Istio with an External Control Plane)."""


def names_in(scenario: Scenario) -> MeshNames:
    """Names of the mesh that is installed of a scenario."""
    domain = scenario.cluster_domain
    if scenario.external is None:
        return MeshNames(cluster_domain=domain)
    return MeshNames(EXTERNAL_NAMESPACE, EXTERNAL_NAMESPACE, domain)


@dataclass(frozen=True)
class Node:
    """A Kubernetes node: its name and its address on the cluster's network, of the primary family
    where it has several.
    """

    name: str
    address: IPAddress


@dataclass(frozen=True)
class AddressPool:
    """First and last address of a cluster's MetalLB pool, both included."""

    first: IPAddress
    last: IPAddress

    def __contains__(self, address: object) -> bool:
        if not isinstance(address, IPAddress) or address.version != self.first.version:
            return False
        return int(self.first) <= int(address) <= int(self.last)

    def __str__(self) -> str:
        return f"{self.first}-{self.last}"


@dataclass(frozen=True)
class Cluster:
    """A running cluster.

    Attributes:
        name: the scenario's name of it, also its kubeconfig context.
        kubeconfig: file with the one context `name`, for use from this machine.
        api_server: URL by which the other clusters reach its API server. It and what follows are
            None or empty where they are not known: in an existing cluster. Each is of the primary
            family of addresses where there are two.
        second_pool: that of the other family; None where there is none, or it is not known.
        labels: of everything that a run makes in it.
    """

    name: str
    network: str
    kubeconfig: Path
    api_server: str | None = None
    pod_cidr: IPNetwork | None = None
    service_cidr: IPNetwork | None = None
    nodes: tuple[Node, ...] = ()
    load_balancer_pool: AddressPool | None = None
    second_pool: AddressPool | None = None
    labels: Mapping[str, str] = field(default_factory=dict, hash=False)

    @property
    def pools(self) -> tuple[AddressPool, ...]:
        """Those of all families that are known."""
        both = (self.load_balancer_pool, self.second_pool)
        return tuple(pool for pool in both if pool is not None)


@dataclass(frozen=True)
class Tools:
    """Client programs that match the lab's versions; helm only where it installs the mesh."""

    kubectl: Path
    istioctl: Path
    helm: Path | None = None


@dataclass(frozen=True)
class Earlier:
    """A version of Istio that a mesh is upgraded from: what it is installed with.

    Attributes:
        charts: what Helm installs; None where istioctl does.
    """

    images: ImageSet
    istioctl: Path
    charts: Charts | None = None


@dataclass(frozen=True)
class EndedService:
    """A process of a node that ended and was started again.

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
    @abstractmethod
    def id(self) -> str:
        """Unique name of this lab on this machine."""

    @property
    @abstractmethod
    def provider(self) -> str:
        """Name of the provider that made it."""

    @property
    @abstractmethod
    def scenario(self) -> Scenario: ...

    @property
    @abstractmethod
    def folder(self) -> Path:
        """Working folder of this lab: kubeconfig, certificates, step outputs, logs."""

    @property
    @abstractmethod
    def clusters(self) -> Mapping[str, Cluster]:
        """By name, in the scenario's order."""

    @property
    def kubeconfig(self) -> Path:
        """One file whose contexts are the cluster names."""
        return self.folder / "kubeconfig"

    @property
    @abstractmethod
    def environment(self) -> Mapping[str, str]:
        """Environment for programs that work on this lab."""

    @property
    @abstractmethod
    def tools(self) -> Tools: ...

    @property
    @abstractmethod
    def images(self) -> ImageSet: ...

    @property
    def charts(self) -> Charts | None:
        """What Helm installs from; None where it installs nothing."""
        return None

    @property
    def methods(self) -> InstallMethods:
        """How its mesh is installed: all of it by Helm where there are charts, else by istioctl."""
        return BY_ISTIOCTL if self.charts is None else BY_HELM

    @property
    def definitions(self) -> Mapping[str, Path]:
        """What defines the kinds that its mesh needs besides Istio's own, by the variable of a plan
        that stands for it.
        """
        return {}

    @property
    def earlier(self) -> Earlier | None:
        """What the mesh is installed with at first, where an upgrade is verified: to the version
        that `images`, `tools` and `charts` are of. None where that one is installed at once.
        """
        return None

    @property
    def external(self) -> bool:
        """Whether it is an existing mesh: nothing changes there but `sample_namespace`."""
        return False

    @property
    def sample_namespace(self) -> str:
        """Namespace of HelloWorld and Sleep, the same in every cluster."""
        return SAMPLE_NAMESPACE

    @property
    def names(self) -> MeshNames:
        """Names of its mesh: the guide's, unless it is an existing one that has others."""
        return names_in(self.scenario)

    @property
    def ended_services(self) -> Mapping[str, Sequence[EndedService]]:
        """Nodes' own processes that ended since the lab was made, by cluster; healthy ones end with
        the lab. Empty where that is not known.
        """
        return {}

    @property
    def kept(self) -> bool:
        """Whether it had been kept before it was opened now."""
        return False

    @property
    def network_command(self) -> Sequence[str]:
        """Prefix of a command that is to reach the API servers' own addresses; empty where this
        machine itself reaches them.
        """
        return ()

    @property
    @abstractmethod
    def installed(self) -> bool:
        """Whether a kept lab already holds the installed mesh of this scenario."""

    @abstractmethod
    def mark_installed(self) -> None:
        """Record that the mesh is installed, for the next use of a kept lab."""

    @abstractmethod
    def wait_ready(self) -> None:
        """Wait until nodes, DNS and load balancers work; bounded.

        A lab may be handed out while they are still starting, so that an installation can begin.

        Raises:
            LabError: one of them did not become ready in time.
        """

    @abstractmethod
    def close(self, *, keep: bool = False) -> None:
        """Remove everything that was made for this lab, or release it for later use.

        Raises:
            LabError: something that was made is still there.
        """

    def memory(self) -> int | None:
        """Proportional set size of all its processes in bytes; None where that is not known."""
        return None

    def processor_seconds(self) -> float | None:
        """Seconds of the processor that its running processes have taken, with those that they have
        started and that have ended; None where that is not known.
        """
        return None

    def network_state(self) -> Mapping[str, str]:
        """Links, routes and filters of each node, as commands print them; empty where they cannot
        be read.
        """
        return {}

    def require_installed(self) -> None:
        """Check that an existing mesh is there. Called in place of an installation where the lab is
        `external`.

        Raises:
            NotInstalled: no cluster has anything of Istio.
            ProbeError: a cluster cannot be asked.
        """
        raise RuntimeError(f"labs of {self.provider} get their mesh from a plan")

    def deploy_sample(self) -> None:
        """Deploy HelloWorld and Sleep in `sample_namespace`. Called in place of the guide's steps
        where the lab is `external`.

        Raises:
            LabError: a cluster does not run them.
            ProbeError: an API server cannot be asked or refuses.
        """
        raise RuntimeError(f"labs of {self.provider} get their workloads from a plan")


@dataclass(frozen=True)
class Problem:
    """Something that is missing on a machine, and the command that fixes it (empty: none known).

    Attributes:
        seen: what was found in its place.
        impact: what cannot be verified because of it; empty where it prevents everything.
    """

    missing: str
    remedy: str
    seen: str = "none"
    impact: str = ""


@dataclass(frozen=True)
class Discovered:
    """What was found of an existing mesh.

    Attributes:
        scenario: describes the mesh.
        notes: what is odd about it, one sentence each.
    """

    scenario: Scenario
    notes: tuple[str, ...] = ()


class Provider(ABC):
    """Makes labs, as it was asked to; registered by the entry point group
    `mesh_conformance.providers` under its name.

    What is asked of the class holds for all choices. Its module is imported whenever pytest starts:
    whatever takes long to import is imported where it is used.

    Attributes:
        name: also that of its entry point.
        summary: a few words for `--help`.
        needs: what a machine needs for it, and how to get that, where `auto` may take it.
        external: whether its clusters and their mesh exist already: nothing is installed there.
        options: its own ones; `Choice.own` has their values.
        priority: when several fit, `auto` takes the one with the highest.
    """

    name: ClassVar[str]
    summary: ClassVar[str]
    needs: ClassVar[str] = ""
    external: ClassVar[bool] = False
    options: ClassVar[tuple[Option, ...]] = ()
    priority: ClassVar[int] = 0

    @classmethod
    def fits(cls, choice: Choice) -> str:
        """Why `auto` may take it here, for that choice; empty where it does not fit, or is only
        taken by its name.
        """
        del choice
        return ""

    @classmethod
    @abstractmethod
    def make(cls, choice: Choice) -> Provider:
        """The provider as it is asked for.

        Raises:
            MachineError: this kind of machine cannot run it at all, or it cannot do that.
        """

    @classmethod
    @abstractmethod
    def tear_down(cls, record: Record) -> None:
        """Remove a lab, which this process owns, and check that nothing of it is left.

        Raises:
            LabError: something is still there.
        """

    @classmethod
    def node_commands(cls, record: Record) -> Iterable[tuple[str, Sequence[str]]]:
        """Each running node of a lab, and the prefix of a command that runs in it, beside its
        containerd; none where its nodes cannot be entered.
        """
        del record
        return ()

    @abstractmethod
    def problems(self) -> Sequence[Problem]:
        """What is missing here, without changing anything; empty when nothing is."""

    def problems_of_building(self) -> Sequence[Problem]:
        """What is missing here to build what labs are made of and is not built yet."""
        return ()

    def images(self) -> Sequence[NodeImage]:
        """Images that the nodes of its labs run, without asking a registry; empty where it does not
        know.

        Raises:
            ArtifactError: the istioctl that knows them cannot be fetched.
            MachineError: there is none.
        """
        return ()

    def fetch_images(self, progress: Progress, archives: Path | None = None) -> Mapping[str, str]:
        """Bring those of `images` here that are pulled, for all labs to come.

        Args:
            archives: folder to take them from; no registry is asked for them then, until this is
                called without it.

        Returns:
            The digest of each, by its name.

        Raises:
            ArtifactError: an image cannot be had.
            MachineError: it keeps no images.
        """
        del progress, archives
        raise MachineError(
            wanted="a provider that keeps images for its labs",
            seen=self.name,
            where="container images",
            remedy="bring them into what runs its nodes, e.g. by docker pull or docker load",
        )

    def prepare(self, progress: Progress) -> None:  # noqa: B027, some have nothing to prepare
        """Build or fetch everything labs are made of, so that opening one does not take longer.

        Raises:
            ArtifactError: a part could not be built or fetched.
            MachineError: one is missing on this machine.
        """

    @abstractmethod
    def open(
        self, scenario: Scenario, progress: Progress, *, reuse: bool = False, bare: bool = False
    ) -> Lab:
        """Boot clusters and networks.

        Args:
            reuse: take over a kept lab of the same scenario, artifacts and method of installation
                instead, if there is one that works.
            bare: no mesh will be installed; what is taken over then is a lab without one.

        Raises:
            MachineError: something is missing on the machine; nothing was created.
            LabError: a cluster or network did not come up in time; what was made is removed.
        """

    @property
    def cluster_names(self) -> Sequence[str]:
        """Names of the existing clusters; empty where it makes them."""
        return ()

    def discover(self, *, forwards: bool = False) -> Discovered:
        """Describe the existing mesh; changes nothing.

        Args:
            forwards: whether istiods are asked at their ports, in place of by commands.

        Raises:
            MeshConformanceError: there is none, or its clusters cannot be looked into.
        """
        raise NotImplementedError(f"{self.name} makes clusters, it finds none")

    def read_only(self, scenario: Scenario) -> AbstractContextManager[Lab]:
        """The existing clusters, to be read and not changed; without sample workloads.

        Raises:
            MachineError: a cluster is missing, or its kubeconfig cannot be used.
        """
        raise NotImplementedError(f"{self.name} makes clusters, it finds none")

    def about_clusters(self) -> Sequence[str]:
        """A line for each existing cluster that says where it is reached; shown before a run."""
        return ()
