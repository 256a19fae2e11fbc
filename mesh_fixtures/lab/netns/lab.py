"""The embedded lab: real Kubernetes nodes in network namespaces of this machine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from mesh_fixtures import records
from mesh_fixtures.artifacts.build import Artifacts
from mesh_fixtures.artifacts.helm_install import HelmInstall
from mesh_fixtures.charts import Charts
from mesh_fixtures.contract import Cluster, EndedService, Tools
from mesh_fixtures.errors import MeshConformanceError
from mesh_fixtures.images import ImageSet
from mesh_fixtures.lab import processes
from mesh_fixtures.lab.addressing import LabAddresses, assign_addresses
from mesh_fixtures.lab.netns import boot as booting
from mesh_fixtures.lab.netns import readiness
from mesh_fixtures.lab.netns.inspection import ended_services, network_state
from mesh_fixtures.lab.netns.launch import path_of
from mesh_fixtures.lab.netns.network import API_SERVER_PORT, router_namespace
from mesh_fixtures.lab.netns.prepared import prepared_etcd
from mesh_fixtures.lab.netns.teardown import tear_down
from mesh_fixtures.lab.recorded import RecordedLab
from mesh_fixtures.patience import patient
from mesh_fixtures.progress import Progress
from mesh_fixtures.scenario import Scenario

_TAKE_OVER_DEADLINE = 10.0


class NetnsLab(RecordedLab):
    """Clusters in network namespaces."""

    def __init__(
        self,
        scenario: Scenario,
        record: records.Record,
        artifacts: Artifacts,
        progress: Progress,
        helm: HelmInstall | None = None,
    ) -> None:
        super().__init__(scenario, record, progress)
        self._artifacts = artifacts
        self._helm = helm
        self._addresses = assign_addresses(scenario, record.slot)
        self._booting = booting.Boot(
            record.id, record.folder, record.journal, self._addresses, artifacts, progress
        )
        self._clusters = _clusters(self._addresses, self._booting)

    @property
    def clusters(self) -> Mapping[str, Cluster]:
        return self._clusters

    @property
    def tools(self) -> Tools:
        folder = self._artifacts.binaries
        return Tools(
            kubectl=folder / "kubectl",
            istioctl=folder / "istioctl",
            helm=self._helm.program if self._helm else None,
        )

    @property
    def images(self) -> ImageSet:
        return self._artifacts.images

    @property
    def charts(self) -> Charts | None:
        return self._helm.charts if self._helm else None

    @property
    def ended_services(self) -> Mapping[str, Sequence[EndedService]]:
        return {
            cluster.name: [
                ended
                for node in cluster.nodes
                for ended in ended_services(self._booting.node_folder(node.name))
            ]
            for cluster in self._addresses.clusters.values()
        }

    @property
    def network_command(self) -> Sequence[str]:
        return ("nsenter", f"--net={path_of(router_namespace(self.id))}")

    def stop(self) -> None:
        self._booting.give_up()

    def resume(self) -> bool:
        if not all(processes.is_running(entry) for entry in self._record.journal.entries()):
            return False
        try:
            for name, port in self._record.ports:
                admin = self.folder / "admin" / name
                readiness.await_api_server(
                    port,
                    admin / "ca.crt",
                    (admin / "admin.crt", admin / "admin.key"),
                    self._booting.node_folder(self._addresses.clusters[name].control_plane.name),
                    deadline=patient(_TAKE_OVER_DEADLINE),
                    stopping=self._booting.stopping,
                )
        except (MeshConformanceError, OSError):
            return False
        return True

    def memory(self) -> int:
        """Proportional set size of all the lab's processes in bytes."""
        roots = [e.pid for e in self._record.journal.entries() if e.kind == "process"]
        return processes.proportional_set_size(processes.descendants(roots))

    def network_state(self) -> Mapping[str, str]:
        """Links, routes and filters of each network namespace, as commands print them."""
        return network_state(self._record.journal)

    def _boot(self) -> None:
        ports = booting.start(self._booting, prepared_etcd(self._artifacts, self._progress))
        self._update(ports=tuple(ports.items()))

    def _settle(self) -> None:
        booting.settle(self._booting)

    def _tear_down(self) -> None:
        tear_down(self._record)


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
