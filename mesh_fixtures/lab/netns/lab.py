"""The embedded lab: real Kubernetes nodes in network namespaces of this machine."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from mesh_fixtures.artifacts.build import Artifacts, ensure_artifacts
from mesh_fixtures.errors import LabError, MeshConformanceError
from mesh_fixtures.images import ImageSet
from mesh_fixtures.lab.addressing import LabAddresses, assign_addresses
from mesh_fixtures.lab.netns import boot as booting
from mesh_fixtures.lab.netns import launch, machine, processes, readiness, state
from mesh_fixtures.lab.netns.network import API_SERVER_PORT
from mesh_fixtures.lab.netns.prepared import prepared_etcd
from mesh_fixtures.lab.netns.teardown import clean_abandoned, end_processes, leftovers, tear_down
from mesh_fixtures.lab.provider import Cluster, Problem, Tools
from mesh_fixtures.progress import Progress
from mesh_fixtures.scenario import Scenario

_TAKE_OVER_DEADLINE = 10.0


class NetnsLab:
    """Clusters in network namespaces; implements `mesh_fixtures.lab.provider.Lab`."""

    def __init__(
        self, scenario: Scenario, record: state.Record, artifacts: Artifacts, progress: Progress
    ) -> None:
        self._scenario = scenario
        self._record = record
        self._artifacts = artifacts
        self._progress = progress
        self._addresses = assign_addresses(scenario, record.slot)
        self._boot = booting.Boot(
            record.id, record.folder, record.journal, self._addresses, artifacts, progress
        )
        self._clusters = _clusters(self._addresses, self._boot)
        self._settling: threading.Thread | None = None
        self._failure: MeshConformanceError | None = None

    @property
    def id(self) -> str:
        return self._record.id

    @property
    def provider(self) -> str:
        return "netns"

    @property
    def scenario(self) -> Scenario:
        return self._scenario

    @property
    def folder(self) -> Path:
        return self._record.folder

    @property
    def clusters(self) -> Mapping[str, Cluster]:
        return self._clusters

    @property
    def kubeconfig(self) -> Path:
        return self.folder / "kubeconfig"

    @property
    def environment(self) -> Mapping[str, str]:
        return launch.marked_environment(self.id)

    @property
    def tools(self) -> Tools:
        folder = self._artifacts.binaries
        return Tools(kubectl=folder / "kubectl", istioctl=folder / "istioctl")

    @property
    def images(self) -> ImageSet:
        return self._artifacts.images

    @property
    def installed(self) -> bool:
        return self._record.installed

    def mark_installed(self) -> None:
        self._update(installed=True)

    def start(self) -> None:
        """Boot everything; DNS and load balancers become ready in the background.

        Raises:
            LabError: a cluster did not come up; `close` is still to be called.
        """
        ports = booting.start(self._boot, prepared_etcd(self._artifacts, self._progress))
        self._update(booted=True, ports=tuple(ports.items()))
        self._settling = threading.Thread(target=self._settle, daemon=True)
        self._settling.start()

    def resume(self) -> bool:
        """Whether a kept lab still answers; it is used as it is then."""
        try:
            for name, port in self._record.ports:
                admin = self.folder / "admin" / name
                readiness.await_api_server(
                    port,
                    admin / "ca.crt",
                    (admin / "admin.crt", admin / "admin.key"),
                    self._boot.node_folder(self._addresses.clusters[name].control_plane.name),
                    deadline=_TAKE_OVER_DEADLINE,
                )
        except (MeshConformanceError, OSError):
            return False
        return True

    def wait_ready(self) -> None:
        if self._settling is not None:
            self._settling.join()
        if self._failure is not None:
            raise self._failure

    def memory(self) -> int:
        """Proportional set size of all the lab's processes in bytes."""
        roots = [e.pid for e in self._record.journal.entries() if e.kind == "process"]
        return processes.proportional_set_size(processes.descendants(roots))

    def close(self, *, keep: bool = False) -> None:
        if keep:
            with state.exclusive():
                self._update(kept=True, owner_pid=0, owner_started=0)
            return
        with self._progress.phase("teardown"):
            end_processes(self._record)
            if self._settling is not None:
                self._settling.join()
            tear_down(self._record)

    def leftovers(self) -> list[str]:
        """What still exists of this lab, one line each."""
        return leftovers(self.id, list(self._record.journal.entries()))

    def _settle(self) -> None:
        try:
            booting.settle(self._boot)
        except MeshConformanceError as error:
            self._failure = error

    def _update(self, **changes: object) -> None:
        self._record = replace(self._record, **changes)  # type: ignore[arg-type]
        self._record.save()


class NetnsProvider:
    """Makes embedded labs; implements `mesh_fixtures.lab.provider.Provider`."""

    @property
    def name(self) -> str:
        return "netns"

    def problems(self) -> Sequence[Problem]:
        return machine.problems()

    def open(self, scenario: Scenario, progress: Progress) -> NetnsLab:
        machine.require_machine()
        assign_addresses(scenario, slot=0)
        artifacts = ensure_artifacts(progress)
        kept = _take_over(scenario, artifacts, progress)
        if kept is not None:
            return kept
        clean_abandoned(progress)
        with state.exclusive():
            record = state.claim(scenario.id, scenario.digest, artifacts.digest)
        lab = NetnsLab(scenario, record, artifacts, progress)
        try:
            lab.start()
        except BaseException:
            lab.close()
            raise
        return lab


def take_down_kept(scenario_id: str | None, progress: Progress) -> list[str]:
    """Remove kept labs that nobody uses.

    Args:
        scenario_id: only those of this scenario; None for all.

    Returns:
        The ids of the removed labs.

    Raises:
        LabError: one is in use, or could not be removed.
    """
    removed = []
    with state.exclusive():
        for record in state.records():
            if scenario_id in (None, record.scenario):
                if record.in_use:
                    raise LabError(
                        wanted=f"lab {record.id} to be free",
                        seen=f"process {record.owner_pid} uses it",
                        where=str(record.folder),
                        remedy="wait for that process, or end it",
                    )
                with progress.phase("teardown", detail=record.id):
                    tear_down(record)
                removed.append(record.id)
    return removed


def _take_over(scenario: Scenario, artifacts: Artifacts, progress: Progress) -> NetnsLab | None:
    """A kept lab of the same scenario and artifacts, if there is one that works."""
    with state.exclusive():
        for record in state.records():
            same = (record.scenario_digest, record.artifacts_digest) == (
                scenario.digest,
                artifacts.digest,
            )
            if record.kept and record.installed and same and not record.in_use:
                lab = NetnsLab(scenario, state.take_over(record), artifacts, progress)
                if lab.resume():
                    progress.note("reuse", f"kept lab {record.id}")
                    return lab
                progress.note("reuse", f"kept lab {record.id} no longer answers; removing it")
                tear_down(record)
    return None


def _clusters(addresses: LabAddresses, boot: booting.Boot) -> dict[str, Cluster]:
    return {
        cluster.name: Cluster(
            name=cluster.name,
            network=cluster.network.name,
            kubeconfig=boot.kubeconfig_of(cluster.name),
            api_server=f"https://{cluster.control_plane.address}:{API_SERVER_PORT}",
            pod_cidr=cluster.pod_cidr,
            service_cidr=cluster.service_cidr,
            nodes=tuple(node.as_node() for node in cluster.nodes),
            load_balancer_pool=cluster.pool,
        )
        for cluster in addresses.clusters.values()
    }
