"""Namespaces, bridges, links and routes of a lab.

Every network is a bridge in a namespace of its own; a router namespace has a leg on each of them,
and every node has one link to its network. Nothing is made in the machine's own namespace.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterable
from typing import Final

import pyroute2
from pyroute2 import IPRoute, netns

from mesh_fixtures.addresses import IPAddress, IPNetwork
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
                _configure(namespace, NODE_INTERFACE, node.addresses, network.cidrs)
                port += 1
    for cluster in addresses.clusters.values():
        for node in cluster.nodes:
            with inside(node_namespace(lab, node.name)) as routes:
                # Service addresses need a route before they are translated.
                for gateway in cluster.network.gateways:
                    family = _FAMILIES[gateway.version]
                    routes.route("add", dst="default", gateway=str(gateway), family=family)
                for destination, via in pod_routes(addresses, cluster, node.name):
                    family = _FAMILIES[destination.version]
                    routes.route("add", dst=str(destination), gateway=via, family=family)


def pod_routes(
    addresses: LabAddresses, cluster: ClusterAddresses, node: str
) -> list[tuple[IPNetwork, str]]:
    """Routes of a node to the pods of every other node on its network: (destination, next hop)."""
    return [
        (pod_cidr, str(address))
        for neighbour in addresses.clusters_on(cluster.network.name)
        for other in neighbour.nodes
        if other.name != node
        for pod_cidr, address in zip(other.pod_cidrs, other.addresses, strict=True)
    ]


def router_rules(addresses: LabAddresses) -> str:
    """Rules of the router for nftables: between networks, API servers and load balancers only.

    The rest is dropped before routing: no answer, as on networks without a path.
    """
    clusters = addresses.clusters.values()
    api_servers = [one for each in clusters for one in each.control_plane.addresses]
    pools = [one for each in clusters for one in each.pools]
    return "".join(
        _ROUTER_RULES.format(
            table=_TABLES[version],
            type=_TYPES[version],
            api_servers=", ".join(str(each) for each in api_servers if each.version == version),
            pools=", ".join(str(each) for each in pools if each.first.version == version),
            port=API_SERVER_PORT,
            neighbours=_NEIGHBOURS if version == _IPV6 else "",
        )
        for version in sorted({each.version for each in api_servers})
    )


def node_rules(addresses: LabAddresses, cluster: ClusterAddresses) -> str:
    """Rules of a node for nftables: pods keep their address on their network, leave as the node.

    Service addresses never leave a node; without kube-proxy's rules they are refused at once.
    """
    neighbours = addresses.clusters_on(cluster.network.name)
    return "".join(
        _NODE_RULES.format(
            table=_TABLES[own.version],
            own=own,
            pods=", ".join(str(each.pod_cidrs[at]) for each in neighbours),
            services=cluster.service_cidrs[at],
            interface=NODE_INTERFACE,
            tcp=_TCP[own.version],
        )
        for at, own in enumerate(cluster.pod_cidrs)
    )


_FAMILIES: Final = {4: socket.AF_INET, 6: socket.AF_INET6}
_IPV6: Final = 6
_TABLES: Final = {4: "ip", 6: "ip6"}
_TYPES: Final = {4: "ipv4_addr", 6: "ipv6_addr"}
_TCP: Final = {4: "ip protocol tcp", 6: "meta l4proto tcp"}
_NODAD: Final = 0x02
"""A flag of an address of IPv6: it is used at once, as nothing else can have it (Linux:
`include/uapi/linux/if_addr.h`, IFA_F_NODAD)."""

_NEIGHBOURS: Final = """\
    icmpv6 type { nd-router-solicit, nd-router-advert, nd-neighbor-solicit, nd-neighbor-advert, \
mld-listener-query, mld-listener-report, mld2-listener-report } accept
"""
"""By which hosts of IPv6 find each other on a link, as those of IPv4 by ARP (RFC 4861)."""

_ROUTER_RULES: Final = """\
table {table} lab {{
  set api_servers {{ type {type}; elements = {{ {api_servers} }} }}
  set load_balancers {{ type {type}; flags interval; elements = {{ {pools} }} }}
  chain between_networks {{
    type filter hook prerouting priority filter; policy drop;
    iifname "lo" accept
{neighbours}\
    ct state established,related accept
    {table} daddr @api_servers tcp dport {port} accept
    {table} daddr @load_balancers accept
    counter comment "dropped between networks"
  }}
}}
"""

_NODE_RULES: Final = """\
table {table} lab {{
  chain leaving {{
    type nat hook postrouting priority srcnat; policy accept;
    {table} saddr {own} {table} daddr != {{ {pods} }} oifname "{interface}" masquerade
  }}
  chain forwarded {{
    type filter hook forward priority filter; policy accept;
    {table} daddr {services} {tcp} reject with tcp reset
    {table} daddr {services} reject
  }}
  chain sent {{
    type filter hook output priority filter; policy accept;
    {table} daddr {services} {tcp} reject with tcp reset
    {table} daddr {services} reject
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
    _configure(router, leg, network.gateways, network.cidrs)


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


def _configure(
    namespace: str, interface: str, addresses: Iterable[IPAddress], cidrs: Iterable[IPNetwork]
) -> None:
    """Give an interface its address in each of its network's subnets."""
    with inside(namespace) as links:
        index = _index(links, interface)
        for address, cidr in zip(addresses, cidrs, strict=True):
            flags = {"flags": _NODAD} if address.version == _IPV6 else {}
            links.addr("add", index=index, address=str(address), prefixlen=cidr.prefixlen, **flags)
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
