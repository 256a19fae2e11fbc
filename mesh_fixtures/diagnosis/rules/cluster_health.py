"""What a mesh stands on: clusters whose API servers answer, and the parts that a lab's are made of.

While these fail, little is known about the mesh.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import Final

from mesh_fixtures.diagnosis.cause import Case, Cause, CauseReach, Evidence, Kind, Layer, get
from mesh_fixtures.diagnosis.facts import GATEWAY, ClusterFacts, Part
from mesh_fixtures.kube import Clock
from mesh_fixtures.kube.clock import BACKDATED_SECONDS, THIS, spoken
from mesh_fixtures.patience import patient

UNRESPONSIVE = Kind(
    "api-server-unresponsive",
    Layer.UNDERLAY,
    (
        "TRUST-1",
        "CONTROL-1",
        "CONTROL-2",
        "CONTROL-3",
        "DISCOVERY-1",
        "GATEWAY-1",
        "WORKLOAD-1",
        "NETWORK-1",
    ),
)
CLOCK = Kind(
    "clock-differs",
    Layer.UNDERLAY,
    ("TRUST-2", "CONTROL-1", "CONTROL-2", "DISCOVERY-1", "WORKLOAD-1", "TRAFFIC-1"),
)
DNS = Kind("lab-dns-failing", Layer.UNDERLAY, ("WORKLOAD-1", "CONTROL-2", "TRAFFIC-1"))
LOAD_BALANCER = Kind(
    "lab-load-balancer-failing", Layer.UNDERLAY, ("GATEWAY-1",), reach=CauseReach.SERVERS
)
COMPONENT = Kind(
    "lab-component-failing",
    Layer.UNDERLAY,
    ("CONTROL-1", "WORKLOAD-1", "CONTROL-2", "DISCOVERY-1", "GATEWAY-1"),
)

_RECENT_SECONDS: Final = 300.0
"""A part that ended longer ago has nothing to do with what is seen now."""

_REASONS_SHOWN: Final = 3
_PARTS_SHOWN: Final = 4
_EXPECTED: Final = (
    ("kube-system", "coredns", DNS),
    ("metallb-system", "controller", LOAD_BALANCER),
    ("metallb-system", "speaker", LOAD_BALANCER),
)
"""Namespace, and how the names of pods begin that are never without one."""

_WHAT: Final = {
    DNS: "DNS",
    LOAD_BALANCER: "the load balancer",
    COMPONENT: "Kubernetes itself",
}


def unresponsive(case: Case) -> Iterator[Cause]:
    """Nothing could be read of a cluster, and not for want of permission."""
    for spec, facts in case.everywhere:
        lists = (facts.namespaces, facts.pods, facts.services, facts.deployments)
        unread = [each for each in case.facts.unread if each.cluster == spec.name]
        if any(each is not None for each in lists) or not unread:
            continue
        refusals = ("forbidden", "unauthorized")
        if any(refusal in each.why.lower() for each in unread for refusal in refusals):
            continue
        yield Cause(
            UNRESPONSIVE,
            (spec.name,),
            f"the API server of {spec.name} does not answer: {unread[0].why}",
            tuple(Evidence(each.why, each.source) for each in unread[:_REASONS_SHOWN]),
            f"see whether it runs and is reached from here: kubectl --context={spec.name} get "
            "--raw=/readyz?verbose; look at its log, and at etcd's",
        )


def clocks_apart(case: Case) -> Iterator[Cause]:
    """Clusters whose time is further from that of most than certificates are backdated by, unless
    all certificates are valid at the time of each cluster. Of two clusters, this machine's clock
    says which is wrong.
    """
    known = {spec.name: facts.clock for spec, facts in case.everywhere if facts.clock is not None}
    if len(known) < 2 or _are_valid_by(known.values(), case):
        return
    witnesses = [*known.values(), *([THIS] if len(known) == 2 else [])]
    usual = sorted(witnesses, key=lambda clock: clock.ahead)[(len(witnesses) - 1) // 2]
    apart = [n for n, clock in known.items() if clock.differs_from(usual, BACKDATED_SECONDS)]
    others = ", ".join(name for name in known if name not in apart) or "this machine"
    for name in apart:
        ahead = known[name].ahead - usual.ahead
        yield Cause(
            CLOCK,
            (name,),
            f"the clock of {name} is {spoken(ahead)} {'ahead of' if ahead > 0 else 'behind'} that "
            f"of {others}: a certificate that is valid by one need not be by the other",
            tuple(
                Evidence(
                    f"{other} is {clock.ahead:+.0f} s from this machine's clock, give or take "
                    f"{clock.doubt:.1f} s",
                    f"kubectl --context={other} get --raw=/version -v=8",
                )
                for other, clock in known.items()
            ),
            f"let the nodes of {name} synchronize their clocks (timedatectl, chronyc tracking), "
            "then restart istiod and the workloads there, for certificates of the right time",
            certainty="likely",
        )


def _are_valid_by(clocks: Iterable[Clock], case: Case) -> bool:
    """Whether every proxy is known to have a certificate that is valid by each of the clocks."""
    moments = [case.facts.at + clock.ahead for clock in clocks]
    proxies = [each for _, facts in case.clusters for each in facts.proxies or ()]
    return bool(proxies) and all(
        each.validity is not None
        and each.validity[0] <= min(moments)
        and max(moments) <= each.validity[1]
        for each in proxies
    )


def failing(case: Case) -> Iterator[Cause]:
    """Parts that do not run, or ended a moment ago, once for each sort."""
    for spec, facts in case.everywhere:
        seen: dict[Kind, list[tuple[bool, Evidence]]] = {}
        for part in (*(facts.parts or ()), *facts.ended):
            if not part.serving or _is_recent(part, case.facts.at):
                show = get(spec.name, "pods", part.namespace) if part.namespace else ""
                seen.setdefault(_kind(part), []).append(
                    (not part.serving, Evidence(str(part), show))
                )
        for node in facts.nodes or () if facts.parts is not None else ():
            if not node.ready:
                evidence = Evidence(f"node {node.name} is not ready", get(spec.name, "nodes"))
                seen.setdefault(COMPONENT, []).append((True, evidence))
        for namespace, name, kind in _EXPECTED if facts.parts is not None else ():
            there = [each.name for each in facts.parts or () if each.namespace == namespace]
            if not any(each.startswith(name) for each in there):
                evidence = Evidence(f"no pod of {name}", get(spec.name, "pods", namespace))
                seen.setdefault(kind, []).append((True, evidence))
        for kind, found in seen.items():
            is_down = any(down for down, _ in found)
            if is_down and kind is LOAD_BALANCER and _gateways_answer(case, facts):
                continue
            state = "does not work" if is_down else "was interrupted"
            yield Cause(
                kind,
                (spec.name,),
                f"{_WHAT[kind]} of {spec.name}, a part of the lab and not of the mesh, {state}",
                tuple(evidence for _, evidence in found[-_PARTS_SHOWN:]),
                "give the machine more room, or fewer labs at a time, and run it again; if it "
                f"stays: kubectl --context={spec.name} get pods -A, and the logs of what fails",
                certainty="certain" if is_down else "likely",
            )


def _gateways_answer(case: Case, facts: ClusterFacts) -> bool:
    """Whether every gateway has an address, and is reached at it from another cluster: then the
    load balancer does what it is there for.
    """
    reached = {path.address for path in case.facts.paths_of(GATEWAY) if path.is_open}
    services = facts.gateway_services
    return bool(services) and all(
        service.external and reached.issuperset(service.external) for service in services
    )


def _kind(part: Part) -> Kind:
    if part.namespace == "metallb-system":
        return LOAD_BALANCER
    return DNS if part.name.startswith("coredns") else COMPONENT


def _is_recent(part: Part, now: float) -> bool:
    if not part.restarted:
        return False
    return now - datetime.fromisoformat(part.restarted).timestamp() < patient(_RECENT_SECONDS)


RULES = (unresponsive, clocks_apart, failing)
