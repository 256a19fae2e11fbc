"""Boots the clusters of a lab: networks, node files, processes, then DNS and load balancers."""

from __future__ import annotations

import http.client
import shutil
import ssl
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from mesh_fixtures.artifacts.build import Artifacts
from mesh_fixtures.errors import LabError
from mesh_fixtures.lab.addressing import ClusterAddresses, LabAddresses, NodeAddresses
from mesh_fixtures.lab.booted import Boot, Kubectl
from mesh_fixtures.lab.netns import cgroups, launch, network
from mesh_fixtures.lab.netns.add_ons import Manifest, add_ons
from mesh_fixtures.lab.netns.components import REQUEST_SECONDS, NodeService, services_of
from mesh_fixtures.lab.netns.node_files import ClusterKeys, write_node, write_router
from mesh_fixtures.lab.pki import kubeconfig
from mesh_fixtures.patience import patient

API_SERVER_DEADLINE = 60.0
_REQUEST_DEADLINE = 2.0
_POLL = 0.05
_LOG_LINES = 3

ROUTER = "router"
"""What the lab runs beside its nodes is filed under this name, which no node can have."""


@dataclass(frozen=True)
class NetnsBoot(Boot):
    """Boots clusters in network namespaces."""

    addresses: LabAddresses
    artifacts: Artifacts

    @property
    def kubectl_program(self) -> Path:
        return self.artifacts.binaries / "kubectl"

    def node_folder(self, node: str) -> Path:
        return self.folder / "nodes" / node

    def admin_folder(self, cluster: str) -> Path:
        """Certificates of a cluster's authority and administrator, as PEM files."""
        return self.folder / "admin" / cluster


def start(boot: NetnsBoot, etcd: Path) -> dict[str, int]:
    """Make the networks, start every node, wait for the API servers and create the add-ons.

    Args:
        etcd: data of a prepared control plane, copied for each cluster.

    Returns:
        The loopback port of each cluster's API server.

    Raises:
        LabError: something did not come up in time.
    """
    ports = _start_all(boot, _services, etcd)

    def await_cluster(cluster: str) -> None:
        _await_new_api_server(boot, cluster, ports[cluster])
        with boot.progress.phase("add-ons", cluster):
            parts = add_ons(boot.artifacts, boot.addresses.clusters[cluster])
            kubectl = boot.kubectl(cluster)
            register(kubectl, parts.nodes)
            kubectl.create(parts.of_cluster)

    boot.on_every_cluster(await_cluster, all_or_nothing=True)
    return ports


def register(kubectl: Kubectl, nodes: Sequence[Manifest]) -> None:
    """Make nodes what the lab decides of them, whether their kubelets have made them or not.

    In dual stack they have two addresses of one type, which only a new object may have: by the type
    of an address, an apply finds the one that it changes.

    Raises:
        LabError: one was refused.
    """
    of_one_family = [node for node in nodes if len(node["spec"]["podCIDRs"]) == 1]
    of_both = [node for node in nodes if node not in of_one_family]
    if of_both:
        with suppress(LabError):  # some are there; for any other reason, the next call fails too
            kubectl.create(of_both)
    decided = [{key: node[key] for key in node if key != "status"} for node in of_both]
    kubectl.apply([*of_one_family, *decided])


def start_bare(boot: NetnsBoot) -> None:
    """Start only etcd and the API server, and create what every cluster's add-ons share.

    Raises:
        LabError: something did not come up in time.
    """
    ports = _start_all(boot, _storage_services, None)

    def create_shared(cluster: str) -> None:
        _await_new_api_server(boot, cluster, ports[cluster])
        kubectl = boot.kubectl(cluster)
        parts = add_ons(boot.artifacts, boot.addresses.clusters[cluster])
        namespaces = [m for m in parts.of_cluster if m["kind"] == "Namespace"]
        kubectl.create([*parts.definitions, *namespaces, *parts.shared])
        kubectl.await_established(parts.definitions)

    boot.on_every_cluster(create_shared, all_or_nothing=True)


