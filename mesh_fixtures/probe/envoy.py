"""State of an Istio proxy's Envoy, from its admin interface.

Source: Envoy, Administration interface; the proxy's agent passes requests to it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, Final, TypeVar
from urllib.parse import quote

from mesh_fixtures.addresses import split_port, with_port
from mesh_fixtures.errors import ProbeError
from mesh_fixtures.kube import KubeClient, Pod, Source, exec_source, forward_source
from mesh_fixtures.probe.answers import answer_in, readable
from mesh_fixtures.workloads import PORT, SERVICE, host

PROXY: Final = "istio-proxy"
"""Container of the proxy, of a sidecar as of a gateway."""

_PORT: Final = 15000
"""Of the admin interface, on the loopback address, unless another one is configured (Istio: Ports
used by Istio)."""

CONFIGURATION: Final = "PROXY_CONFIG"
"""Variable of a proxy with its configuration as far as it is not the default, as JSON (Istio:
injection template)."""

_HEALTHY: Final = "HEALTHY"
_HTTP_OPTIONS: Final = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
_MOST_REQUESTS: Final = "max_requests_per_connection"
_BY_HASH: Final = ("RING_HASH", "MAGLEV")
_WARMING: Final = ("least_request_lb_config", "round_robin_lb_config")
"""What may have servers warmed up, by the policy."""
_ALL: Final = {"value": 100}
"""Percent of requests; a message of 0 has no value (protobuf: JSON mapping)."""
_PROXY_PROTOCOL: Final = "envoy.filters.listener.proxy_protocol"
_DRAINING: Final = r"^listener_manager\.total_filter_chains_draining$"
_DENIED: Final = r"(^|\.)rbac\.denied$"
_ANSWER: Final = "an answer of the proxy's admin interface"

Json = Mapping[str, Any]
Value = TypeVar("Value")


@dataclass(frozen=True)
class Endpoint:
    """An endpoint as a proxy holds it.

    Attributes:
        weight: its share among the endpoints of its priority, relative.
        healthy: whether the proxy uses it.
        health: why not, e.g. `failed_outlier_check` or `UNHEALTHY`; empty when healthy.
        locality: `region/zone/sub-zone`, without what is not set.
        priority: 0 is used first.
        connections: how many the proxy has opened to it since it knows it.
    """

    address: str
    port: int
    weight: int
    healthy: bool
    health: str
    locality: str
    priority: int
    connections: int = field(default=0, compare=False)

    @property
    def target(self) -> str:
        """`address:port`, an address of IPv6 in brackets."""
        return with_port(self.address, self.port)

    def __str__(self) -> str:
        return self.target if self.healthy else f"{self.target} ({self.health})"


@dataclass(frozen=True)
class Endpoints:
    """All endpoints of one Envoy cluster, by address and port.

    Attributes:
        known: whether the proxy has the Envoy cluster at all.
    """

    source: Source
    known: bool
    endpoints: tuple[Endpoint, ...]

    @property
    def in_use(self) -> tuple[Endpoint, ...]:
        """The healthy ones of the first priority that has any."""
        healthy = [each for each in self.endpoints if each.healthy]
        first = min((each.priority for each in healthy), default=0)
        return tuple(each for each in healthy if each.priority == first)

    def __str__(self) -> str:
        if not self.known:
            return "no such Envoy cluster"
        return ", ".join(map(str, self.endpoints)) or "no endpoints"


@dataclass(frozen=True)
class Balancing:
    """What makes a proxy choose among endpoints otherwise than by their own weights.

    Attributes:
        by_hash: a client keeps to the server that a hash chooses (Istio: DestinationRule,
            consistentHash).
        by_locality: localities have weights, and those without any are left out, or the client's
            own zone comes first (Istio: Locality Load Balancing, Locality weighted distribution;
            zoneAwareLbSetting).
        by_age: servers that are new get fewer requests for a while (Istio: DestinationRule,
            warmup, warmupDurationSecs).
    """

    by_hash: bool = False
    by_locality: bool = False
    by_age: bool = False

    @property
    def is_plain(self) -> bool:
        """Whether endpoints are chosen by their own weights."""
        return not (self.by_hash or self.by_locality or self.by_age)

    def __str__(self) -> str:
        if self.by_hash:
            return "clients keep to servers that a hash chooses"
        if self.by_locality:
            return "clients choose servers by weights of localities"
        return "clients warm new servers up by fewer requests" if self.by_age else ""


PLAIN: Final = Balancing()
"""As where no rule says anything of it."""


@dataclass(frozen=True)
class Counters:
    """What a proxy counted of an endpoint since it knows it.

    Attributes:
        connections: that it has opened or tried to open.
        failed: how many of these it could not open: no answer, refused, or no TLS.
        requests: that it has sent.
        errors: how many of these ended without an answer or with a server's error.
    """

    connections: int = 0
    failed: int = 0
    requests: int = 0
    errors: int = 0

    def plus(self, other: Counters) -> Counters:
        """What was counted of both."""
        return Counters(
            self.connections + other.connections,
            self.failed + other.failed,
            self.requests + other.requests,
            self.errors + other.errors,
        )

    def since(self, before: Counters) -> Counters:
        """What was counted between two observations."""
        return Counters(
            self.connections - before.connections,
            self.failed - before.failed,
            self.requests - before.requests,
            self.errors - before.errors,
        )


@dataclass(frozen=True)
class Listener:
    """An address that a proxy listens at; address and port are empty and 0 for one inside it."""

    name: str
    address: str
    port: int


@dataclass(frozen=True)
class Listeners:
    """All listeners of a proxy."""

    source: Source
    listeners: tuple[Listener, ...]

    @property
    def ports(self) -> frozenset[int]:
        """Ports of the listeners that can be reached from outside of their pod."""
        local = ("", "127.0.0.1", "::1")
        return frozenset(each.port for each in self.listeners if each.address not in local)


def host_of(kube: KubeClient, service: str = SERVICE) -> str:
    """Full name of HelloWorld's service in a cluster."""
    return host(kube.sample_namespace, service, kube.names.cluster_domain)


