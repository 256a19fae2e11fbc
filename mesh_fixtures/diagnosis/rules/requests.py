"""Requests that the mesh carried as it should, or never got: errors of the application itself, and
requests that pass by the client's proxy.

Source: Istio, Resource Annotations (`traffic.sidecar.istio.io`).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from ipaddress import ip_address, ip_network

from mesh_fixtures.diagnosis.cause import Case, Cause, Evidence, Kind, Layer, get
from mesh_fixtures.diagnosis.facts import ClusterFacts, Pod
from mesh_fixtures.probe.workloads import Redirection
from mesh_fixtures.workloads import PORT

APPLICATION = Kind("application-errors", Layer.WORKLOAD, ("TRAFFIC-1",))
BYPASSED = Kind(
    "sidecar-bypassed", Layer.ROUTING, ("TRAFFIC-1", "TRAFFIC-2", "SECURITY-1", "AUTHZ-1")
)

_ANNOTATION = "traffic.sidecar.istio.io/"
_OF_INJECTOR = {
    "includeOutboundIPRanges": "global.proxy.includeIPRanges",
    "excludeOutboundIPRanges": "global.proxy.excludeIPRanges",
    "includeOutboundPorts": "global.proxy.includeOutboundPorts",
    "excludeOutboundPorts": "global.proxy.excludeOutboundPorts",
}
_ALL = "*"
_STATUS = re.compile(r"HTTP (5\d\d)\b")


def application(case: Case) -> Iterator[Cause]:
    """Pods whose application fails, which their own sidecars see and the mesh has no part in."""
    for each in case.facts.served:
        if not each.errors:
            continue
        yield Cause(
            APPLICATION,
            (each.server,),
            f"HelloWorld {each.version} itself, in pod {each.pod} of {each.server}, answered "
            f"{each.errors} of {each.requests} requests with an error{_codes(case)}",
            (
                Evidence(
                    f"the sidecar of {each.pod} counted {each.errors} errors of {each.requests} "
                    f"requests that it passed to its own application, and {each.failed} "
                    "connections that were not opened",
                    each.source,
                ),
                *(
                    Evidence(f"from {traffic.client}: {count} requests: {message}", traffic.source)
                    for traffic in case.facts.traffic
                    for message, count in traffic.failures.items()
                ),
            ),
            f"look at the application: kubectl --context={each.server} -n {case.samples} logs "
            f"{each.pod} -c helloworld; the mesh carried its answers",
        )


def _codes(case: Case) -> str:
    """HTTP statuses that clients got."""
    messages = [message for each in case.facts.traffic for message in each.failures]
    codes = sorted({match[1] for each in messages if (match := _STATUS.match(each))})
    return f" (HTTP {', '.join(codes)})" if codes else ""


def bypassed(case: Case) -> Iterator[Cause]:
    """Clients whose requests are answered, and of which their own proxies know nothing."""
    for traffic in case.facts.traffic:
        answered = sum(traffic.versions.values())
        if traffic.by_proxy is None or not answered or 2 * traffic.by_proxy > answered:
            continue
        facts = case.facts.clusters[traffic.client]
        pods = [each for each in facts.pods_in(case.samples, {"app": "sleep"}) if each.proxy]
        reasons = [each for pod in pods for each in _reasons(case, facts, pod)]
        why = f": {reasons[0].seen}" if reasons else ""
        yield Cause(
            BYPASSED,
            (traffic.client,),
            f"requests of Sleep in {traffic.client} to HelloWorld pass by its proxy{why}",
            (
                Evidence(
                    f"of {traffic.sent} requests, of which {answered} were answered, the proxy "
                    f"counted {traffic.by_proxy}",
                    traffic.source,
                ),
                *reasons,
            ),
            "take the addresses of services out of what is excluded, and restart the pods"
            if reasons
            else "look for what resolves services before the proxy gets their requests: load "
            "balancing at the socket (Cilium: socketLB.hostNamespaceOnly=true), annotations "
            f"{_ANNOTATION}*, rules of the node's firewall",
        )


RULES = (application, bypassed)


def _reasons(case: Case, facts: ClusterFacts, pod: Pod) -> Iterator[Evidence]:
    service = facts.service(case.samples, "helloworld")
    address = service.cluster_ip if service is not None else ""
    show = get(facts.name, f"pod {pod.name} -o yaml", case.samples)
    if pod.host_network:
        yield Evidence(f"{pod.name} has hostNetwork, where nothing is redirected", show)
    for each in pod.redirections:
        if _passes_by(each, address):
            where = f"; the Service helloworld has {address}" if address else ""
            yield Evidence(f"{_named(case, facts, each)} is {each.value}{where}", show)


def _named(case: Case, facts: ClusterFacts, setting: Redirection) -> str:
    if setting.annotated:
        return f"annotation {_ANNOTATION}{setting.name}"
    primary = case.scenario.control_plane_of(facts.name)
    return (
        f"{_OF_INJECTOR[setting.name]} in the values of {primary}'s injector (ConfigMap "
        f"istio-sidecar-injector in {case.system_namespace})"
    )


def _passes_by(setting: Redirection, address: str) -> bool:
    """Whether by a setting requests to HelloWorld are not redirected into the proxy."""
    values = [each.strip() for each in setting.value.split(",") if each.strip()]
    if setting.name == "excludeOutboundPorts":
        return str(PORT) in values
    if setting.name == "excludeOutboundIPRanges":
        return _ALL in values or _is_in(address, values)
    if setting.name == "includeOutboundIPRanges":
        return _ALL not in values and not _is_in(address, values)
    return False


def _is_in(address: str, ranges: Iterable[str]) -> bool:
    try:
        return any(ip_address(address) in ip_network(each, strict=False) for each in ranges)
    except ValueError:
        return False