_Services = Callable[[ClusterAddresses, NodeAddresses], tuple[NodeService, ...]]


def _services(cluster: ClusterAddresses, node: NodeAddresses) -> tuple[NodeService, ...]:
    return services_of(cluster, node, patient(REQUEST_SECONDS))


def _storage_services(cluster: ClusterAddresses, node: NodeAddresses) -> tuple[NodeService, ...]:
    wanted = ("etcd", "kube-apiserver")
    return tuple(s for s in _services(cluster, node) if s.name in wanted)


def _start_all(boot: NetnsBoot, services: _Services, etcd: Path | None) -> dict[str, int]:
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
    boot: NetnsBoot,
    cluster: ClusterAddresses,
    node: NodeAddresses,
    keys: ClusterKeys,
    services: tuple[NodeService, ...],
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


def _create_groups(boot: NetnsBoot, node: str) -> None:
    nodes = sum(len(cluster.nodes) for cluster in boot.addresses.clusters.values())
    cgroups.create(boot.lab, node, nodes, boot.journal.record)


def _write_kubeconfigs(
    boot: NetnsBoot, keys: dict[str, ClusterKeys], ports: dict[str, int]
) -> None:
    for name, key in keys.items():
        certificate, user = key.authority.credential.certificate_pem, key.administrator
        server = f"https://127.0.0.1:{ports[name]}"
        content = kubeconfig(name, server, certificate, user.certificate_pem, user.key_pem)
        boot.write_kubeconfig(name, content)
        folder = boot.admin_folder(name)
        folder.mkdir(parents=True, mode=0o700)
        (folder / "ca.crt").write_bytes(certificate)
        key.administrator.write(folder, "admin")
    boot.merge_kubeconfigs()


def _await_new_api_server(boot: NetnsBoot, cluster: str, port: int) -> None:
    with boot.progress.phase("API server", cluster):
        await_api_server(boot, cluster, port, patient(API_SERVER_DEADLINE))


def await_api_server(boot: NetnsBoot, cluster: str, port: int, deadline: float) -> None:
    """Wait until an API server says that it is ready (Kubernetes: "API health endpoints").

    Args:
        port: on this machine's loopback.
        deadline: seconds.

    Raises:
        LabError: not within the deadline, or the lab is stopped.
    """
    admin = boot.admin_folder(cluster)
    node = boot.node_folder(boot.addresses.clusters[cluster].control_plane.name)
    context = ssl.create_default_context(cafile=str(admin / "ca.crt"))
    context.load_cert_chain(str(admin / "admin.crt"), str(admin / "admin.key"))
    end = time.monotonic() + deadline
    while True:
        seen = _readyz(port, context)
        if seen == "":
            return
        if boot.stopping.wait(_POLL) or time.monotonic() > end:
            raise LabError(
                wanted=f"the API server to be ready within {deadline:g} s",
                seen=f"{seen}\n{_ends_of_logs(node)}",
                where=node.name,
                remedy="the machine may be too busy; otherwise the logs name the cause",
            )


def _readyz(port: int, context: ssl.SSLContext) -> str:
    connection = http.client.HTTPSConnection(
        "127.0.0.1", port, timeout=patient(_REQUEST_DEADLINE), context=context
    )
    try:
        connection.request("GET", "/readyz")
        response = connection.getresponse()
        body = response.read().decode(errors="replace")
        return "" if response.status == 200 else f"/readyz: {response.status} {body[-300:]}"
    except (OSError, http.client.HTTPException) as error:
        return f"/readyz: {error!r}"
    finally:
        connection.close()


def _ends_of_logs(node: Path) -> str:
    files = [node / "node.log", *sorted((node / "log").glob("*.log"))]
    return "\n".join(
        f"  {file.name}: {line}"
        for file in files
        if file.exists()
        for line in file.read_text(errors="replace").splitlines()[-_LOG_LINES:]
    )
