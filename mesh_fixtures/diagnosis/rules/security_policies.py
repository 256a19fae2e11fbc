"""Configuration that turns mutual TLS off, or denies requests.

An istiod applies what its own cluster holds, to the proxies of its cluster and of its remotes.
Source: Istio, PeerAuthentication; DestinationRule (ClientTLSSettings); AuthorizationPolicy.

Policies hold for gateways as well, but not for what these pass on by its SNI alone (Istio: Gateway,
AUTO_PASSTHROUGH): of a default that allows nothing, remotes lose their istiod, and no service.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from mesh_fixtures.diagnosis.cause import (
    Case,
    Cause,
    CauseReach,
    Evidence,
    Kind,
    Layer,
    asked,
    get,
    listed,
)
from mesh_fixtures.diagnosis.facts import (
    IGNORED_RESOURCES,
    INCLUDED_RESOURCES,
    ISTIOD_TLS,
    ClusterFacts,
    Configuration,
    Labels,
    Listening,
    Pod,
)
from mesh_fixtures.diagnosis.rules.routing import is_helloworld, is_looked_up
from mesh_fixtures.install.gateway_api import NAME_LABEL
from mesh_fixtures.kube.resources import AUTHORIZATION_POLICIES
from mesh_fixtures.probe.istiod import MESH_PATH
from mesh_fixtures.probe.traffic import RBAC_DENIAL
from mesh_fixtures.verdict.authorization import OWN
from mesh_fixtures.verdict.findings import Subject
from mesh_fixtures.workloads import PORT

_UNKNOWN_CLIENTS = ("SECURITY-1", "AUTHZ-1")
_PLAIN = (*_UNKNOWN_CLIENTS, "SECURITY-2", "DISCOVERY-2", "TRAFFIC-1", "TRAFFIC-3")
MTLS_DISABLED = Kind("mtls-disabled", Layer.POLICY, _PLAIN)
CLIENT_TLS = Kind("client-tls-disabled", Layer.POLICY, _PLAIN, reach=CauseReach.CLIENTS)
DENIED = Kind("authorization-denied", Layer.POLICY, ("TRAFFIC-1",), reach=CauseReach.SERVERS)
ISTIOD_DENIED = Kind(
    "istiod-access-denied", Layer.POLICY, ("CONTROL-2", "WORKLOAD-1"), reach=CauseReach.CLIENTS
)
IGNORED = Kind("authorization-ignored", Layer.POLICY, ("AUTHZ-1",), reach=CauseReach.SERVERS)

_DISABLE = "DISABLE"
_ALLOW = "ALLOW"
_ENFORCED = ("ALLOW", "DENY", "CUSTOM")
_HELLOWORLD = {"app": "helloworld"}
_DENIALS = (RBAC_DENIAL, "HTTP 403")


def mtls_disabled(case: Case) -> Iterator[Cause]:
    for spec, facts in case.configured:
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
            MTLS_DISABLED
            if case.scenario.is_multi_network
            else replace(MTLS_DISABLED, breaks=_UNKNOWN_CLIENTS),
            (spec.name,),
            f"{policy} of {spec.name} turns mutual TLS off for HelloWorld, "
            + (
                "and traffic between networks needs it"
                if case.scenario.is_multi_network
                else "so that it does not know who asks"
            ),
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
    for spec, facts in case.configured:
        for rule in facts.configured("DestinationRule"):
            modes = sorted(
                mode for mode in _client_modes(rule.spec) if mode not in ("ISTIO_MUTUAL", "")
            )
            about = is_looked_up(case, rule) and is_helloworld(
                case, rule, rule.spec.get("host", "")
            )
            if modes and about:
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


def auto_mtls_off(case: Case) -> Iterator[Cause]:
    """Primaries whose proxies use mutual TLS where a DestinationRule says so, and none does.

    Source: Istio, Global Mesh Options (enableAutoMtls).
    """
    for spec, facts in case.primaries:
        istiod = next((each for each in facts.istiods or () if not each.auto_mtls), None)
        if istiod is None or any(
            "ISTIO_MUTUAL" in _client_modes(rule.spec)
            for rule in facts.configured("DestinationRule")
            if is_looked_up(case, rule) and is_helloworld(case, rule, rule.spec.get("host", ""))
        ):
            continue
        yield Cause(
            CLIENT_TLS,
            (spec.name,),
            f"the mesh configuration of {spec.name} has clients use mutual TLS only where a "
            "DestinationRule says so, and none says it of HelloWorld",
            (
                Evidence(
                    "enableAutoMtls: false",
                    asked(case, spec.name, istiod, MESH_PATH),
                ),
                Evidence(
                    f"DestinationRules: {listed(list(facts.configured('DestinationRule')))}",
                    get(spec.name, "destinationrules -A"),
                ),
            ),
            f"remove enableAutoMtls from the mesh configuration of {spec.name} "
            f"(meshConfig.enableAutoMtls of its installation; ConfigMap istio in "
            f"{case.system_namespace}), or add a DestinationRule for *.local with the TLS mode "
            "ISTIO_MUTUAL",
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
    for spec, facts in case.configured:
        policies = _denying(
            [
                each
                for each in facts.configured("AuthorizationPolicy")
                if each.namespace in (case.samples, case.root_namespace)
                and _applies(each)
                and not each.name.startswith(OWN)
            ]
        )
        if not policies or _is_permitting(case, spec.name):
            continue
        found = True
        denying = listed([f"{each} ({_action(each)})" for each in policies])
        yield Cause(
            DENIED,
            (spec.name,),
            f"HelloWorld refuses requests from {clients} by {denying} of {spec.name}",
            (
                *seen,
                *_shown(spec.name, policies),
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


def istiod_denied(case: Case) -> Iterator[Cause]:
    """Remotes that their primary's gateway lets connect, and whom it cuts off as a policy says.

    Refuted where a pod of the remote agrees on TLS with istiod, and where the gateway's proxies
    have refused nobody.
    """
    for spec, _ in case.remotes:
        primary = case.scenario.control_plane_of(spec.name)
        owner = case.facts.clusters.get(primary)
        paths = case.facts.paths_of(ISTIOD_TLS, spec.name)
        if owner is None or any(each.is_open for each in paths):
            continue
        connected = {
            each.target for each in case.facts.paths_of("istiod", spec.name) if each.is_open
        }
        cut_off = [each for each in paths if each.refused and each.target in connected]
        for pod in owner.gateway_pods:
            policies = _denying(
                [
                    each
                    for each in owner.configured("AuthorizationPolicy")
                    if each.namespace in (case.root_namespace, pod.namespace)
                    and _selects(each, pod.labels)
                ]
            )
            counted = _counted(owner, pod)
            denied = counted.denied if counted else None
            if not policies or denied == 0 or not (cut_off or denied):
                continue
            named = listed([f"{each} ({_action(each)})" for each in policies])
            yield Cause(
                ISTIOD_DENIED,
                (primary, spec.name),
                f"the gateway of {primary} keeps proxies of {spec.name} from istiod: {named} of "
                f"{primary} holds for it, and allows them nothing",
                (
                    *_shown(primary, policies),
                    *_refusals(pod, counted),
                    *(
                        Evidence(f"from {each.client}: {each} {each.message}".rstrip(), each.source)
                        for each in cut_off
                    ),
                ),
                _remedy(primary, policies, pod, _chosen(owner, pod)),
                certainty="certain" if cut_off and denied else "likely",
                about=Subject((spec.name,)),
            )
            break


def authorization_ignored(case: Case) -> Iterator[Cause]:
    """An istiod that is told to read no AuthorizationPolicies."""
    for spec, facts in case.primaries:
        for each in facts.deployments or ():
            ignored = each.settings.get(IGNORED_RESOURCES, "")
            included = each.settings.get(INCLUDED_RESOURCES, "")
            if not each.wanted or not _lists(ignored) or _lists(included):
                continue
            show = get(spec.name, f"deployment {each.name} -o yaml", each.namespace)
            yield Cause(
                IGNORED,
                (spec.name,),
                f"istiod of {spec.name} reads no AuthorizationPolicies, so that proxies enforce "
                f"none: its environment has {IGNORED_RESOURCES}={ignored}",
                (
                    Evidence(f"{each.name} has {IGNORED_RESOURCES}={ignored}", show),
                    Evidence(f"{each.name} has {INCLUDED_RESOURCES}={included or 'not set'}", show),
                ),
                f"kubectl --context={spec.name} -n {each.namespace} set env "
                f"deployment/{each.name} {IGNORED_RESOURCES}-, and remove it from the values of "
                "the installation",
            )


def _lists(resources: str) -> bool:
    """Whether AuthorizationPolicies are among the resources that a variable of istiod lists."""
    name = AUTHORIZATION_POLICIES.full_name
    patterns = [each.strip() for each in resources.split(",")]
    return any(
        name.endswith(each[2:]) if each.startswith("*.") else name == each for each in patterns
    )


RULES = (
    mtls_disabled,
    client_tls_disabled,
    auto_mtls_off,
    authorization_denied,
    istiod_denied,
    authorization_ignored,
)


def _remedy(primary: str, policies: Sequence[Configuration], pod: Pod, labels: str) -> str:
    refusing = [each for each in policies if _action(each) != _ALLOW]
    if refusing:
        return f"let {listed(refusing)} of {primary} hold for workloads only, not for its gateways"
    return (
        f"apply an AuthorizationPolicy in {pod.namespace} of {primary} with rules [{{}}] and a "
        f"selector of {labels}: istiod asks its clients itself who they are"
    )


def _counted(owner: ClusterFacts, pod: Pod) -> Listening | None:
    return next((each for each in owner.gateways or () if each.pod == pod.name), None)


def _refusals(pod: Pod, counted: Listening | None) -> Iterator[Evidence]:
    if counted is not None and counted.denied:
        yield Evidence(
            f"{pod.name} has refused {counted.denied} connections and requests by policies",
            counted.source.replace("listeners?format=json", "stats?filter=rbac.denied"),
        )


def _chosen(owner: ClusterFacts, pod: Pod) -> str:
    """Labels by which a gateway's Service chooses its pods."""
    for service in owner.gateway_services:
        if service.selects(pod.namespace, pod.labels):
            return listed([f"{key}: {value}" for key, value in service.selector.items()])
    return "the labels of its pods"


