"""Boots the clusters of a lab: networks, node files, processes, then DNS and load balancers."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from mesh_fixtures.artifacts.build import Artifacts
from mesh_fixtures.certificates import write_private
from mesh_fixtures.journal import Journal
from mesh_fixtures.lab import load_balancer
from mesh_fixtures.lab.addressing import ClusterAddresses, LabAddresses, NodeAddresses
from mesh_fixtures.lab.kubectl import ADD_ON_DEADLINE, Kubectl
from mesh_fixtures.lab.netns import cgroups, launch, network
from mesh_fixtures.lab.netns.add_ons import add_ons
from mesh_fixtures.lab.netns.components import REQUEST_SECONDS, Service, services_of
from mesh_fixtures.lab.netns.node_files import ClusterKeys, write_node, write_router
from mesh_fixtures.lab.netns.readiness import API_SERVER_DEADLINE, await_api_server
from mesh_fixtures.lab.pki import kubeconfig, merge_kubeconfigs
from mesh_fixtures.lab.processes import end_processes, marked_environment
from mesh_fixtures.parallel import parallel_map
from mesh_fixtures.patience import patient
from mesh_fixtures.progress import Progress

ROUTER = "router"
"""What the lab runs beside its nodes is filed under this name, which no node can have."""


@dataclass(frozen=True)
class Boot:
    """A lab on its way up: what it is made of and where it is."""

    lab: str
    folder: Path
    journal: Journal
    addresses: LabAddresses
    artifacts: Artifacts
    progress: Progress
    stopping: threading.Event = field(default_factory=threading.Event)

    def node_folder(self, node: str) -> Path:
        return self.folder / "nodes" / node

    def kubeconfig_of(self, cluster: str) -> Path:
        return self.folder / f"{cluster}.kubeconfig"

    def kubectl(self, cluster: str) -> Kubectl:
        program = self.artifacts.binaries / "kubectl"
        environment = marked_environment(self.lab)
        environment["KUBECACHEDIR"] = str(self.folder / "kubectl")
        kubeconfig = self.kubeconfig_of(cluster)
        return Kubectl(program, kubeconfig, cluster, environment, self.stopping)

    def on_every_cluster(
        self, action: Callable[[ClusterAddresses], None], *, all_or_nothing: bool
    ) -> None:
        """Do something for all clusters at the same time.

        Args:
            all_or_nothing: end the lab's processes on the first trouble or interrupt, so that
                nothing waits for clusters that nobody will use.

        Raises:
            LabError: the first one that any of them raised.
        """
        clusters = self.addresses.clusters.values()
        parallel_map(action, clusters, on_trouble=self.give_up if all_or_nothing else None)

    def give_up(self) -> None:
        """End all processes of the lab.

        Raises:
            LabError: one of them is still there.
        """
        self.stopping.set()
        end_processes(self.lab, self.journal)


def start(boot: Boot, etcd: Path) -> dict[str, int]:
    """Make the networks, start every node, wait for the API servers and create the add-ons.

    Args:
        etcd: data of a prepared control plane, copied for each cluster.

    Returns:
        The loopback port of each cluster's API server.

    Raises:
        LabError: something did not come up in time.
    """
    ports = _power_on(boot, _services, etcd)

    def await_cluster(cluster: ClusterAddresses) -> None:
        _await_api_server(boot, cluster, ports[cluster.name])
        with boot.progress.phase("add-ons", cluster.name):
            parts, kubectl = add_ons(boot.artifacts, cluster), boot.kubectl(cluster.name)
            kubectl.apply(parts.nodes)
            kubectl.create(parts.of_cluster)

    boot.on_every_cluster(await_cluster, all_or_nothing=True)
    return ports


def start_bare(boot: Boot) -> None:
    """Start only etcd and the API server, and create what every cluster's add-ons share.

    Raises:
        LabError: something did not come up in time.
    """
    ports = _power_on(boot, _storage_services, None)

    def create_shared(cluster: ClusterAddresses) -> None:
        _await_api_server(boot, cluster, ports[cluster.name])
        kubectl = boot.kubectl(cluster.name)
        parts = add_ons(boot.artifacts, cluster)
        namespaces = [m for m in parts.of_cluster if m["kind"] == "Namespace"]
        kubectl.create([*parts.definitions, *namespaces, *parts.shared])
        names = [f"crd/{m['metadata']['name']}" for m in parts.definitions]
        seconds = patient(ADD_ON_DEADLINE)
        kubectl.wait("wait", "--for=condition=Established", *names, seconds=seconds)

    boot.on_every_cluster(create_shared, all_or_nothing=True)


def settle(boot: Boot) -> None:
    """Wait until nodes, DNS and load balancers of all clusters work.

    Raises:
        LabError: one of them does not, in time.
    """
    boot.on_every_cluster(lambda cluster: _await_add_ons(boot, cluster), all_or_nothing=False)


_Services = Callable[[ClusterAddresses, NodeAddresses], tuple[Service, ...]]


def _services(cluster: ClusterAddresses, node: NodeAddresses) -> tuple[Service, ...]:
    return services_of(cluster, node, patient(REQUEST_SECONDS))


def _storage_services(cluster: ClusterAddresses, node: NodeAddresses) -> tuple[Service, ...]:
    wanted = ("etcd", "kube-apiserver")
    return tuple(s for s in _services(cluster, node) if s.name in wanted)


def _power_on(boot: Boot, services: _Services, etcd: Path | None) -> dict[str, int]:
    """Make the networks and start all processes; returns the API servers' loopback ports."""
    clusters = boot.addresses.clusters
    with boot.progress.phase("networks"):
        network.build_networks(boot.lab, boot.addresses, boot.journal.record)
    with boot.progress.phase("nodes"):
        keys = {name: ClusterKeys.make(name) for name in clusters}
        router = network.router_namespace(boot.lab)
        _create_groups(boot, ROUTER)
        mesh_node = boot.artifacts.binaries / "mesh-node"
        for cluster in clusters.values():
            for node in cluster.nodes:
                _start_node(boot, cluster, node, keys[cluster.name], services(cluster, node), etcd)
        ports = launch.start_forwarder(
            boot.lab,
            boot.journal,
            router,
            {name: str(c.control_plane.address) for name, c in clusters.items()},
            boot.folder / "forwarder.log",
            cgroups.services_group(boot.lab, ROUTER),
        )
        _write_kubeconfigs(boot, keys, ports)
        spec = write_router(boot.node_folder(ROUTER), boot.lab, boot.addresses, boot.artifacts)
        launch.set_up(boot.lab, router, mesh_node, spec)
    return ports


