"""Faults of the network itself, in labs of network namespaces: routes and packet filters.

Source: nftables, nft(8), numgen; Linux, ip-route(8).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from ipaddress import ip_network
from typing import Any, Final

from mesh_fixtures.addresses import IPAddress, IPNetwork
from mesh_fixtures.install import names
from mesh_fixtures.kube import Configuration, Resource
from mesh_fixtures.kube.admission import Selector
from mesh_fixtures.kube.resources import NETWORK_POLICIES, PODS, SERVICES
from mesh_fixtures.lab.netns import launch
from mesh_fixtures.lab.netns.network import inside, node_namespace, router_namespace
from mesh_fixtures.scenario import ISTIOD_PORTS, SERVICES_PORT, STATUS_PORT
from mesh_fixtures.workloads import PORT
from tests.faults import cni_policies
from tests.faults.fault import Injection
from tests.faults.target import Manifest, Target, reference

PROVIDER: Final = "netns"

RESETS: Final = (
    f"tcp dport {SERVICES_PORT} ct state established "
    "numgen random mod 100 < 10 counter reject with tcp reset"
)
"""One in ten packets to gateways, on connections that are open, is answered by a reset. Proxies try
again what is reset before it is open (Istio: HTTPRetry), which is no error to anybody."""

LOSS: Final = "numgen random mod 100 < 50 counter drop"
"""One in two packets is lost, either way."""

LARGEST: Final = 1200
LARGE: Final = f"meta length > {LARGEST} counter drop"
"""Packets of more bytes vanish, either way, and nobody says so."""

UNANSWERED_DNS: Final = "udp dport 53 counter drop\ntcp dport 53 counter drop"
UNANSWERED_ISTIOD: Final = f"tcp dport {ISTIOD_PORTS[0]} counter drop"

_ISTIOD: Final = {"app": "istiod"}
_SECOND_BRIDGE: Final = "cni1"
_GONE: Final = ("add table ip fault", "delete table ip fault")

Route = tuple[IPNetwork, IPAddress]
"""Pods, and the node that they are on."""


def filtered(rule: str) -> Injection:
    """What the router passes on between networks goes by a rule of nftables first."""

    @contextmanager
    def inject(target: Target) -> Iterator[None]:
        try:
            _nft(target, table(rule))
            yield
        finally:
            _nft(target, *_GONE)

    return inject


def filtered_for_new_clients(rule: str) -> Injection:
    """As `filtered`, for clients that have no connection to another network yet: what is open may
    go on as long as what is sent over it is small.
    """

    @contextmanager
    def inject(target: Target) -> Iterator[None]:
        with filtered(rule)(target):
            for cluster in target.lab.clusters:
                target.restart(cluster, (target.namespace, "sleep"))
            yield

    return inject


def passed_on_but(target: Target, cluster: str, dropped: Sequence[str]) -> None:
    """Have the nodes of a cluster pass on everything but what matches expressions of nftables."""
    rules = table("\n".join(f"{each} counter drop" for each in dropped))
    for node in target.lab.clusters[cluster].nodes:
        namespace = node_namespace(target.lab.id, node.name)
        _nft(target, *_GONE, *([rules] if dropped else []), namespace=namespace)


def closed_to_first(port: int) -> Injection:
    """The router drops what the first cluster sends to a port of other networks."""

    @contextmanager
    def inject(target: Target) -> Iterator[None]:
        first = next(iter(target.lab.clusters.values()))
        nodes = ", ".join(str(node.address) for node in first.nodes)
        with filtered(f"ip saddr {{ {nodes} }} tcp dport {port} counter drop")(target):
            yield

    return inject


def filtered_in_last(rule: str, *, replace_pods: bool = False) -> Injection:
    """What pods of the last cluster send goes by a rule of nftables on their nodes first.

    Args:
        replace_pods: whether the workloads' pods are made again, and are to wait then.
    """

    @contextmanager
    def inject(target: Target) -> Iterator[None]:
        *_, last = target.lab.clusters.values()
        namespaces = [node_namespace(target.lab.id, node.name) for node in last.nodes]
        try:
            for namespace in namespaces:
                _nft(target, table(rule), namespace=namespace)
            if replace_pods:
                target.replace_workloads(last.name)
            yield
        finally:
            for namespace in namespaces:
                _nft(target, *_GONE, namespace=namespace)
            if replace_pods:
                target.restart_workloads(last.name)

    return inject


@contextmanager
def closed_by_policy(target: Target) -> Iterator[None]:
    """A NetworkPolicy lets nothing in to the last cluster's gateway but load balancers' looks at
    it.
    """
    cluster, selector = _last_gateway(target)
    policy = _network_policy(selector, "Ingress", [{"ports": [{"port": STATUS_PORT}]}])
    with _applied(target, cluster, policy), _enforced(target, cluster, selector):
        yield


@contextmanager
def gateway_closed_within(target: Target) -> Iterator[None]:
    """A NetworkPolicy lets the last cluster's gateway reach the control plane's namespace only."""
    cluster, selector = _last_gateway(target)
    policy = _network_policy(selector, "Egress", [{"to": [{"podSelector": {}}]}])
    pods = _addresses(target, cluster, selector)
    enforced = filtered_in_last(f"ip saddr {pods} tcp dport {PORT} counter drop")
    with _applied(target, cluster, policy), enforced(target):
        yield


@contextmanager
def istiod_closed_within(target: Target) -> Iterator[None]:
    """A NetworkPolicy lets only the control plane's namespace reach the last cluster's istiod;
    the workloads' pods are new.
    """
    *_, cluster = target.lab.clusters
    policy = _network_policy(_ISTIOD, "Ingress", [{"from": [{"podSelector": {}}]}])
    enforced = filtered_in_last(UNANSWERED_ISTIOD, replace_pods=True)
    with _applied(target, cluster, policy), enforced(target):
        yield


def _network_policy(selector: Mapping[str, str], direction: str, rules: list[Any]) -> Manifest:
    return {
        "apiVersion": NETWORK_POLICIES.api,
        "kind": NETWORK_POLICIES.kind,
        "metadata": {"name": "closed"},
        "spec": {
            "podSelector": {"matchLabels": dict(selector)},
            "policyTypes": [direction],
            direction.lower(): rules,
        },
    }


@contextmanager
def _applied(target: Target, cluster: str, policy: Manifest) -> Iterator[None]:
    """A policy in the namespace of the control plane."""
    try:
        target.apply(cluster, target.system_namespace, policy)
        yield
    finally:
        target.delete(cluster, target.system_namespace, reference(policy))


def _closed_by(
    kind: Resource[Configuration], spec: Callable[[Mapping[str, str]], Mapping[str, Any]]
) -> Injection:
    """The same by a policy of a network plugin for the whole cluster.

    Args:
        spec: of the policy, by the labels of the gateway's pods.
    """

    @contextmanager
    def inject(target: Target) -> Iterator[None]:
        cluster, selector = _last_gateway(target)
        policy = cni_policies.policy(kind, "closed", **spec(selector))
        with (
            cni_policies.applied(target, cluster, policy),
            _enforced(target, cluster, selector),
        ):
            yield

    return inject


closed_by_calico: Final = _closed_by(
    cni_policies.CALICO,
    lambda selector: {
        "selector": " && ".join(f"{key} == '{value}'" for key, value in selector.items()),
        "ingress": [
            {"action": "Allow", "protocol": "TCP", "destination": {"ports": [STATUS_PORT]}},
            {"action": "Allow", "source": {"selector": "all()"}},
        ],
    },
)
closed_by_cilium: Final = _closed_by(
    cni_policies.CILIUM,
    lambda selector: {
        "endpointSelector": {"matchLabels": {f"k8s:{key}": each for key, each in selector.items()}},
        "ingress": [{"fromEntities": ["cluster", "host"]}],
    },
)


@contextmanager
def closed_by_administrators(target: Target) -> Iterator[None]:
    """An AdminNetworkPolicy of the last cluster lets no pod out to the first one's gateway."""
    first, *_, last = target.lab.clusters
    services = target.kube[first].list(SERVICES, target.system_namespace)
    (address,) = {
        address for each in services if each.meta.name == names.GATEWAY for address in each.external
    }
    at_port = [{"portNumber": {"protocol": "TCP", "port": SERVICES_PORT}}]
    policy = cni_policies.policy(
        cni_policies.ADMIN,
        "closed",
        priority=10,
        subject={"namespaces": {}},
        egress=[{"action": "Deny", "to": [{"networks": [f"{address}/32"]}], "ports": at_port}],
    )
    enforced = filtered_in_last(f"ip daddr {address} tcp dport {SERVICES_PORT} counter drop")
    with cni_policies.applied(target, last, policy), enforced(target):
        yield