def helloworld(kube: KubeClient, service: str = SERVICE) -> str:
    """Name of the Envoy cluster through which a cluster's sidecars reach HelloWorld."""
    return f"outbound|{PORT}||{host_of(kube, service)}"


def endpoints(kube: KubeClient, pod: Pod, cluster: str = "") -> Endpoints:
    """Endpoints of an Envoy cluster, from a pod's proxy.

    Args:
        cluster: name of the Envoy cluster; empty for HelloWorld's.

    Raises:
        ProbeError: the proxy did not answer, or not as Envoy does.
    """
    cluster = cluster or helloworld(kube)
    pattern = quote(f"^{re.escape(cluster)}$", safe="")
    source, answer = admin(kube, pod, f"clusters?format=json&filter={pattern}")
    return read_endpoints(source, cluster, answer)


def requests_per_connection(kube: KubeClient, pod: Pod, cluster: str) -> int | None:
    """How many requests a connection of an Envoy cluster may serve, in a pod's proxy.

    Returns:
        0 for any number; None when the proxy has no such Envoy cluster.

    Raises:
        ProbeError: the proxy did not answer, or not as Envoy does.
    """

    def read(found: Json) -> int:
        options = found.get("typed_extension_protocol_options", {}).get(_HTTP_OPTIONS, {})
        return int(options.get("common_http_protocol_options", {}).get(_MOST_REQUESTS, 0))

    return _configured(kube, pod, cluster, ("typed_extension_protocol_options",), read)


def balancing(kube: KubeClient, pod: Pod, cluster: str) -> Balancing:
    """How a pod's proxy chooses among the endpoints of an Envoy cluster; as usual where it has none
    of that name.

    Source: Envoy, Cluster (`lb_policy`, `common_lb_config`, `slow_start_config`).

    Raises:
        ProbeError: the proxy did not answer, or not as Envoy does.
    """

    def read(found: Json) -> Balancing:
        common = found.get("common_lb_config", {})
        zones = common.get("zone_aware_lb_config")
        return Balancing(
            by_hash=found.get("lb_policy") in _BY_HASH,
            by_locality="locality_weighted_lb_config" in common
            or (zones is not None and zones.get("routing_enabled", _ALL).get("value", 0) > 0),
            by_age=any("slow_start_config" in found.get(each, {}) for each in _WARMING),
        )

    fields = ("lb_policy", "common_lb_config", *_WARMING)
    return _configured(kube, pod, cluster, fields, read) or PLAIN


def _configured(
    kube: KubeClient,
    pod: Pod,
    cluster: str,
    fields: Sequence[str],
    read: Callable[[Json], Value],
) -> Value | None:
    """Some of an Envoy cluster's configuration in a pod's proxy; None when it has no such one."""
    pattern = quote(f"^{re.escape(cluster)}$", safe="")
    mask = ",".join(f"cluster.{each}" for each in fields)
    path = f"config_dump?resource=dynamic_active_clusters&name_regex={pattern}&mask={mask}"
    source, answer = admin(kube, pod, path)
    with readable(source, answer, _ANSWER):
        found = [each["cluster"] for each in answer.get("configs", ())]
        return read(found[0]) if found else None


