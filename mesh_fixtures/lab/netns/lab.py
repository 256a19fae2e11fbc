"""The embedded lab: real Kubernetes nodes in network namespaces of this machine."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from mesh_fixtures.artifacts.build import Artifacts
from mesh_fixtures.errors import MeshConformanceError
from mesh_fixtures.images import ImageSet
from mesh_fixtures.lab.addressing import LabAddresses, assign_addresses
from mesh_fixtures.lab.netns import boot as booting
from mesh_fixtures.lab.netns import launch, processes, readiness, state
from mesh_fixtures.lab.netns.network import API_SERVER_PORT
from mesh_fixtures.lab.netns.prepared import prepared_etcd
from mesh_fixtures.lab.netns.teardown import end_processes, is_running, tear_down
from mesh_fixtures.lab.provider import Cluster, Tools
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
        self._failure: Exception | None = None

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

    def stop(self) -> None:
        """End what is under way and all processes; `close` is still to be called.

        Raises:
            LabError: a process is still there.
        """
        self._boot.stopping.set()
        end_processes(self.id, self._record.journal)

    def resume(self) -> bool:
        """Whether a kept lab still answers; it is used as it is then."""
        if not all(is_running(entry) for entry in self._record.journal.entries()):
            return False
        try:
            for name, port in self._record.ports:
                admin = self.folder / "admin" / name
                readiness.await_api_server(
                    port,
                    admin / "ca.crt",
                    (admin / "admin.crt", admin / "admin.key"),
                    self._boot.node_folder(self._addresses.clusters[name].control_plane.name),
                    deadline=_TAKE_OVER_DEADLINE,
                    stopping=self._boot.stopping,
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
            self._progress.note(
                "kept",
                f"export KUBECONFIG={self.kubeconfig}; "
                f"remove it with: mesh-conformance down {self._scenario.id}",
            )
            return
        with self._progress.phase("teardown"):
            self.stop()
            if self._settling is not None:
                self._settling.join()
            tear_down(self._record)

    def _settle(self) -> None:
        try:
            booting.settle(self._boot)
        except Exception as error:  # whatever it is, a lab that has not settled is not ready
            self._failure = error

    def _update(self, **changes: object) -> None:
        self._record = replace(self._record, **changes)  # type: ignore[arg-type]
        self._record.save()


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