def _shown(cluster: str, policies: Sequence[Configuration]) -> Iterator[Evidence]:
    for each in policies:
        yield Evidence(
            f"{each}: {_rules(each)}",
            get(cluster, f"authorizationpolicy {each.name} -o yaml", each.namespace),
        )


def _is_permitting(case: Case, primary: str) -> bool:
    """Whether each client that was denied something got answers of every HelloWorld for which a
    primary's policies hold, so that another one's deny.
    """
    versions = {
        spec.helloworld for spec, _ in case.clusters if case.config_of(spec.name) == primary
    }
    denied = [
        each
        for each in case.facts.traffic
        if any(text in message for text in _DENIALS for message in each.failures)
    ]
    return bool(denied) and all(versions <= {*each.versions} for each in denied)


def _action(policy: Configuration) -> str:
    return str(policy.spec.get("action", _ALLOW))


def _matching(policy: Configuration) -> Mapping[str, str]:
    selector: Mapping[str, Any] = policy.spec.get("selector") or {}
    labels: Mapping[str, str] = selector.get("matchLabels") or {}
    return labels


def _applies(policy: Configuration) -> bool:
    """Whether a policy may apply to HelloWorld, as far as its selector says."""
    labels = _matching(policy)
    return not _targets(policy) and all(
        _HELLOWORLD.get(key, value) == value for key, value in labels.items()
    )