def _start_node(
    boot: Boot,
    cluster: ClusterAddresses,
    node: NodeAddresses,
    keys: ClusterKeys,
    services: tuple[Service, ...],
    etcd: Path | None,
) -> None:
    _create_groups(boot, node.name)
    folder = boot.node_folder(node.name)
    spec = write_node(
        folder, boot.lab, boot.addresses, cluster, node, keys, boot.artifacts, services
    )
    if etcd is not None and node == cluster.control_plane:
        shutil.copytree(etcd, folder / "etcd", dirs_exist_ok=True)
    launch.start_node(
        boot.lab,
        boot.journal,
        network.node_namespace(boot.lab, node.name),
        boot.artifacts.binaries / "mesh-node",
        spec,
        cgroups.services_group(boot.lab, node.name),
    )


def _create_groups(boot: Boot, node: str) -> None:
    nodes = sum(len(cluster.nodes) for cluster in boot.addresses.clusters.values())
    cgroups.create(boot.lab, node, nodes, boot.journal.record)


def _write_kubeconfigs(boot: Boot, keys: dict[str, ClusterKeys], ports: dict[str, int]) -> None:
    contents = []
    for name, key in keys.items():
        certificate, user = key.authority.credential.certificate_pem, key.administrator
        server = f"https://127.0.0.1:{ports[name]}"
        content = kubeconfig(name, server, certificate, user.certificate_pem, user.key_pem)
        write_private(boot.kubeconfig_of(name), content.encode())
        folder = boot.folder / "admin" / name
        folder.mkdir(parents=True, mode=0o700)
        (folder / "ca.crt").write_bytes(certificate)
        key.administrator.write(folder, "admin")
        contents.append(content)
    write_private(boot.folder / "kubeconfig", merge_kubeconfigs(contents).encode())


def _await_api_server(boot: Boot, cluster: ClusterAddresses, port: int) -> None:
    folder = boot.folder / "admin" / cluster.name
    with boot.progress.phase("API server", cluster.name):
        await_api_server(
            port,
            folder / "ca.crt",
            (folder / "admin.crt", folder / "admin.key"),
            boot.node_folder(cluster.control_plane.name),
            stopping=boot.stopping,
            deadline=patient(API_SERVER_DEADLINE),
        )


def _await_add_ons(boot: Boot, cluster: ClusterAddresses) -> None:
    kubectl = boot.kubectl(cluster.name)
    with boot.progress.phase("DNS and load balancer", cluster.name):
        kubectl.wait(
            "wait",
            "--for=condition=Ready",
            *(f"node/{node.name}" for node in cluster.nodes),
            seconds=patient(ADD_ON_DEADLINE),
        )
        kubectl.await_rollout("kube-system", "deployment", "coredns")
        kubectl.await_rollout(load_balancer.NAMESPACE, "deployment", "controller")
        kubectl.await_rollout(load_balancer.NAMESPACE, "daemonset", "speaker")
