"""Namespaces, bridges, links and routes of a lab.

Every network is a bridge in a namespace of its own; a router namespace has a leg on each of them,
and every node has one link to its network. Nothing is made in the machine's own namespace.
"""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import IPv4Network

import pyroute2
from pyroute2 import IPRoute, netns

from mesh_fixtures.journal import JournalEntry
from mesh_fixtures.lab.addressing import ClusterAddresses, LabAddresses, NetworkAddresses
from mesh_fixtures.patience import patient

_ENTRY_SECONDS = 30.0
"""For the process that enters a namespace for pyroute2; its own 2 s are too short on a machine that
is busy building."""

NODE_INTERFACE = "eth0"
API_SERVER_PORT = 6443


def router_namespace(lab: str) -> str:
    return f"{lab}-router"


def network_namespace(lab: str, network: str) -> str:
    return f"{lab}-net-{network}"


def node_namespace(lab: str, node: str) -> str:
    return f"{lab}-node-{node}"


def build_networks(
    lab: str, addresses: LabAddresses, record: Callable[[JournalEntry], None]
) -> None:
    """Make all namespaces and join them; each is recorded before it is made.

    Raises:
        pyroute2.NetlinkError: the kernel refused.
    """
    router = router_namespace(lab)
    _create(router, record)
    for position, network in enumerate(addresses.networks.values()):
        _build_network(lab, network, router, position, record)
        port = 0
        for cluster in addresses.clusters_on(network.name):
            for node in cluster.nodes:
                namespace = node_namespace(lab, node.name)
                _create(namespace, record)
                _join(
                    namespace, NODE_INTERFACE, network_namespace(lab, network.name), f"port{port}"
                )
                _configure(namespace, NODE_INTERFACE, f"{node.address}/{network.cidr.prefixlen}")
                port += 1
    for cluster in addresses.clusters.values():
        for node in cluster.nodes:
            with inside(node_namespace(lab, node.name)) as routes:
                # Service addresses need a route before they are translated.
                routes.route("add", dst="default", gateway=str(cluster.network.gateway))
                for destination, via in pod_routes(addresses, cluster, node.name):
                    routes.route("add", dst=str(destination), gateway=via)


def pod_routes(
    addresses: LabAddresses, cluster: ClusterAddresses, node: str
) -> list[tuple[IPv4Network, str]]:
    """Routes of a node to the pods of every other node on its network: (destination, next hop)."""
    return [
        (other.pod_cidr, str(other.address))
        for neighbour in addresses.clusters_on(cluster.network.name)
        for other in neighbour.nodes
        if other.name != node
    ]


def router_rules(addresses: LabAddresses) -> str:
    """Rules of the router for nftables: between networks, API servers and load balancers only.

    The rest is dropped before routing: no answer, as on networks without a path.
    """
    api_servers = ", ".join(str(c.control_plane.address) for c in addresses.clusters.values())
    pools = ", ".join(str(c.pool) for c in addresses.clusters.values())
    return f"""\
table ip lab {{
  set api_servers {{ type ipv4_addr; elements = {{ {api_servers} }} }}
  set load_balancers {{ type ipv4_addr; flags interval; elements = {{ {pools} }} }}
  chain between_networks {{
    type filter hook prerouting priority filter; policy drop;
    iifname "lo" accept
    ct state established,related accept
    ip daddr @api_servers tcp dport {API_SERVER_PORT} accept
    ip daddr @load_balancers accept
    counter comment "dropped between networks"
  }}
}}
"""


def node_rules(addresses: LabAddresses, cluster: ClusterAddresses) -> str:
    """Rules of a node for nftables: pods keep their address on their network, leave as the node.

    Service addresses never leave a node; without kube-proxy's rules they are refused at once.
    """
    pods = ", ".join(str(c.pod_cidr) for c in addresses.clusters_on(cluster.network.name))
    return f"""\
table ip lab {{
  chain leaving {{
    type nat hook postrouting priority srcnat; policy accept;
    ip saddr {cluster.pod_cidr} ip daddr != {{ {pods} }} oifname "{NODE_INTERFACE}" masquerade
  }}
  chain forwarded {{
    type filter hook forward priority filter; policy accept;
    ip daddr {cluster.service_cidr} ip protocol tcp reject with tcp reset
    ip daddr {cluster.service_cidr} reject
  }}
  chain sent {{
    type filter hook output priority filter; policy accept;
    ip daddr {cluster.service_cidr} ip protocol tcp reject with tcp reset
    ip daddr {cluster.service_cidr} reject
  }}
}}
"""


def _build_network(
    lab: str,
    network: NetworkAddresses,
    router: str,
    position: int,
    record: Callable[[JournalEntry], None],
) -> None:
    namespace = network_namespace(lab, network.name)
    _create(namespace, record)
    with inside(namespace) as links:
        links.link("add", ifname="bridge", kind="bridge")
        links.link("set", index=_index(links, "bridge"), state="up")
    leg = f"network{position}"
    _join(router, leg, namespace, "router")
    _configure(router, leg, f"{network.gateway}/{network.cidr.prefixlen}")


def _create(namespace: str, record: Callable[[JournalEntry], None]) -> None:
    record(JournalEntry("namespace", namespace))
    _allow_time()
    netns.create(namespace)
    with inside(namespace) as links:
        links.link("set", index=_index(links, "lo"), state="up")


def _join(namespace: str, interface: str, network: str, port: str) -> None:
    """A link between a namespace and the bridge of a network's namespace."""
    with inside(network) as links:
        links.link(
            "add",
            ifname=port,
            kind="veth",
            peer={"ifname": interface, "net_ns_fd": namespace},
        )
        links.link("set", index=_index(links, port), master=_index(links, "bridge"), state="up")


def _configure(namespace: str, interface: str, address: str) -> None:
    host, prefix = address.split("/")
    with inside(namespace) as links:
        index = _index(links, interface)
        links.addr("add", index=index, address=host, prefixlen=int(prefix))
        links.link("set", index=index, state="up")


def inside(namespace: str) -> IPRoute:
    """Routes and links of a namespace; to be closed."""
    _allow_time()
    return IPRoute(netns=namespace)


def _allow_time() -> None:
    """Give pyroute2 its limit, which it reads whenever it enters a namespace."""
    pyroute2.config.default_communicate_timeout = patient(_ENTRY_SECONDS)


def _index(links: IPRoute, interface: str) -> int:
    found = links.link_lookup(ifname=interface)
    return int(found[0])
