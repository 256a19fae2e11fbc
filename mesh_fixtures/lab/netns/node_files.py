"""Files of an embedded node, written below the lab's folder before the node starts."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from ipaddress import IPv4Address
from pathlib import Path

from mesh_fixtures.addresses import with_port
from mesh_fixtures.artifacts.build import Artifacts
from mesh_fixtures.certificates import Credential, write_private
from mesh_fixtures.lab.addressing import ClusterAddresses, LabAddresses, NodeAddresses
from mesh_fixtures.lab.netns import cgroups
from mesh_fixtures.lab.netns.components import (
    ANSWER_SECONDS,
    AWAIT_SECONDS,
    CONFIGURATION,
    LOGS,
    MACHINE_TUNABLES,
    Mount,
    NodeService,
    NodeSpec,
    cni_configuration,
    containerd_configuration,
    kube_proxy_configuration,
    kubelet_configuration,
    node_sysctls,
    router_sysctls,
    with_clock_speed,
)
from mesh_fixtures.lab.netns.network import API_SERVER_PORT, node_rules, router_rules
from mesh_fixtures.lab.pki import ClusterAuthority, kubeconfig, service_account_keys
from mesh_fixtures.patience import patient

_RULES = f"{CONFIGURATION}/rules.nft"


@dataclass(frozen=True)
class ClusterKeys:
    """Keys of a cluster that its nodes and its users need."""

    authority: ClusterAuthority
    service_accounts: tuple[bytes, bytes]
    administrator: Credential

    @classmethod
    def make(cls, cluster: str) -> ClusterKeys:
        authority = ClusterAuthority(f"{cluster}-ca")
        administrator = authority.issue("kubernetes-admin", organizations=["system:masters"])
        return cls(authority, service_account_keys(), administrator)


def write_router(folder: Path, lab: str, addresses: LabAddresses, artifacts: Artifacts) -> Path:
    """Write the router's files; returns the path of its description for mesh-node."""
    _make_folders(folder, ("etc", "root"))
    (folder / "etc" / "rules.nft").write_text(router_rules(addresses))
    spec = NodeSpec(
        hostname=f"{lab}-router",
        root=str(folder / "root"),
        lowers=tuple(map(str, artifacts.root_lowers)),
        mounts=(Mount("proc", "/proc"), Mount("bind", CONFIGURATION, str(folder / "etc"))),
        path="/usr/sbin:/usr/bin",
        sysctls=router_sysctls(next(iter(addresses.networks.values()))),
        rules=_RULES,
        services=(),
        await_seconds=patient(AWAIT_SECONDS),
        answer_seconds=patient(ANSWER_SECONDS),
    )
    return _write_spec(folder, spec)


def write_node(
    folder: Path,
    lab: str,
    addresses: LabAddresses,
    cluster: ClusterAddresses,
    node: NodeAddresses,
    keys: ClusterKeys,
    artifacts: Artifacts,
    services: tuple[NodeService, ...],
) -> Path:
    """Write a node's keys, configuration and container store; returns its description's path."""
    _make_folders(
        folder, ("etc/pki", "cni", "root", "containerd", "kubelet", "etcd", "log", "tunables")
    )
    etc = folder / "etc"
    tunables = _write_tunables(folder / "tunables")
    (etc / "pki" / "ca.crt").write_bytes(keys.authority.credential.certificate_pem)
    if node == cluster.control_plane:
        _write_control_plane(etc, cluster, keys)
    server = f"https://{with_port(cluster.control_plane.address, API_SERVER_PORT)}"
    kubelet = keys.authority.issue(
        f"system:node:{node.name}",
        organizations=["system:nodes"],
        addresses=node.addresses,
        names=[node.name],
    )
    kubelet.write(etc / "pki", "kubelet")
    proxy = keys.authority.issue("system:kube-proxy")
    for name, user in (("kubelet", kubelet), ("kube-proxy", proxy)):
        _write_kubeconfig(etc / f"{name}.conf", cluster.name, server, keys, user)
    cgroup_root = cgroups.kubelet_root(lab, node.name)
    (etc / "kubelet.yaml").write_text(kubelet_configuration(cluster, cgroup_root))
    (etc / "kube-proxy.yaml").write_text(kube_proxy_configuration(cluster, node))
    (etc / "containerd.toml").write_text(containerd_configuration(artifacts.pause_image))
    (etc / "rules.nft").write_text(node_rules(addresses, cluster))
    (folder / "cni" / "10-pods.conflist").write_text(cni_configuration(node))
    (etc / "resolv.conf").write_text("")
    share_store(artifacts.containerd_store, folder / "containerd")
    store, binaries = str(artifacts.containerd_store), str(artifacts.binaries)
    spec = NodeSpec(
        hostname=node.name,
        root=str(folder / "root"),
        lowers=tuple(map(str, artifacts.root_lowers)),
        mounts=(
            Mount("proc", "/proc"),
            *tunables,
            Mount("sysfs", "/sys"),
            Mount("bind", str(cgroups.MOUNT), str(cgroups.MOUNT)),
            Mount("tmpfs", "/run"),
            Mount("tmpfs", "/tmp"),  # noqa: S108 - the node's own
            Mount("bind", store, store, read_only=True),
            Mount("bind", binaries, binaries, read_only=True),
            Mount("bind", CONFIGURATION, str(etc)),
            Mount("bind", "/etc/resolv.conf", str(etc / "resolv.conf")),
            Mount("bind", "/etc/cni/net.d", str(folder / "cni")),
            Mount("bind", "/var/lib/containerd", str(folder / "containerd")),
            Mount("bind", "/var/lib/kubelet", str(folder / "kubelet")),
            Mount("bind", "/var/lib/etcd", str(folder / "etcd")),
            Mount("bind", LOGS, str(folder / "log")),
        ),
        path=f"{binaries}:/usr/sbin:/usr/bin",
        sysctls=node_sysctls(cluster),
        rules=_RULES,
        services=services,
        group=str(cgroups.services_group(lab, node.name)),
        await_seconds=patient(AWAIT_SECONDS),
        answer_seconds=patient(ANSWER_SECONDS),
    )
    return _write_spec(folder, spec)