def counters(clusters: Any) -> dict[str, Counters]:
    """Counters of all endpoints in an answer to `clusters?format=json`, by their targets; those of
    an endpoint of several Envoy clusters together. Envoy leaves out values of 0.

    Raises:
        KeyError, TypeError, AttributeError, ValueError: it is not what Envoy answers.
    """
    found: dict[str, Counters] = {}
    for cluster in clusters.get("cluster_statuses", ()):
        for endpoint in cluster.get("host_statuses", ()):
            address, port = _socket(endpoint["address"])
            counted = Counters(
                _counter(endpoint, "cx_total"),
                _counter(endpoint, "cx_connect_fail"),
                _counter(endpoint, "rq_total"),
                _counter(endpoint, "rq_error"),
            )
            target = with_port(address, port)
            found[target] = found.get(target, Counters()).plus(counted)
    return found


def listeners(kube: KubeClient, pod: Pod) -> Listeners:
    """Listeners of a pod's proxy.

    Raises:
        ProbeError: the proxy did not answer, or not as Envoy does.
    """
    source, answer = admin(kube, pod, "listeners?format=json")
    with readable(source, answer, _ANSWER):
        found = [
            Listener(each["name"], *_socket(each["local_address"]))
            for each in answer.get("listener_statuses", ())
        ]
    return Listeners(source, tuple(sorted(found, key=lambda each: (each.port, each.name))))


def wanting_proxy_protocol(kube: KubeClient, pod: Pod) -> frozenset[int]:
    """Ports at which a pod's proxy takes only connections that begin with a header of the PROXY
    protocol, which load balancers may add (Istio: ProxyConfig, gatewayTopology; Envoy: Proxy
    Protocol listener filter).

    Raises:
        ProbeError: the proxy did not answer, or not as Envoy does.
    """
    source, answer = admin(kube, pod, "config_dump?resource=dynamic_listeners")
    with readable(source, answer, _ANSWER):
        found = [
            each.get("active_state", {}).get("listener", {}) for each in answer.get("configs", ())
        ]
        return frozenset(
            _socket(each["address"])[1]
            for each in found
            if any(f["name"] == _PROXY_PROTOCOL for f in each.get("listener_filters", ()))
        )


def denied(kube: KubeClient, pod: Pod) -> int:
    """Connections and requests that authorization policies made a pod's proxy refuse since its
    start.

    Source: Envoy, Role Based Access Control (statistics), of which Istio keeps these in any case.

    Raises:
        ProbeError: the proxy did not answer, or not as Envoy does.
    """
    return _sum(kube, pod, _DENIED)


def draining(kube: KubeClient, pod: Pod) -> int:
    """Parts of a pod's listeners that its proxy is about to remove since their configuration has
    changed. It ends the connections to them within its drain time, and may end one on which a
    request has just been sent.

    Source: Envoy, Draining; Listener manager (statistics), which Istio keeps in any case.

    Raises:
        ProbeError: as `denied`.
    """
    return _sum(kube, pod, _DRAINING)


def _sum(kube: KubeClient, pod: Pod, names: str) -> int:
    """Of a proxy's statistics of some names, by a regular expression."""
    source, answer = admin(kube, pod, f"stats?format=json&filter={quote(names, safe='')}")
    with readable(source, answer, _ANSWER):
        counters = [each for each in answer.get("stats", ()) if "name" in each]
        return sum(int(each["value"]) for each in counters)


def admin(kube: KubeClient, pod: Pod, path: str) -> tuple[Source, Any]:
    """The JSON that the admin interface of a pod's proxy answers to a GET.

    Raises:
        ProbeError: no answer, or none in JSON.
    """
    source, text = admin_text(kube, pod, path)
    with readable(source, text, _ANSWER):
        return source, answer_in(text)


def configuration(pod: Pod) -> Json:
    """What a pod's proxy was configured with when it was injected, as far as it is not the default
    (Istio: ProxyConfig); empty without a proxy.
    """
    proxy = pod.container(PROXY)
    try:
        found = json.loads(proxy.env.get(CONFIGURATION, "{}")) if proxy is not None else {}
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def admin_port(pod: Pod) -> int:
    """Port of the admin interface of a pod's proxy (Istio: ProxyConfig, proxyAdminPort)."""
    port = configuration(pod).get("proxyAdminPort")
    return port if isinstance(port, int) else _PORT