def _selects(policy: Configuration, labels: Labels) -> bool:
    """Whether a policy holds for a gateway's pod with these labels."""
    if targets := _targets(policy):
        return labels.get(NAME_LABEL, "") in {
            str(each.get("name")) for each in targets if each.get("kind") == "Gateway"
        }
    return _matching(policy).items() <= labels.items()


def _targets(policy: Configuration) -> list[Mapping[str, Any]]:
    """What a policy is attached to in place of pods (Istio: AuthorizationPolicy, targetRefs)."""
    one = policy.spec.get("targetRef")
    return [*(policy.spec.get("targetRefs") or ()), *([one] if one else [])]


def _denying(policies: Sequence[Configuration]) -> list[Configuration]:
    """Those of a workload's policies that may deny a request: what one of them allows, no other one
    that allows denies; and one that denies or asks others does so where a rule matches.
    """
    enforced = [each for each in policies if _action(each) in _ENFORCED]
    allowing = [each for each in enforced if _action(each) == _ALLOW]
    denying = [each for each in enforced if each not in allowing and each.spec.get("rules")]
    if any(not rule for each in allowing for rule in each.spec.get("rules") or ()):
        return denying
    return [*allowing, *denying]


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
        elif policy.namespace == case.root_namespace and not _matching(policy):
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
    action = _action(policy)
    count = len(policy.spec.get("rules") or ())
    return f"action {action}, {count} rules" if count else f"action {action}, no rules"