def share_store(store: Path, target: Path) -> None:
    """Give a node the prepared images of a containerd root without copying them.

    Content blobs and unpacked snapshots are immutable, so links to them do; containerd removes a
    link without touching what it points to. The databases are the node's own.
    """
    for plugin in sorted(store.iterdir()):
        if plugin.is_dir():
            (target / plugin.name).mkdir()
            _share_plugin(plugin, target / plugin.name)


def _share_plugin(source: Path, target: Path) -> None:
    for entry in sorted(source.iterdir()):
        if entry.name == "snapshots":
            (target / entry.name).mkdir(mode=0o700)
            for snapshot in entry.iterdir():
                (target / entry.name / snapshot.name).symlink_to(snapshot)
        elif entry.name == "blobs":
            for blob in entry.glob("*/*"):
                algorithm = target / entry.name / blob.parent.name
                algorithm.mkdir(parents=True, exist_ok=True)
                (algorithm / blob.name).symlink_to(blob)
        elif entry.is_file():
            shutil.copyfile(entry, target / entry.name)
        elif entry.is_dir():
            (target / entry.name).mkdir()


def _write_tunables(folder: Path) -> list[Mount]:
    mounts = []
    cpuinfo = Path("/proc/cpuinfo").read_text()
    if with_clock_speed(cpuinfo) != cpuinfo:
        (folder / "cpuinfo").write_text(with_clock_speed(cpuinfo))
        mounts.append(Mount("bind", "/proc/cpuinfo", str(folder / "cpuinfo")))
    for path, value in MACHINE_TUNABLES.items():
        file = folder / path.replace("/", ".")
        file.write_text(f"{value}\n")
        mounts.append(Mount("bind", f"/proc/sys/{path}", str(file)))
    return mounts


def _write_control_plane(etc: Path, cluster: ClusterAddresses, keys: ClusterKeys) -> None:
    pki = etc / "pki"
    private, public = keys.service_accounts
    write_private(pki / "ca.key", keys.authority.credential.key_pem)
    write_private(pki / "sa.key", private)
    (pki / "sa.pub").write_bytes(public)
    service = ["kubernetes", "kubernetes.default", "kubernetes.default.svc"]
    names = ["localhost", *service, f"{service[-1]}.{cluster.domain}", cluster.control_plane.name]
    loopback = IPv4Address("127.0.0.1")
    addresses = [loopback, *cluster.control_plane.addresses, cluster.kubernetes_service]
    keys.authority.issue("kube-apiserver", addresses=addresses, names=names).write(pki, "apiserver")
    keys.authority.issue("kube-apiserver-kubelet-client", organizations=["system:masters"]).write(
        pki, "apiserver-kubelet-client"
    )
    for name in ("controller-manager", "scheduler"):
        _write_kubeconfig(
            etc / f"{name}.conf",
            cluster.name,
            f"https://127.0.0.1:{API_SERVER_PORT}",
            keys,
            keys.authority.issue(f"system:kube-{name}"),
        )


def _write_kubeconfig(
    path: Path, cluster: str, server: str, keys: ClusterKeys, user: Credential
) -> None:
    authority = keys.authority.credential.certificate_pem
    content = kubeconfig(cluster, server, authority, user.certificate_pem, user.key_pem)
    write_private(path, content.encode())


def _make_folders(folder: Path, names: tuple[str, ...]) -> None:
    for name in names:
        (folder / name).mkdir(parents=True, mode=0o700)


def _write_spec(folder: Path, spec: NodeSpec) -> Path:
    path = folder / "node.json"
    path.write_text(spec.as_json())
    return path
