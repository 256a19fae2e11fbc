"""Configuration that turns mutual TLS off, or denies requests.

An istiod applies what its own cluster holds, to the proxies of its cluster and of its remotes.
Source: Istio, PeerAuthentication; DestinationRule (ClientTLSSettings); AuthorizationPolicy.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from mesh_fixtures.diagnosis.cause import Case, Cause, Evidence, Kind, Layer, Reach, get, listed
from mesh_fixtures.diagnosis.facts import ClusterFacts, Configuration
from mesh_fixtures.diagnosis.rules.routing import is_helloworld
from mesh_fixtures.install.names import SYSTEM_NAMESPACE
from mesh_fixtures.workloads import PORT

_PLAIN = ("SECURITY-1", "SECURITY-2", "DISCOVERY-2", "TRAFFIC-1", "TRAFFIC-3")
MTLS_DISABLED = Kind("mtls-disabled", Layer.POLICY, _PLAIN)
CLIENT_TLS = Kind("client-tls-disabled", Layer.POLICY, _PLAIN, reach=Reach.CLIENTS)
DENIED = Kind("authorization-denied", Layer.POLICY, ("TRAFFIC-1",), reach=Reach.SERVERS)

_DISABLE = "DISABLE"
_HELLOWORLD = {"app": "helloworld"}
_DENIALS = ("RBAC: access denied", "HTTP 403")


def mtls_disabled(case: Case) -> Iterator[Cause]:
    for spec, facts in case.primaries:
        policy = _effective(case, facts)
        if policy is None or _mode(policy) != _DISABLE:
            continue
        plain = sorted(
            {
                pod.cluster
                for istiod in facts.istiods or ()
                for pod in istiod.helloworld or ()
                if not pod.mutual_tls
            }
        )
        yield Cause(
            MTLS_DISABLED,
            (spec.name,),
            f"{policy} of {spec.name} turns mutual TLS off for HelloWorld, and traffic between "
            "networks needs it",
            (
                Evidence(
                    f"{policy}: mtls mode {_DISABLE}",
                    get(spec.name, f"peerauthentication {policy.name} -o yaml", policy.namespace),
                ),
                *(
                    [Evidence(f"istiod takes the pods of {listed(plain)} for plaintext")]
                    if plain
                    else []
                ),
            ),
            f"kubectl --context={spec.name} -n {policy.namespace} delete peerauthentication "
            f"{policy.name}, or set its mode to PERMISSIVE or STRICT",
        )


def client_tls_disabled(case: Case) -> Iterator[Cause]:
    for spec, facts in case.primaries:
        for rule in facts.configured("DestinationRule"):
            modes = sorted(
                mode for mode in _client_modes(rule.spec) if mode not in ("ISTIO_MUTUAL", "")
            )
            if modes and is_helloworld(case, rule, rule.spec.get("host", "")):
                yield Cause(
                    CLIENT_TLS,
                    (spec.name,),
                    f"{rule} of {spec.name} makes clients of HelloWorld use TLS mode "
                    f"{listed(modes)} in place of the mesh's own",
                    (
                        Evidence(
                            f"{rule}: host {rule.spec.get('host')}, tls mode {listed(modes)}",
                            get(spec.name, f"destinationrule {rule.name} -o yaml", rule.namespace),
                        ),
                    ),
                    f"remove tls from {rule}, or set its mode to ISTIO_MUTUAL",
                )


def authorization_denied(case: Case) -> Iterator[Cause]:
    """Denials that were seen; policies that may be behind them, by the cluster that denies."""
    denied = [
        (traffic.client, message, count, traffic.source)
        for traffic in case.facts.traffic
        for message, count in traffic.failures.items()
        if any(each in message for each in _DENIALS)
    ]
    if not denied:
        return
    seen = tuple(
        Evidence(f"from {client}: {count} requests: {message}", source)
        for client, message, count, source in denied
    )
    clients = listed(sorted({client for client, *_ in denied}))
    found = False
    for spec, facts in case.primaries:
        policies = _denying(
            [
                each
                for each in facts.configured("AuthorizationPolicy")
                if each.namespace in (case.samples, SYSTEM_NAMESPACE) and _applies(each)
            ]
        )
        if not policies:
            continue
        found = True
        denying = listed([f"{each} ({each.spec.get('action', 'ALLOW')})" for each in policies])
        yield Cause(
            DENIED,
            (spec.name,),
            f"HelloWorld refuses requests from {clients} by {denying} of {spec.name}",
            (
                *seen,
                *(
                    Evidence(
                        f"{each}: {_rules(each)}",
                        get(spec.name, f"authorizationpolicy {each.name} -o yaml", each.namespace),
                    )
                    for each in policies
                ),
            ),
            f"remove or change what denies: kubectl --context={spec.name} get authorizationpolicies"
            " -A",
        )
    if not found:
        yield Cause(
            DENIED,
            tuple(name for name in case.facts.clusters),
            f"HelloWorld refuses requests from {clients} as not permitted",
            seen,
            "look for what denies: kubectl get authorizationpolicies -A, in each cluster",
            certainty="likely",
        )


RULES = (mtls_disabled, client_tls_disabled, authorization_denied)


def _matching(policy: Configuration) -> Mapping[str, str]:
    selector: Mapping[str, Any] = policy.spec.get("selector") or {}
    labels: Mapping[str, str] = selector.get("matchLabels") or {}
    return labels


def _applies(policy: Configuration) -> bool:
    """Whether a policy may apply to HelloWorld, as far as its selector says."""
    labels = _matching(policy)
    return all(_HELLOWORLD.get(key, value) == value for key, value in labels.items())


def _denying(policies: Sequence[Configuration]) -> list[Configuration]:
    """Those of a workload's policies that may deny a request: what one of them allows, no other one
    that allows denies.
    """
    allowing = [each for each in policies if each.spec.get("action", "ALLOW") == "ALLOW"]
    if any(not rule for each in allowing for rule in each.spec.get("rules") or ()):
        return [each for each in policies if each not in allowing]
    return list(policies)


def _effective(case: Case, facts: ClusterFacts) -> Configuration | None:
    """The policy for HelloWorld: of its pods before that of its namespace, before the mesh's."""
    ranked: dict[int, Configuration] = {}
    for policy in facts.configured("PeerAuthentication"):
        if _mode(policy) in ("", "UNSET"):
            continue
        if policy.namespace == case.samples and _matching(policy):
            if _applies(policy):
                ranked.setdefault(0, policy)
        elif policy.namespace == case.samples:
            ranked.setdefault(1, policy)
        elif policy.namespace == SYSTEM_NAMESPACE and not _matching(policy):
            ranked.setdefault(2, policy)
    return ranked[min(ranked)] if ranked else None


def _mode(policy: Configuration) -> str:
    ports: Mapping[str, Any] = policy.spec.get("portLevelMtls") or {}
    of_port = (ports.get(str(PORT)) or {}).get("mode", "")
    return str(of_port or (policy.spec.get("mtls") or {}).get("mode", ""))


def _client_modes(spec: Mapping[str, Any]) -> Iterator[str]:
    for holder in (spec, *(spec.get("subsets") or ())):
        policy = holder.get("trafficPolicy") or {}
        for each in (policy, *(policy.get("portLevelSettings") or ())):
            yield str((each.get("tls") or {}).get("mode", ""))


def _rules(policy: Configuration) -> str:
    action = policy.spec.get("action", "ALLOW")
    count = len(policy.spec.get("rules") or ())
    return f"action {action}, {count} rules" if count else f"action {action}, no rules"