def _last_gateway(target: Target) -> tuple[str, Mapping[str, str]]:
    """The last cluster, and the labels by which its gateway's pods are selected."""
    *_, last = target.lab.clusters
    service = target.read(last, target.system_namespace, "service", names.GATEWAY)
    return last, service["spec"]["selector"]


@contextmanager
def _enforced(target: Target, cluster: str, selector: Mapping[str, str]) -> Iterator[None]:
    """The nodes let nothing in to the last cluster's gateway at its port for services, as a network
    would that enforces policies: labs enforce none.
    """
    pods = _addresses(target, cluster, selector)
    rule = f"ip daddr {pods} tcp dport {SERVICES_PORT} counter drop"
    with filtered_in_last(rule)(target):
        yield


def _addresses(target: Target, cluster: str, selector: Mapping[str, str]) -> str:
    """Addresses of pods of the control plane's namespace, as a set of nftables."""
    pods = target.kube[cluster].list(PODS, target.system_namespace, str(Selector(selector)))
    return f"{{ {', '.join(each.ip for each in pods)} }}"


def unreachable_for_new_pods(rule: str) -> Injection:
    """What the router passes on goes by a rule first, and the last cluster's pods are new."""

    @contextmanager
    def inject(target: Target) -> Iterator[None]:
        *_, last = target.lab.clusters
        try:
            with filtered(rule)(target):
                target.replace_workloads(last)
                yield
        finally:
            target.restart_workloads(last)

    return inject


