"""Policies of the kinds that network plugins add to NetworkPolicy: Calico's and Cilium's.

They isolate pods and let connections through as a NetworkPolicy does, so that what they let through
is read as rules of one. Whether they are in force, and which of several takes precedence, their
plugin decides.

Source: Calico, Network policy, Global network policy (selector; types; rule); Cilium, Network
Policy (Endpoint default policy; Rule Basics; Layer 3 Policies; Layer 4 Policies).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from mesh_fixtures.kube.admission import Selector
from mesh_fixtures.kube.calico_selectors import SelectorError, selector
from mesh_fixtures.kube.objects import Configuration, Json
from mesh_fixtures.kube.resources import CALICO_POLICIES, CILIUM_POLICIES

Direction = Literal["Ingress", "Egress"]

DIRECTIONS: Final[Sequence[Direction]] = ("Ingress", "Egress")

PEERS: Final[Mapping[Direction, str]] = {"Ingress": "from", "Egress": "to"}
"""Key of a NetworkPolicy's rule with what is at the other end."""

_OF_CALICO: Final = frozenset(each.kind for kinds in CALICO_POLICIES for each in kinds)
_OF_CILIUM: Final = frozenset(each.kind for each in CILIUM_POLICIES)

_OWN_PODS: Final[Json] = {"namespaceSelector": {}}
"""Peer of a NetworkPolicy's rule: any pod of the cluster."""

_ANY_ADDRESS: Final[Json] = {"ipBlock": {"cidr": "0.0.0.0/0"}}

_BEYOND_THE_CLUSTER: Final = frozenset({"all", "world", "world-ipv4", "world-ipv6", "remote-node"})
"""Entities of Cilium that include what is outside of the cluster."""

_OF_ANOTHER_CLUSTER: Final = "io.cilium.k8s.policy.cluster"
"""Label of a peer's cluster where Cilium joins several."""


@dataclass(frozen=True)
class PodIdentity:
    """What policies select a pod by.

    Attributes:
        namespace_labels: of its namespace; empty where they are not known.
    """

    namespace: str
    labels: Mapping[str, str]
    namespace_labels: Mapping[str, str] = field(default_factory=dict)

    def is_selected(self, by: Json) -> bool:
        """Whether it is selected by `namespaceSelector` and `podSelector`, as of peers of policies;
        what is not there selects all.
        """
        return Selector.read(by.get("namespaceSelector")).matches(
            self.namespace_labels
        ) and Selector.read(by.get("podSelector")).matches(self.labels)


def is_of_plugin(policy: Configuration) -> bool:
    """Whether a policy is none of Kubernetes itself."""
    return policy.kind in _OF_CALICO or policy.kind in _OF_CILIUM


def isolates(policy: Configuration, pod: PodIdentity, direction: Direction) -> bool:
    """Whether a plugin's policy, of the pod's namespace or of the whole cluster, isolates a pod in
    a direction; not, where it selects by what is not understood.
    """
    try:
        if policy.kind in _OF_CALICO:
            return direction in _calico_types(policy.spec) and _calico_selects(policy.spec, pod)
        return any(
            _cilium_isolates(spec, direction) and _cilium_selects(spec, pod)
            for spec in _specs(policy)
        )
    except SelectorError:
        return False


def rules(policy: Configuration, direction: Direction) -> Sequence[Json]:
    """What a plugin's policy lets through in a direction, as rules of a NetworkPolicy.

    Of other pods, the rules say no more than that they are some of the cluster, and of addresses
    no more than that they are some.
    """
    if policy.kind in _OF_CALICO:
        return [*_calico_rules(policy.spec.get(direction.lower()) or (), direction)]
    return [
        rule
        for spec in _specs(policy)
        for each in spec.get(direction.lower()) or ()
        for rule in _cilium_rules(each, direction)
    ]


def _calico_types(spec: Json) -> Sequence[str]:
    if spec.get("doNotTrack") or spec.get("preDNAT"):
        return ()  # of hosts
    by_rules = [each for each in DIRECTIONS if spec.get(each.lower())]
    given: Sequence[str] = spec.get("types") or by_rules or ("Ingress",)
    return given


def _calico_selects(spec: Json, pod: PodIdentity) -> bool:
    if spec.get("serviceAccountSelector"):
        return False  # by labels that are not known
    labels = {**pod.labels, "projectcalico.org/namespace": pod.namespace,
              "projectcalico.org/orchestrator": "k8s"}  # fmt: skip
    namespaces = spec.get("namespaceSelector") or ""
    of_namespace = {**pod.namespace_labels, "projectcalico.org/name": pod.namespace}
    return selector(spec.get("selector") or "all()")(labels) and (
        not namespaces or selector(namespaces)(of_namespace)
    )


