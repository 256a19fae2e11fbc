"""Gateways between clusters: as istiods advertise them, and as the cluster's Services make them.

A Service is a gateway of a network by its label `topology.istio.io/network`, whatever its name,
namespace and type; a Gateway of the Gateway API or the mesh configuration's `meshNetworks` make
others, which only istiod tells of. What leads remotes to their primary's istiod is any Service that
is reached from outside and serves istiod's ports.
Source: Istio, Install Multi-Primary on different networks; Resource Labels; Global Mesh Options
(MeshNetworks); Debugging Envoy and Istiod (`/debug/networkz`).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from mesh_fixtures.addresses import target_host, with_port
from mesh_fixtures.contract import MeshNames
from mesh_fixtures.errors import NotPermitted
from mesh_fixtures.install.names import GATEWAY_PORT_LABEL, NETWORK_LABEL
from mesh_fixtures.kube import HttpAnswer, KubeClient, Pod, Service, Source
from mesh_fixtures.kube.objects import Json
from mesh_fixtures.kube.resources import GATEWAYS, PODS, SERVICES
from mesh_fixtures.probe.answers import answer_in, readable
from mesh_fixtures.probe.envoy import PROXY
from mesh_fixtures.probe.istiod import debug, of_each
from mesh_fixtures.probe.workloads import injection_of
from mesh_fixtures.probe.xds import ROUTER
from mesh_fixtures.scenario import ISTIOD_PORTS, SERVICES_PORT

NETWORKS_PATH: Final = "/debug/networkz"
HBONE_PORT: Final = 15008

AUTO_PASSTHROUGH: Final = "AUTO_PASSTHROUGH"
"""Mode of the TLS settings by which a Gateway passes services on by their SNI (Istio: Gateway)."""


@dataclass(frozen=True)
class NetworkGateway:
    """A way into a network, as an istiod advertises it to clients on other networks.

    Attributes:
        cluster: where it is; empty where the mesh configuration does not say.
        address: an IP address, as istiod resolves host names itself.
        source: how an istiod is asked for it.
    """

    network: str
    cluster: str
    address: str
    port: int
    source: Source

    @property
    def target(self) -> str:
        """`address:port`, as an endpoint of clients; an address of IPv6 in brackets."""
        return with_port(self.address, self.port)

    def __str__(self) -> str:
        return f"{self.target} ({self.network}" + (f" in {self.cluster})" if self.cluster else ")")


@dataclass(frozen=True)
class Gateway:
    """A Service through which other clusters reach a network, or istiod.

    Attributes:
        pods: those that it selects, whatever their state.
    """

    source: Source
    cluster: str
    service: Service
    pods: tuple[Pod, ...]

    @property
    def network(self) -> str:
        """The network that it is labelled as a gateway of; empty for none."""
        return self.service.meta.labels.get(NETWORK_LABEL, "")

    @property
    def passes_on(self) -> bool:
        """Whether istiod takes it for a gateway of a network for sidecars: by its label, and by the
        port, without which it only warns.
        """
        port = gateway_port(self.service.meta.labels)
        return bool(self.network) and any(each.number == port for each in self.service.ports)

    @property
    def proxied(self) -> tuple[Pod, ...]:
        """Its pods that have a proxy of the mesh; others may pass on to such ones."""
        return tuple(pod for pod in self.pods if pod.container(PROXY) is not None)

    @property
    def serving(self) -> tuple[Pod, ...]:
        """Those of `proxied` that are ready."""
        return tuple(pod for pod in self.proxied if pod.serving)

    @property
    def addresses(self) -> tuple[str, ...]:
        """External addresses or host names; empty while pending."""
        return self.service.external

    def __str__(self) -> str:
        pods = ", ".join(f"{pod.name} {pod.state}" for pod in self.pods) or "no pod"
        addresses = ", ".join(self.addresses) or "no external address"
        return f"service {self.service.meta}: {addresses}; {pods}"


@dataclass(frozen=True)
class PassingGateway:
    """A Gateway of Istio that passes services on by their SNI.

    Attributes:
        name: `Gateway namespace/name`.
        hosts: whose services; without namespaces of who is routed.
    """

    name: str
    hosts: tuple[str, ...]

    @classmethod
    def of(cls, name: str, servers: Iterable[Json]) -> PassingGateway:
        """By those of its servers that do so."""
        hosts = (host for server in servers for host in server.get("hosts") or ())
        return cls(name, tuple(host.rpartition("/")[2] for host in hosts))

    def passes(self, host: str) -> bool:
        """Whether it passes a service on."""
        return any(covers(each, host) for each in self.hosts)

    def __str__(self) -> str:
        return f"{self.name} (hosts {', '.join(self.hosts)})"


def gateways(kube: KubeClient, addresses: Collection[str] = ()) -> tuple[Gateway, ...]:
    """Services of a cluster that are gateways of a network, or lead to istiod from outside, by
    namespace and name; without those of another control plane in the same cluster.

    Args:
        addresses: of gateways that istiods advertise, whose Services need no label.

    Raises:
        ProbeError: the API server cannot be asked.
    """
    services = [
        each
        for each in kube.list(SERVICES)
        if is_gateway(each) or not {*each.external}.isdisjoint(addresses)
    ]
    pods = {
        namespace: kube.list(PODS, namespace)
        for namespace in sorted({each.meta.namespace for each in services})
    }
    found = [
        Gateway(
            source=kube.source("services,pods", each.meta.namespace),
            cluster=kube.name,
            service=each,
            pods=tuple(
                pod
                for pod in pods[each.meta.namespace]
                if each.selects(pod.meta.namespace, pod.meta.labels)
            ),
        )
        for each in services
    ]
    return tuple(
        each
        for each in found
        if not each.pods or not all(is_of_another(pod, kube.names) for pod in each.pods)
    )


def routers(kube: KubeClient) -> tuple[Pod, ...]:
    """Ready pods of gateways' proxies in a cluster, whatever leads to them; none where pods of all
    namespaces may not be listed. Without those of another control plane.

    Source: Istio, pilot-agent proxy (the kind of the proxy is its argument).

    Raises:
        ProbeError: the API server cannot be asked.
    """
    try:
        pods = kube.list(PODS)
    except NotPermitted:
        return ()
    return tuple(
        pod
        for pod in pods
        if pod.serving and _is_router(pod) and not is_of_another(pod, kube.names)
    )


def _is_router(pod: Pod) -> bool:
    proxy = pod.container(PROXY)
    return proxy is not None and ROUTER in proxy.arguments


def is_of_another(pod: Pod, names: MeshNames) -> bool:
    """Whether a pod's proxy is told to find istiod in another namespace than the mesh's."""
    injection = injection_of(pod)
    if injection is None:
        return False
    name, namespace, kind, *_ = (*target_host(injection.discovery).split("."), "", "", "")
    return name.startswith("istiod") and kind == "svc" and namespace != names.system_namespace


def is_gateway(service: Service) -> bool:
    """Whether a Service is a gateway of a network for sidecars, or leads to istiod from outside."""
    ports = {each.number for each in service.ports}
    if NETWORK_LABEL in service.meta.labels:
        return not is_for_ambient(service.meta.labels, ports)
    return service.is_external and not ports.isdisjoint(ISTIOD_PORTS)


def is_for_ambient(labels: Mapping[str, str], ports: Collection[int]) -> bool:
    """Whether a gateway is for the ambient mode only, as those of the class `istio-east-west`: it
    tunnels, and passes nothing of sidecars on (Istio: Ambient, HBONE).

    Args:
        labels: of its Service.
    """
    return HBONE_PORT in ports and gateway_port(labels) not in ports


def gateway_port(labels: Mapping[str, str]) -> int:
    """The port at which istiod takes a Service with a network's label for a gateway of sidecars
    (Istio: Resource Labels).
    """
    number = labels.get(GATEWAY_PORT_LABEL, "")
    return int(number) if number.isdecimal() else SERVICES_PORT


def passing(kube: KubeClient) -> tuple[PassingGateway, ...]:
    """The Gateways of Istio in a cluster that pass services on to other networks; none where
    Gateways may not be read.

    Raises:
        ProbeError: the API server cannot be asked.
    """
    try:
        found = kube.list(GATEWAYS)
    except NotPermitted:
        return ()
    servers = {
        str(each): [server for server in each.spec.get("servers") or () if passes_on(server)]
        for each in found
    }
    return tuple(PassingGateway.of(name, of) for name, of in servers.items() if of)


def passes_on(server: Json) -> bool:
    """Whether a server of a Gateway passes services on to other networks (Istio: Gateway, TLS)."""
    return (server.get("tls") or {}).get("mode") == AUTO_PASSTHROUGH


def covers(pattern: str, name: str) -> bool:
    """Whether a host of a server means a name; `*` stands for any beginning (Istio: Gateway)."""
    return pattern == name or (pattern.startswith("*") and name.endswith(pattern[1:]))


def advertised(kube: KubeClient) -> tuple[NetworkGateway, ...]:
    """The gateways of all networks that the ready istiods in a cluster advertise, each once.

    Those of the ambient mode alone are left out: `ambient_networks` has them.

    Raises:
        ProbeError: an istiod did not answer, or not as istiod does.
    """
    found: dict[tuple[str, str, str, int], NetworkGateway] = {}
    for answer in _answers(kube):
        for each in read_advertised(answer.source, answer.text):
            found.setdefault((each.network, each.cluster, each.address, each.port), each)
    return tuple(found[key] for key in sorted(found))


def read_advertised(source: Source, answer: str) -> tuple[NetworkGateway, ...]:
    """Read an istiod's answer to `/debug/networkz`.

    Raises:
        ProbeError: it is none.
    """
    return tuple(each for each in _read(source, answer) if each.port)


def ambient_networks(kube: KubeClient) -> frozenset[str]:
    """Networks that istiods advertise no gateway of but those of the ambient mode, which sidecars
    cannot use (Istio: Ambient, HBONE).

    Raises:
        ProbeError: as `advertised`.
    """
    return read_ambient_networks(_answers(kube))


def read_ambient_networks(answers: Iterable[HttpAnswer]) -> frozenset[str]:
    """Read istiods' answers to `/debug/networkz`.

    Raises:
        ProbeError: one is none.
    """
    found = [each for answer in answers for each in _read(answer.source, answer.text)]
    reached = {each.network for each in found if each.port}
    return frozenset(each.network for each in found) - reached


def _answers(kube: KubeClient) -> tuple[HttpAnswer, ...]:
    return of_each(kube, lambda pod: debug(kube, pod, NETWORKS_PATH))


def _read(source: Source, answer: str) -> tuple[NetworkGateway, ...]:
    """All that lead anywhere; those of the ambient mode alone have no port for sidecars."""
    with readable(source, answer, "the gateways of networks that istiod advertises"):
        entries: Iterable[Mapping[str, Any]] = answer_in(answer) or ()
        return tuple(
            NetworkGateway(
                network=str(each["Network"]),
                cluster=str(each.get("Cluster", "")),
                address=str(each["Addr"]),
                port=int(each["Port"]),
                source=source,
            )
            for each in entries
            if each["Port"] or each.get("HBONEPort")
        )
