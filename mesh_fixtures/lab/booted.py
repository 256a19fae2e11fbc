"""What labs have in common whose clusters are started on this machine, whatever runs them."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Generic, TypeVar

from mesh_fixtures import records
from mesh_fixtures.certificates import write_private
from mesh_fixtures.charts import Charts
from mesh_fixtures.contract import Earlier, Tools
from mesh_fixtures.images import ImageSet
from mesh_fixtures.journal import Journal
from mesh_fixtures.lab import load_balancer
from mesh_fixtures.lab.kubectl import ADD_ON_DEADLINE, Kubectl
from mesh_fixtures.lab.pki import merge_kubeconfigs
from mesh_fixtures.lab.processes import end_processes, marked_environment
from mesh_fixtures.lab.recorded import RecordedLab
from mesh_fixtures.parallel import parallel_map
from mesh_fixtures.patience import patient
from mesh_fixtures.progress import Progress
from mesh_fixtures.scenario import Scenario

TAKE_OVER_DEADLINE = 10.0
"""Seconds for an API server of a kept lab to answer."""

Value = TypeVar("Value")


@dataclass(frozen=True)
class Boot(ABC):
    """A lab on its way up; how its clusters are started is left to those that extend it.

    Attributes:
        stopping: set when nobody waits for the lab any more.
    """

    lab: str
    folder: Path
    journal: Journal
    scenario: Scenario
    progress: Progress
    stopping: threading.Event = field(default_factory=threading.Event, init=False)

    @property
    @abstractmethod
    def kubectl_program(self) -> Path: ...

    @property
    def environment(self) -> Mapping[str, str]:
        """Environment for programs that work on this lab."""
        return marked_environment(self.lab)

    def kubeconfig_of(self, cluster: str) -> Path:
        return self.folder / f"{cluster}.kubeconfig"

    def kubectl(self, cluster: str) -> Kubectl:
        environment = {**self.environment, "KUBECACHEDIR": str(self.folder / "kubectl")}
        kubeconfig = self.kubeconfig_of(cluster)
        return Kubectl(self.kubectl_program, kubeconfig, cluster, environment, self.stopping)

    def write_kubeconfig(self, cluster: str, content: str) -> None:
        write_private(self.kubeconfig_of(cluster), content.encode())

    def merge_kubeconfigs(self) -> None:
        """Write the kubeconfig of the lab from those of all its clusters."""
        contents = [self.kubeconfig_of(each.name).read_text() for each in self.scenario.clusters]
        write_private(self.folder / "kubeconfig", merge_kubeconfigs(contents).encode())

    def on_every_cluster(
        self, action: Callable[[str], Value], *, all_or_nothing: bool, at_most: int | None = None
    ) -> dict[str, Value]:
        """Do something for all clusters, by their names, at the same time.

        Args:
            at_most: for how many at a time; None for all.
            all_or_nothing: end the lab's processes on the first trouble or interrupt, so that
                nothing waits for clusters that nobody will use.

        Raises:
            LabError: the first one that any of them raised.
        """
        names = [cluster.name for cluster in self.scenario.clusters]
        on_trouble = self.abort if all_or_nothing else None
        return parallel_map(action, names, at_most=at_most, on_trouble=on_trouble)

    def settle(self) -> None:
        """Wait until nodes, DNS and load balancers of all clusters work.

        Raises:
            LabError: one of them does not, in time.
        """
        self.on_every_cluster(self._await_add_ons, all_or_nothing=False)

    def _await_add_ons(self, cluster: str) -> None:
        kubectl = self.kubectl(cluster)
        with self.progress.phase("DNS and load balancer", cluster):
            seconds = patient(ADD_ON_DEADLINE)
            kubectl.wait("wait", "--for=condition=Ready", "node", "--all", seconds=seconds)
            kubectl.await_rollout("kube-system", "deployment", "coredns")
            kubectl.await_rollout(load_balancer.NAMESPACE, "deployment", "controller")
            kubectl.await_rollout(load_balancer.NAMESPACE, "daemonset", "speaker")

    def abort(self) -> None:
        """End what is under way, and all processes of the lab.

        Raises:
            LabError: a process is still there.
        """
        self.stopping.set()
        end_processes(self.lab, self.journal)


AnyBoot = TypeVar("AnyBoot", bound=Boot)


class BootedLab(RecordedLab, Generic[AnyBoot]):
    """A lab that a `Boot` brings up."""

    def __init__(
        self,
        record: records.Record,
        booting: AnyBoot,
        tools: Tools,
        images: ImageSet,
        charts: Charts | None,
        earlier: Earlier | None = None,
    ) -> None:
        super().__init__(booting.scenario, record, booting.progress)
        self._booting = booting
        self._tools = tools
        self._images = images
        self._charts = charts
        self._earlier = earlier

    @property
    def tools(self) -> Tools:
        return self._tools

    @property
    def images(self) -> ImageSet:
        return self._images

    @property
    def charts(self) -> Charts | None:
        return self._charts

    @property
    def earlier(self) -> Earlier | None:
        return self._earlier

    def stop(self) -> None:
        self._booting.abort()

    def _settle(self) -> None:
        self._booting.settle()