def admin_source(kube: KubeClient, pod: Pod, path: str, method: str = "GET") -> Source:
    """The source of what `admin_text` returns."""
    where, port = (kube.name, pod.meta.namespace, pod.name), admin_port(pod)
    if _is_forwarded(kube, port):
        return forward_source(*where, port, f"/{path}", method)
    return exec_source(*where, PROXY, _by_agent(path, method))


def _is_forwarded(kube: KubeClient, port: int) -> bool:
    """Whether the admin interface is asked itself: the agent asks no other port than the usual one,
    and not everybody may run it.
    """
    return kube.forwards or port != _PORT


def _by_agent(path: str, method: str) -> tuple[str, ...]:
    return ("pilot-agent", "request", method, path)


def admin_text(kube: KubeClient, pod: Pod, path: str, method: str = "GET") -> tuple[Source, str]:
    """What the admin interface of a pod's proxy answers, as text.

    Raises:
        ProbeError: it does not answer.
    """
    port = admin_port(pod)
    if _is_forwarded(kube, port):
        answer = kube.ask(pod.meta.namespace, pod.name, port, f"/{path}", method)
        if answer.status != HTTPStatus.OK:
            raise _unreadable(answer.source, f"HTTP {answer.status}")
        return answer.source, answer.text
    result = kube.exec(pod.meta.namespace, pod.name, PROXY, _by_agent(path, method))
    if result.exit_status != 0:
        raise _unreadable(result.source, result.stderr.strip() or f"exit {result.exit_status}")
    return result.source, result.stdout


def read_endpoints(source: Source, cluster: str, clusters: Any) -> Endpoints:
    """Read endpoints.

    Args:
        clusters: answer to `clusters?format=json`.

    Raises:
        ProbeError: it is not what Envoy answers.
    """
    with readable(source, clusters, _ANSWER):
        statuses = [
            each for each in clusters.get("cluster_statuses", ()) if each["name"] == cluster
        ]
        found = [_endpoint(host) for each in statuses for host in each.get("host_statuses", ())]
    found.sort(key=lambda each: (each.priority, each.address, each.port))
    return Endpoints(source, bool(statuses), tuple(found))


def targets_by_cluster(source: Source, clusters: Any) -> Mapping[str, frozenset[str]]:
    """Endpoints as `address:port`, by the name of their Envoy cluster.

    Args:
        clusters: answer to `clusters?format=json`.

    Raises:
        ProbeError: it is not what Envoy answers.
    """
    with readable(source, clusters, _ANSWER):
        return {
            each["name"]: frozenset(
                with_port(address, port)
                for address, port in (
                    _socket(endpoint["address"]) for endpoint in each.get("host_statuses", ())
                )
            )
            for each in clusters.get("cluster_statuses", ())
        }


def _endpoint(host: Json) -> Endpoint:
    address, port = _socket(host["address"])
    health = host.get("health_status", {})
    # Absent means healthy; each other key is a check that the endpoint failed.
    discovered = health.get("eds_health_status", _HEALTHY)
    failed = [key for key, value in health.items() if value is True]
    problems = failed + ([] if discovered in (_HEALTHY, "UNKNOWN") else [discovered])
    locality = host.get("locality", {})
    places = (locality.get(key) for key in ("region", "zone", "sub_zone"))
    return Endpoint(
        address=address,
        port=port,
        weight=int(host.get("weight", 1)),
        healthy=not problems,
        health=", ".join(problems),
        locality="/".join(place for place in places if place),
        priority=int(host.get("priority", 0)),
        connections=_counter(host, "cx_total"),
    )


def _counter(host: Json, name: str) -> int:
    """A counter of an endpoint; Envoy leaves out the value of one that is 0."""
    return sum(int(each.get("value", 0)) for each in host.get("stats", ()) if each["name"] == name)


def _socket(address: Json) -> tuple[str, int]:
    """Address and port; of an endpoint to which requests go through a tunnel, those at the end of
    it (Istio: HBONE; Envoy: EnvoyInternalAddress, endpoint_id).
    """
    if socket := address.get("socket_address"):
        return socket["address"], int(socket["port_value"])
    within = address.get("envoy_internal_address") or {}
    host, port = split_port(within.get("endpoint_id", ""))
    return (host, int(port)) if port else ("", 0)


def _unreadable(source: Source, seen: str) -> ProbeError:
    return ProbeError(
        wanted=_ANSWER,
        seen=seen,
        where=f"{source.cluster} {source.subject}",
        remedy=f"by hand: {source.asked}",
    )
