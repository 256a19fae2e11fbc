"""What labs have in common whose clusters are started on this machine, whatever runs them; and
kubectl on such a cluster, every call of which has a bound and says what it last saw.
"""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, Generic, TypeVar

import yaml

from mesh_fixtures import records, runner
from mesh_fixtures.certificates import write_private
from mesh_fixtures.charts import Charts
from mesh_fixtures.contract import Earlier, Tools
from mesh_fixtures.errors import LabError
from mesh_fixtures.images import ImageSet
from mesh_fixtures.journal import Journal
from mesh_fixtures.lab import load_balancer
from mesh_fixtures.lab.pki import merge_kubeconfigs
from mesh_fixtures.lab.processes import end_processes, marked_environment
from mesh_fixtures.lab.recorded import RecordedLab
from mesh_fixtures.options import BY_ISTIOCTL, InstallMethods
from mesh_fixtures.parallel import parallel_map
from mesh_fixtures.patience import patient
from mesh_fixtures.progress import Progress
from mesh_fixtures.scenario import Scenario

ADD_ON_DEADLINE = 90.0
"""Seconds for what a cluster needs besides Kubernetes itself."""

EVIDENCE_DEADLINE = 10.0
_MARGIN = 5.0
"""Seconds in which kubectl says that what it waits for has not come."""


class Kubectl:
    """Runs kubectl on one cluster, bounded."""

    def __init__(
        self,
        program: Path,
        kubeconfig: Path,
        cluster: str,
        environment: Mapping[str, str],
        stopping: threading.Event,
    ) -> None:
        self._command = [str(program), f"--kubeconfig={kubeconfig}"]
        self._cluster = cluster
        self._environment = dict(environment)
        self._stopping = stopping

    def run(self, *arguments: str, deadline: float, stdin: str = "") -> str:
        """Standard output of a command.

        Raises:
            LabError: it failed or did not end within `deadline` seconds.
        """
        if self._stopping.is_set():
            raise LabError(
                wanted=f"kubectl {' '.join(arguments)}",
                seen="the lab is being removed",
                where=self._cluster,
            )
        return runner.output_of(
            [*self._command, *arguments],
            error=LabError,
            seconds=deadline,
            stdin=stdin,
            env=self._environment,
            wanted=f"kubectl {' '.join(arguments)} to succeed",
            where=self._cluster,
        )

    def wait(self, *arguments: str, seconds: float) -> str:
        """Standard output of a command that waits for something, and knows by itself how long.

        Args:
            arguments: without `--timeout`.

        Raises:
            LabError: what it waits for has not come.
        """
        return self.run(*arguments, f"--timeout={seconds:g}s", deadline=seconds + patient(_MARGIN))

    def create(self, manifests: Sequence[dict[str, Any]]) -> None:
        """Create objects in the given order.

        Raises:
            LabError: one was refused, or is there already.
        """
        self._submit(("create",), manifests)

    def apply(self, manifests: Sequence[dict[str, Any]]) -> None:
        """Make objects have the given fields, whether they are there or not.

        Raises:
            LabError: one was refused.
        """
        self._submit(("apply", "--server-side", "--force-conflicts"), manifests)

    def _submit(self, how: Sequence[str], manifests: Sequence[dict[str, Any]]) -> None:
        self.run(
            *how,
            "--validate=false",
            "-f",
            "-",
            stdin=yaml.safe_dump_all(manifests),
            deadline=patient(ADD_ON_DEADLINE),
        )

    def await_established(self, definitions: Sequence[dict[str, Any]]) -> None:
        """Wait until CustomResourceDefinitions are served.

        Raises:
            LabError: not within `patient(ADD_ON_DEADLINE)`.
        """
        names = [f"crd/{each['metadata']['name']}" for each in definitions]
        seconds = patient(ADD_ON_DEADLINE)
        self.wait("wait", "--for=condition=Established", *names, seconds=seconds)

    def await_rollout(self, namespace: str, kind: str, name: str) -> None:
        """Wait for a Deployment or DaemonSet.

        Raises:
            LabError: not within `patient(ADD_ON_DEADLINE)`; its text has the namespace's pods and
                events.
        """
        seconds = patient(ADD_ON_DEADLINE)
        try:
            self.wait("-n", namespace, "rollout", "status", f"{kind}/{name}", seconds=seconds)
        except LabError as error:
            raise LabError(
                wanted=f"{kind} {name} to be ready within {seconds:g} s",
                seen=f"{error.seen}\n{self._evidence(namespace)}",
                where=self._cluster,
            ) from error

    def _evidence(self, namespace: str) -> str:
        try:
            seconds = patient(EVIDENCE_DEADLINE)
            pods = self.run("-n", namespace, "get", "pods", "-o", "wide", deadline=seconds)
            events = self.run("-n", namespace, "get", "events", deadline=seconds)
        except LabError as error:
            return error.seen
        return f"{pods}\n" + "\n".join(events.splitlines()[-10:])


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
        methods: InstallMethods = BY_ISTIOCTL,
        definitions: Mapping[str, Path] = MappingProxyType({}),
    ) -> None:
        super().__init__(booting.scenario, record, booting.progress)
        self._booting = booting
        self._tools = tools
        self._images = images
        self._charts = charts
        self._earlier = earlier
        self._methods = methods
        self._definitions = definitions

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

    @property
    def methods(self) -> InstallMethods:
        return self._methods

    @property
    def definitions(self) -> Mapping[str, Path]:
        return self._definitions

    def stop(self) -> None:
        self._booting.abort()

    def _settle(self) -> None:
        self._booting.settle()
