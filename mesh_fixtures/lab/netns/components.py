"""Command lines and configuration files of a node's components, as values."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Final

import yaml

from mesh_fixtures.addresses import with_port
from mesh_fixtures.lab.addressing import (
    ClusterAddresses,
    NetworkAddresses,
    NodeAddresses,
    locality_labels,
)
from mesh_fixtures.lab.netns.network import API_SERVER_PORT, NODE_INTERFACE

CONFIGURATION = "/etc/kubernetes"
CONTAINERD_SOCKET = "/run/containerd/containerd.sock"
LOGS = "/var/log/node"
REQUEST_SECONDS = 60.0
"""What an API server gives a request by default (kube-apiserver's reference)."""

_ETCD = "127.0.0.1:2379"

# Controllers of what an embedded cluster does not have: provisioners of persistent volumes, dynamic
# resources, metrics, and node CIDRs (the lab assigns those itself). What the API server protects by
# a finalizer has its controller, or it could not be deleted.
_ABSENT_CONTROLLERS = (
    "device-taint-eviction-controller",
    "ephemeral-volume-controller",
    "horizontal-pod-autoscaler-controller",
    "node-ipam-controller",
    "persistentvolume-attach-detach-controller",
    "persistentvolume-binder-controller",
    "persistentvolume-expander-controller",
    "resourceclaim-controller",
)


_UNUSED_CONTAINERD_PLUGINS = (
    "internal.v1.opt",
    "snapshotter.v1.aufs",
    "snapshotter.v1.btrfs",
    "snapshotter.v1.devmapper",
    "snapshotter.v1.zfs",
)


AWAIT_SECONDS = 60.0
"""Until a service answers that another one wants."""

ANSWER_SECONDS = 5.0
"""For one of its answers by HTTPS."""


@dataclass(frozen=True)
class NodeService:
    """A process that the node keeps running once all the addresses in `wants` answer."""

    name: str
    argv: tuple[str, ...]
    log: str
    wants: tuple[str, ...]


@dataclass(frozen=True)
class Mount:
    """A mount of a node's file system; see mesh-node."""

    kind: str
    target: str
    source: str = ""
    read_only: bool = False


@dataclass(frozen=True)
class NodeSpec:
    """What mesh-node reads: the node's file system, settings and services.

    Attributes:
        rules: path inside the node that nft loads first.
        await_seconds: how long a service waits for those that it wants.
        answer_seconds: how long one of their answers by HTTPS may take.
        group: folder outside the node of the control group that its services run in; empty for the
            one that mesh-node is started in.
    """

    hostname: str
    root: str
    lowers: tuple[str, ...]
    mounts: tuple[Mount, ...]
    path: str
    sysctls: Mapping[str, str]
    rules: str
    services: tuple[NodeService, ...]
    await_seconds: float
    answer_seconds: float
    group: str = ""

    def as_json(self) -> str:
        """JSON in mesh-node's form."""
        return json.dumps(
            {
                "hostname": self.hostname,
                "group": self.group,
                "root": self.root,
                "lowers": self.lowers,
                "mounts": [asdict(mount) for mount in self.mounts],
                "path": self.path,
                "sysctls": dict(self.sysctls),
                "setup": [{"argv": ["nft", "-f", self.rules]}],
                "services": [asdict(service) for service in self.services],
                "await_seconds": self.await_seconds,
                "answer_seconds": self.answer_seconds,
            },
            indent=1,
        )


def services_of(
    cluster: ClusterAddresses, node: NodeAddresses, request_seconds: float
) -> tuple[NodeService, ...]:
    """The components of a node, a control plane's when it is the cluster's first.

    Args:
        request_seconds: how long the API server works on a request.
    """
    on_control_plane = node == cluster.control_plane
    labels = locality_labels(node.locality)
    ready = _api_server_ready("127.0.0.1" if on_control_plane else cluster.control_plane.address)
    # Before kube-proxy's rules are there, a pod's connection to a service would hang for long.
    services_translated = f"tcp://{with_port(cluster.kubernetes_service, 443)}"
    worker = (
        _service("containerd", "containerd", "--config", f"{CONFIGURATION}/containerd.toml"),
        _service(
            "kubelet",
            "kubelet",
            f"--config={CONFIGURATION}/kubelet.yaml",
            f"--kubeconfig={CONFIGURATION}/kubelet.conf",
            f"--hostname-override={node.name}",
            f"--node-ip={_listed(node.addresses)}",
            "--node-labels=" + ",".join(f"{k}={v}" for k, v in labels.items()),
            wants=(ready, f"unix://{CONTAINERD_SOCKET}", services_translated),
        ),
        _service(
            "kube-proxy",
            "kube-proxy",
            f"--config={CONFIGURATION}/kube-proxy.yaml",
            wants=(ready,),
        ),
    )
    return (
        (*_control_plane_services(cluster, request_seconds), *worker)
        if on_control_plane
        else worker
    )


def _control_plane_services(
    cluster: ClusterAddresses, request_seconds: float
) -> tuple[NodeService, ...]:
    pki = f"{CONFIGURATION}/pki"
    ready = _api_server_ready("127.0.0.1")
    return (
        _service(
            "etcd",
            "etcd",
            "--data-dir=/var/lib/etcd",
            f"--listen-client-urls=http://{_ETCD}",
            f"--advertise-client-urls=http://{_ETCD}",
            "--listen-peer-urls=http://127.0.0.1:2380",
            "--unsafe-no-fsync",
            "--log-level=warn",
        ),
        _service(
            "kube-apiserver",
            "kube-apiserver",
            f"--etcd-servers=http://{_ETCD}",
            f"--advertise-address={cluster.control_plane.address}",
            f"--secure-port={API_SERVER_PORT}",
            f"--service-cluster-ip-range={_listed(cluster.service_cidrs)}",
            f"--tls-cert-file={pki}/apiserver.crt",
            f"--tls-private-key-file={pki}/apiserver.key",
            f"--client-ca-file={pki}/ca.crt",
            "--authorization-mode=Node,RBAC",
            "--enable-admission-plugins=NodeRestriction",
            f"--service-account-issuer=https://kubernetes.default.svc.{cluster.domain}",
            f"--service-account-signing-key-file={pki}/sa.key",
            f"--service-account-key-file={pki}/sa.pub",
            f"--kubelet-client-certificate={pki}/apiserver-kubelet-client.crt",
            f"--kubelet-client-key={pki}/apiserver-kubelet-client.key",
            f"--kubelet-certificate-authority={pki}/ca.crt",
            "--kubelet-preferred-address-types=InternalIP",
            "--allow-privileged=true",
            f"--request-timeout={request_seconds:g}s",
            wants=(f"tcp://{_ETCD}",),
        ),
        _service(
            "kube-controller-manager",
            "kube-controller-manager",
            f"--kubeconfig={CONFIGURATION}/controller-manager.conf",
            f"--root-ca-file={pki}/ca.crt",
            f"--cluster-signing-cert-file={pki}/ca.crt",
            f"--cluster-signing-key-file={pki}/ca.key",
            f"--service-account-private-key-file={pki}/sa.key",
            "--use-service-account-credentials=true",
            # Every controller asks for a token at the start; the default limit spreads that over
            # seconds.
            "--kube-api-qps=500",
            "--kube-api-burst=1000",
            "--leader-elect=false",
            "--controllers=" + ",".join(["*", *(f"-{name}" for name in _ABSENT_CONTROLLERS)]),
            wants=(ready,),
        ),
        _service(
            "kube-scheduler",
            "kube-scheduler",
            f"--kubeconfig={CONFIGURATION}/scheduler.conf",
            "--leader-elect=false",
            wants=(ready,),
        ),
    )


def _api_server_ready(host: object) -> str:
    return f"https://{with_port(host, API_SERVER_PORT)}/readyz"


def _listed(values: Iterable[object]) -> str:
    return ",".join(map(str, values))


def _service(name: str, *argv: str, wants: tuple[str, ...] = ()) -> NodeService:
    return NodeService(name, argv, f"{LOGS}/{name}.log", wants)


def containerd_configuration(pause_image: str) -> str:
    """TOML for containerd's CRI plugin, configuration version 2."""
    disabled = ", ".join(f'"io.containerd.{name}"' for name in _UNUSED_CONTAINERD_PLUGINS)
    return f"""\
version = 2
root = "/var/lib/containerd"
state = "/run/containerd"
disabled_plugins = [{disabled}]

[grpc]
  address = "{CONTAINERD_SOCKET}"

[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{pause_image}"
  # A machine may lack the capability to make a process less likely to be killed for memory.
  restrict_oom_score_adj = true
  # A node's root has no apparmor_parser to load the runtime's profile with.
  disable_apparmor = true
  tolerate_missing_hugetlb_controller = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = "/etc/cni/net.d"
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "overlayfs"
    default_runtime_name = "runc"
  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
"""


def cni_configuration(node: NodeAddresses) -> str:
    """JSON of the node's CNI network: a bridge over the node's parts of the pod CIDRs."""
    return json.dumps(
        {
            "cniVersion": "0.4.0",
            "name": "pods",
            "plugins": [
                {
                    "type": "bridge",
                    "bridge": "cni0",
                    "isDefaultGateway": True,
                    "ipMasq": False,
                    "hairpinMode": True,
                    "ipam": {
                        "type": "host-local",
                        "ranges": [[{"subnet": str(each)}] for each in node.pod_cidrs],
                    },
                },
                {"type": "portmap", "capabilities": {"portMappings": True}},
            ],
        },
        indent=1,
    )


def kubelet_configuration(cluster: ClusterAddresses, cgroup_root: str) -> str:
    """YAML of a KubeletConfiguration, kubelet.config.k8s.io/v1beta1."""
    pki = f"{CONFIGURATION}/pki"
    return yaml.safe_dump(
        {
            "apiVersion": "kubelet.config.k8s.io/v1beta1",
            "kind": "KubeletConfiguration",
            "authentication": {
                "anonymous": {"enabled": False},
                "webhook": {"enabled": True},
                "x509": {"clientCAFile": f"{pki}/ca.crt"},
            },
            "authorization": {"mode": "Webhook"},
            "cgroupDriver": "cgroupfs",
            "cgroupRoot": cgroup_root,
            "clusterDNS": [str(cluster.dns_service)],
            "clusterDomain": cluster.domain,
            "containerRuntimeEndpoint": f"unix://{CONTAINERD_SOCKET}",
            "enforceNodeAllocatable": [],
            "evictionHard": {
                "imagefs.available": "0%",
                "memory.available": "100Mi",
                "nodefs.available": "0%",
            },
            "failCgroupV1": False,
            "failSwapOn": False,
            "imageGCHighThresholdPercent": 100,
            "localStorageCapacityIsolation": False,
            "registryPullQPS": 0,
            "resolvConf": "",
            "serializeImagePulls": False,
            "tlsCertFile": f"{pki}/kubelet.crt",
            "tlsPrivateKeyFile": f"{pki}/kubelet.key",
        }
    )


def kube_proxy_configuration(cluster: ClusterAddresses, node: NodeAddresses) -> str:
    """YAML of a KubeProxyConfiguration, kubeproxy.config.k8s.io/v1alpha1."""
    return yaml.safe_dump(
        {
            "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
            "kind": "KubeProxyConfiguration",
            "clientConnection": {"kubeconfig": f"{CONFIGURATION}/kube-proxy.conf"},
            "clusterCIDR": _listed(cluster.pod_cidrs),
            "conntrack": {"maxPerCore": 0},
            "hostnameOverride": node.name,
            "mode": "iptables",
        }
    )


def with_clock_speed(cpuinfo: str) -> str:
    """The content of /proc/cpuinfo, with a clock speed for each processor of a virtual x86 machine
    that does not tell one; the kubelet does not start without (cAdvisor: `GetClockSpeed`).
    """
    if "cpu MHz" in cpuinfo:
        return cpuinfo
    return re.sub(r"^(processor\s*:.*)$", r"\1\ncpu MHz\t\t: 1000.000", cpuinfo, flags=re.MULTILINE)


# Settings of the whole machine that a kubelet would change (kubelet: setupKernelTunables). A node
# gets files of its own in their place that already hold what the kubelet wants.
MACHINE_TUNABLES = {
    "kernel/keys/root_maxbytes": "25000000",
    "kernel/keys/root_maxkeys": "1000000",
    "kernel/panic": "10",
    "kernel/panic_on_oops": "1",
    "vm/overcommit_memory": "1",
    "vm/panic_on_oom": "0",
}

_OF_IPV4_NODE: Final = {
    # Replies between pods on one node pass the bridge; service addresses are translated there too.
    "net/bridge/bridge-nf-call-iptables": "1",
    f"net/ipv4/conf/{NODE_INTERFACE}/rp_filter": "0",
}
_OF_IPV6_NODE: Final = {
    "net/bridge/bridge-nf-call-ip6tables": "1",
    # Addresses of the bridge of pods are used at once, as nothing else can have them.
    "net/ipv6/conf/default/accept_dad": "0",
}
_FORWARDING: Final[Mapping[int, Mapping[str, str]]] = {
    4: {"net/ipv4/ip_forward": "1"},
    # A machine may turn the family off where a network namespace is new.
    6: {"net/ipv6/conf/all/disable_ipv6": "0", "net/ipv6/conf/all/forwarding": "1"},
}


def node_sysctls(cluster: ClusterAddresses) -> dict[str, str]:
    """Settings of a node's network namespace, by their paths below /proc/sys."""
    own = _OF_IPV4_NODE
    if any(cidr.version == 6 for cidr in cluster.pod_cidrs):
        own = own | _OF_IPV6_NODE
    return own | router_sysctls(cluster.network)


def router_sysctls(network: NetworkAddresses) -> dict[str, str]:
    """Those of the router's.

    Args:
        network: any, as all have addresses of the same families.
    """
    return {
        path: value for cidr in network.cidrs for path, value in _FORWARDING[cidr.version].items()
    }