def _calico_rules(given: Iterable[Json], direction: Direction) -> Iterator[Json]:
    """Up to the first rule that refuses whatever has got there."""
    for rule in given:
        action = rule.get("action")
        if action in ("Allow", "Pass"):
            yield from _calico_allowing(rule, direction)
        elif action == "Deny" and not rule.keys() - {"action", "metadata"}:
            return


def _calico_allowing(rule: Json, direction: Direction) -> Iterator[Json]:
    source, destination = rule.get("source") or {}, rule.get("destination") or {}
    peer = source if direction == "Ingress" else destination
    ports = [*_calico_ports(rule, destination.get("ports") or ())]
    yield {
        **({"ports": ports} if ports else {}),
        **({PEERS[direction]: [others]} if (others := _calico_peer(peer)) else {}),
    }


def _calico_peer(peer: Json) -> Json | None:
    """What is at the other end, as in a NetworkPolicy; None for anything."""
    if peer.get("nets") or peer.get("domains") or peer.get("selector") == "global()":
        return _ANY_ADDRESS
    if peer.keys() & {"selector", "namespaceSelector", "serviceAccounts", "services"}:
        return _OWN_PODS
    return None


def _calico_ports(rule: Json, ports: Iterable[Any]) -> Iterator[Json]:
    protocol = _protocol(rule.get("protocol"))
    for port in ports:
        first, _, last = str(port).partition(":")
        if not first.isdecimal():
            yield {"protocol": protocol, "port": first}
        else:
            yield {"protocol": protocol, "port": int(first), "endPort": int(last or first)}
    if not ports and rule.get("protocol") is not None:
        yield {"protocol": protocol}


def _protocol(given: Any) -> str:
    numbers = {6: "TCP", 17: "UDP"}
    return numbers.get(given, str(given)) if given is not None else "TCP"


def _specs(policy: Configuration) -> Sequence[Json]:
    """Policies of Cilium may consist of several."""
    several: Sequence[Json] = policy.spec.get("specs") or ()
    return several or (policy.spec,)


def _cilium_isolates(spec: Json, direction: Direction) -> bool:
    key = direction.lower()
    has_rules = bool(spec.get(key) or spec.get(f"{key}Deny"))
    by_default: bool = (spec.get("enableDefaultDeny") or {}).get(key, has_rules)
    return by_default


def _cilium_selects(spec: Json, pod: PodIdentity) -> bool:
    if "endpointSelector" not in spec:
        return False  # of nodes
    of_namespace = {
        f"io.cilium.k8s.namespace.labels.{key}": value
        for key, value in pod.namespace_labels.items()
    }
    known = {**pod.labels, **of_namespace, "io.kubernetes.pod.namespace": pod.namespace}
    return _without_sources(Selector.read(spec["endpointSelector"])).matches(known)


def _without_sources(given: Selector) -> Selector:
    """A selector whose keys do not say where labels come from: of pods, from Kubernetes."""
    keys = [*given.labels, *(key for key, *_ in given.expressions)]
    if strange := [key for key in keys if ":" in key and not key.startswith(("k8s:", "any:"))]:
        raise SelectorError(f"labels of another source than Kubernetes: {', '.join(strange)}")
    return Selector(
        {_plain(key): value for key, value in given.labels.items()},
        tuple((_plain(key), operator, values) for key, operator, values in given.expressions),
    )


def _plain(key: str) -> str:
    return key.rpartition(":")[2]


def _cilium_rules(rule: Json, direction: Direction) -> Iterator[Json]:
    """A rule that names nothing lets nothing through, other than a NetworkPolicy's."""
    side = PEERS[direction]
    peers = {key: each for key, each in rule.items() if key.startswith(side) and key != "toPorts"}
    at = rule.get("toPorts") or ()
    ports = [each for entry in at for each in entry.get("ports") or ()]
    if not peers and not at:
        return
    others = [*_cilium_peers(peers, side)]
    if peers and not others:
        return  # lists that are empty let nothing through
    yield {
        **({"ports": [*map(_cilium_port, ports)]} if ports else {}),
        **({side: others} if others else {}),
    }


def _cilium_peers(peers: Mapping[str, Any], side: str) -> Iterator[Json]:
    for key, given in peers.items():
        kind = key.removeprefix(side)
        for each in given or ():
            own = (
                each not in _BEYOND_THE_CLUSTER
                if kind == "Entities"
                else kind in ("Endpoints", "Services") and _OF_ANOTHER_CLUSTER not in str(each)
            )
            yield _OWN_PODS if own else _ANY_ADDRESS


def _cilium_port(given: Json) -> Json:
    port = str(given.get("port", "0"))
    protocol = given.get("protocol", "ANY")
    described: Json = {"protocol": "TCP" if protocol == "ANY" else protocol}
    if not port.isdecimal():
        return {**described, "port": port}
    if int(port) == 0:
        return described
    return {**described, "port": int(port), "endPort": int(given.get("endPort") or port)}