def table(rule: str) -> str:
    """A table of nftables by which a rule looks at every packet that is passed on."""
    hook = "type filter hook forward priority filter; policy accept;"
    return f"table ip fault {{\nchain passed_on {{\n{hook}\n{rule}\n}}\n}}"


@contextmanager
def translated(target: Target, addresses: Mapping[str, str]) -> Iterator[None]:
    """The router translates destinations, as in front of networks whose own addresses others do not
    know.

    Args:
        addresses: by those that stand for them.
    """
    pairs = ", ".join(f"{front} : {address}" for front, address in addresses.items())
    hook = "type nat hook prerouting priority dstnat; policy accept;"
    to = f"dnat to ip daddr map {{ {pairs} }}"
    try:
        _nft(target, f"table ip front {{\nchain arriving {{\n{hook}\n{to}\n}}\n}}")
        yield
    finally:
        _nft(target, "add table ip front", "delete table ip front")


@contextmanager
def not_isolated(target: Target) -> Iterator[None]:
    """The router passes on between networks what goes directly to pods."""
    routes = [route for cluster in target.lab.clusters for route in pod_routes(target, cluster)]
    router = router_namespace(target.lab.id)
    try:
        _route("replace", router, routes)
        with passed_on(target, [str(destination) for destination, _ in routes]):
            yield
    finally:
        _route("del", router, routes)


@contextmanager
def passed_on(target: Target, destinations: Collection[str]) -> Iterator[None]:
    """The router passes on between networks what goes to some addresses, or to networks of them, as
    it does what goes to load balancers.
    """
    element = f"element ip lab load_balancers {{ {', '.join(destinations)} }}"
    try:
        _nft(target, f"add {element}")
        yield
    finally:
        _nft(target, f"add {element}", f"delete {element}")


@contextmanager
def pod_route_missing(target: Target) -> Iterator[None]:
    """The first cluster's nodes have no route to the pods of the last one."""
    first, *_, last = target.lab.clusters.values()
    routes = pod_routes(target, last.name)
    namespaces = [node_namespace(target.lab.id, node.name) for node in first.nodes]
    try:
        for namespace in namespaces:
            _route("del", namespace, routes)
        yield
    finally:
        for namespace in namespaces:
            _route("replace", namespace, routes)


@contextmanager
def same_pod_addresses(target: Target) -> Iterator[None]:
    """The last cluster gives new pods addresses of the first cluster's range, as clusters do that
    were made with the same defaults.
    """
    first, *_, last = target.lab.clusters.values()
    (node,) = last.nodes
    file = target.lab.folder / "nodes" / node.name / "cni" / "10-pods.conflist"
    before, routes = file.read_text(), pod_routes(target, first.name)
    (range_of_first, _), *_ = routes
    own = node_namespace(target.lab.id, node.name)
    try:
        _route("del", own, routes)
        file.write_text(_with_range(before, range_of_first))
        target.restart_workloads(last.name)
        yield
    finally:
        file.write_text(before)
        target.restart_workloads(last.name)
        with inside(own) as links:
            for index in links.link_lookup(ifname=_SECOND_BRIDGE):
                links.link("del", index=index)
        _route("replace", own, routes)


def _with_range(configuration: str, of_pods: IPNetwork) -> str:
    """A CNI configuration by which pods get addresses of another range, on another bridge, as each
    has one range (CNI: bridge, host-local).
    """
    content = json.loads(configuration)
    content["plugins"][0]["bridge"] = _SECOND_BRIDGE
    content["plugins"][0]["ipam"]["ranges"] = [[{"subnet": str(of_pods)}]]
    return json.dumps(content)


def pod_routes(target: Target, cluster: str) -> list[Route]:
    """How the pods of a cluster are reached."""
    found = json.loads(target.kubectl(cluster, "get", "nodes", "-o", "json"))
    addresses = {node.name: node.address for node in target.lab.clusters[cluster].nodes}
    return [
        (ip_network(node["spec"]["podCIDR"]), addresses[node["metadata"]["name"]])
        for node in found["items"]
    ]


def _route(what: str, namespace: str, routes: list[Route]) -> None:
    with inside(namespace) as links:
        for destination, gateway in routes:
            links.route(what, dst=str(destination), gateway=str(gateway))


def _nft(target: Target, *commands: str, namespace: str = "") -> None:
    """Run commands of nft in a namespace, all or none, with the programs of nodes.

    Args:
        namespace: the router's when empty.
    """
    folder = target.lab.folder / "nodes" / "router"
    spec = json.loads((folder / "node.json").read_text())
    changed = folder / "fault.json"
    changed.write_text(json.dumps({**spec, "setup": [{"argv": ["nft", "\n".join(commands)]}]}))
    mesh_node = target.lab.tools.kubectl.with_name("mesh-node")
    where = namespace or router_namespace(target.lab.id)
    launch.set_up(target.lab.id, where, mesh_node, changed)
