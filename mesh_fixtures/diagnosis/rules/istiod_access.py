"""Whether proxies find their istiod: its name, the path to it, and the name in its certificate.

Seen from the pods that wait for it, where there are any: their network, and their proxy's log.
Source: Istio, ProxyConfig (discoveryAddress); Install Primary-Remote (remotePilotAddress);
Kubernetes, Service of type ExternalName.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from mesh_fixtures.diagnosis.cause import Case, Cause, Evidence, Kind, Layer, get, listed
from mesh_fixtures.diagnosis.facts import GATEWAY, ClusterFacts, Path
from mesh_fixtures.diagnosis.rules import (
    cluster_health,
    gateway_exposure,
    gateway_health,
    network_policies,
)
from mesh_fixtures.diagnosis.rules.attachment import is_address
from mesh_fixtures.scenario import ClusterSpec
from mesh_fixtures.verdict.findings import Subject

_BROKEN = ("CONTROL-2", "WORKLOAD-1", "GATEWAY-1")
DNS = Kind(
    "dns-failing", Layer.UNDERLAY, (*_BROKEN, "TRAFFIC-1"), (cluster_health.DNS.id, "packet-loss")
)
UNREACHABLE = Kind(
    "istiod-unreachable",
    Layer.NETWORK,
    _BROKEN,
    (
        *(DNS.id, cluster_health.DNS.id, "packet-loss", "istiod-not-running"),
        *("discovery-address-wrong", gateway_exposure.ISTIOD.id, gateway_exposure.MISMATCH.id),
        *(gateway_exposure.NOT_LISTENING.id, gateway_health.MISSING.id, gateway_health.SCALED.id),
        *(gateway_health.NOT_READY.id, gateway_health.PENDING.id, gateway_health.UNREACHABLE.id),
        *(gateway_health.NOT_ANSWERING.id, network_policies.CLOSED.id),
    ),
)
HOST_NAME = Kind(
    "istiod-host-name-wrong", Layer.ATTACHMENT, _BROKEN, (DNS.id, cluster_health.DNS.id)
)

_LOOKUP = re.compile(r"lookup (\S+?)\.?( on \S+)?: (.*)")
_OTHER_NAME = re.compile(r"x509: certificate is (?:valid for (.+?), )?not (?:valid for )?([\w.-]+)")


def dns(case: Case) -> Iterator[Cause]:
    """Pods that resolve no name, not even one that every cluster has."""
    for spec, facts in case.clusters:
        tried = [each for each in case.facts.paths_of("dns", spec.name) if each.unresolved]
        failed = [each for each in tried if each.unresolved == each.attempts]
        lookups = [(line, source) for line, source in _log(facts) if _LOOKUP.search(line)]
        if failed:
            yield Cause(
                DNS,
                (spec.name,),
                f"pods of {spec.name} cannot resolve names, istiod's among them: "
                f"{failed[0].message or failed[0]}",
                (
                    *(Evidence(f"from {spec.name}: {each}", each.source) for each in failed),
                    *(Evidence(line, source) for line, source in lookups[-2:]),
                ),
                f"see whether DNS of {spec.name} runs and is reached: kubectl "
                f"--context={spec.name} -n kube-system get pods,endpointslices -l "
                "k8s-app=kube-dns (OpenShift: -n openshift-dns get pods,endpointslices)",
            )


def unreachable(case: Case) -> Iterator[Cause]:
    """Addresses of istiod at which proxies of a cluster get no connection.

    The one that they are configured with counts; what is behind it, and may be open, shows where
    it is.
    """
    for spec, facts in case.clusters:
        paths = case.facts.paths_of("istiod", spec.name)
        tried = [each for each in paths if each.unresolved == 0]
        named = [each for each in paths if not is_address(each.address)] or tried
        closed = [each for each in tried if each.is_closed]
        if not closed or not all(each in closed for each in named):
            continue
        primary = case.scenario.control_plane_of(spec.name)
        owners = () if primary == spec.name else (primary,)
        chosen = [each for each in closed if is_address(each.address)] or closed
        target = listed([each.target for each in chosen])
        elsewhere = [
            each
            for each in case.facts.paths_of(GATEWAY, primary, primary)
            if each.is_open and each.target in {one.target for one in closed}
        ]
        between = f", where {primary} itself reaches it" if elsewhere else ""
        yield Cause(
            UNREACHABLE,
            (spec.name, *owners),
            f"proxies of {spec.name} cannot reach istiod of {primary} at {target}: "
            f"{_outcome(chosen[0])}{between}",
            (
                *(
                    Evidence(f"from {each.client}: {each} {each.message}".rstrip(), each.source)
                    for each in (*closed, *elsewhere)
                ),
                *(Evidence(line, source) for line, source in [*_log(facts)][-2:]),
            ),
            f"let pods of {spec.name} reach {target}: firewall rules, network policies, routes",
            about=Subject((spec.name,)),
        )


def host_name(case: Case) -> Iterator[Cause]:
    """A remote that looks for istiod at a host name that does not lead to it.

    The API server calls a webhook behind a Service of type ExternalName at the Service's own port,
    443, and verifies its certificate against the Service's name.
    """
    for spec, facts in case.remotes:
        primary = case.scenario.control_plane_of(spec.name)
        for host in _host_names(facts):
            reasons = [
                Evidence(text, source)
                for text, source in _messages(case, spec, facts)
                if host in text
            ]
            reasons += [
                Evidence(f"from {spec.name}: {each} {each.message}".rstrip(), each.source)
                for each in case.facts.paths_of("istiod", spec.name)
                if each.is_closed and not is_address(each.address)
            ]
            if reasons:
                yield Cause(
                    HOST_NAME,
                    (spec.name, primary),
                    f"{spec.name} looks for istiod of {primary} at the host name {host} (Service "
                    f"of type ExternalName), {_why(reasons[0].seen, host)}",
                    (
                        Evidence(
                            f"istiod stands for {host}",
                            get(spec.name, "services", case.system_namespace),
                        ),
                        *reasons,
                    ),
                    "set global.remotePilotAddress to an IP address at which istiod is exposed, or "
                    f"to a host name that pods and API server of {spec.name} resolve, with ports "
                    "15012 and 443 passed to istiod",
                    about=Subject((spec.name,)),
                )


def certificate_name(case: Case) -> Iterator[Cause]:
    """An istiod that is called by a name that its certificate does not have."""
    for spec, facts in case.clusters:
        primary = case.scenario.control_plane_of(spec.name)
        names: dict[str, list[Evidence]] = {}
        for text, source in _messages(case, spec, facts):
            if match := _OTHER_NAME.search(text):
                names.setdefault(match[2], []).append(Evidence(text, source))
        for name, seen in names.items():
            if name in _host_names(facts):
                continue
            yield Cause(
                HOST_NAME,
                tuple(dict.fromkeys((spec.name, primary))),
                f"{spec.name} calls istiod of {primary} {name}, which its certificate is not valid "
                "for",
                tuple(seen),
                f"let proxies and webhook of {spec.name} call it "
                f"istiod.{case.system_namespace}.svc, or give istiod of {primary} a certificate "
                f"for {name} (ISTIOD_CUSTOM_HOST)",
                about=Subject((spec.name,)),
            )


RULES = (dns, unreachable, host_name, certificate_name)


def _host_names(facts: ClusterFacts) -> tuple[str, ...]:
    """Host names that stand for istiod in a cluster."""
    return tuple(each for each in facts.discovery or () if not is_address(each))


def _messages(case: Case, spec: ClusterSpec, facts: ClusterFacts) -> Iterator[tuple[str, str]]:
    """What callers of istiod say: waiting proxies, and the API server of its webhook."""
    yield from _log(facts)
    for namespace in dict.fromkeys((case.samples, case.system_namespace)):
        for each in facts.warned(namespace, "FailedCreate"):
            if "failed calling webhook" in each.message:
                yield str(each), get(spec.name, "events", namespace)


def _log(facts: ClusterFacts) -> Iterator[tuple[str, str]]:
    """Lines of the logs of proxies that wait, with how they are seen."""
    for proxy in facts.waiting or ():
        for line in proxy.log:
            yield f"{proxy.pod}: {line}", proxy.source


def _why(reason: str, host: str) -> str:
    if match := _OTHER_NAME.search(reason):
        return f"which its certificate is not valid for ({match[0]})"
    if "no such host" in reason or "not resolved" in reason or "Could not resolve" in reason:
        return "which is not resolved there"
    if f"{host}:443" in reason:
        return f"where nothing answers the API server at {host}:443"
    return "where it does not answer"


def _outcome(path: Path) -> str:
    return path.message or str(path)
