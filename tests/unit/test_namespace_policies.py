"""Policies that hold in a run's own namespace, and what the run makes in spite of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from types import SimpleNamespace
from typing import Any, Final, cast

import pytest

from mesh_fixtures.contract import GUIDE_NAMES, MeshNames
from mesh_fixtures.errors import LabError, NotAdmitted, NotPermitted, ProbeError
from mesh_fixtures.kube import Configuration, KubeEditor, Resource
from mesh_fixtures.kube.cni_policies import PodIdentity
from mesh_fixtures.kube.objects import Json
from mesh_fixtures.kube.resources import (
    ADMIN_POLICIES,
    AUTHORIZATION_POLICIES,
    CALICO_POLICIES,
    CILIUM_POLICIES,
    CLUSTER_POLICIES,
    NETWORK_POLICIES,
    SIDECARS,
)
from mesh_fixtures.lab.kubeconfig import namespace_policies
from mesh_fixtures.lab.kubeconfig.namespace_policies import (
    NamespacePolicies,
    forbidding,
    isolating,
    narrowing,
    pods_of,
    restricting,
)
from mesh_fixtures.probe.traffic import Failure
from mesh_fixtures.progress import Progress, ProgressEvent

ROOT = "istio-system"
OWN = "mesh-run"
LABELS = ({"app": "helloworld", "version": "v1"}, {"app": "sleep"})
PODS = [PodIdentity(OWN, each) for each in LABELS]
FURTHER = (CALICO_POLICIES[0][0], CILIUM_POLICIES[0], *ADMIN_POLICIES, *CLUSTER_POLICIES[0])
Notes = list[str]
NOT_PERMITTED = NotPermitted(wanted="x", seen="403 no such role", where="cluster1")


def of(kind: Resource[Configuration], namespace: str = OWN, **spec: Any) -> Configuration:
    return Configuration(kind.kind, namespace, "default", spec)


@pytest.mark.parametrize("namespace", [ROOT, OWN])
@pytest.mark.parametrize(
    ("spec", "restricts"),
    [
        ({}, True),
        ({"action": "ALLOW", "rules": [{"to": [{"operation": {"ports": ["80"]}}]}]}, True),
        ({"action": "DENY", "rules": [{}]}, False),
        ({"action": "AUDIT", "rules": [{}]}, False),
        ({"selector": {"matchLabels": {"app": "helloworld"}}}, True),
        ({"selector": {"matchLabels": {"app": "istio-ingressgateway"}}}, False),
        ({"targetRefs": [{"kind": "Gateway", "name": "waypoint"}]}, False),
    ],
)
def test_policies_by_which_only_what_is_named_is_allowed(
    spec: dict[str, Any], restricts: bool, namespace: str
) -> None:
    policy = of(AUTHORIZATION_POLICIES, namespace, **spec)
    assert bool(restricting([policy], LABELS)) == restricts


def denying(*sources: dict[str, Any], **more: Any) -> dict[str, Any]:
    """A policy that denies what comes from there."""
    return {"action": "DENY", "rules": [{"from": [{"source": each} for each in sources], **more}]}


@pytest.mark.parametrize(
    ("spec", "forbids"),
    [
        (denying({"notRequestPrincipals": ["*"]}), True),
        (denying({"notNamespaces": ["shop", "istio-*"]}), True),
        (denying({"namespaces": ["dev"]}, {"namespaces": ["mesh-*"]}), True),
        ({"action": "DENY", "rules": [{}]}, True),
        ({"action": "DENY"}, False),
        (denying({"notNamespaces": ["shop", "mesh-*"]}), False),
        (denying({"notNamespaces": ["*-run"]}), False),
        (denying({"namespaces": ["dev"]}), False),
        (denying({"notRequestPrincipals": ["*"], "namespaces": ["dev"]}), False),
        (denying({"notRequestPrincipals": ["*"]}, to=[{"operation": {"paths": ["/x"]}}]), False),
        (denying({"notPrincipals": ["cluster.local/ns/shop/*"]}), False),
        ({**denying({"notNamespaces": ["x"]}), "selector": {"matchLabels": {"app": "y"}}}, False),
        (
            {**denying({"notNamespaces": ["x"]}), "selector": {"matchLabels": {"app": "sleep"}}},
            True,
        ),
        ({"rules": [{"from": [{"source": {"notNamespaces": ["x"]}}]}]}, False),
    ],
)
def test_policies_that_no_other_policy_outdoes(spec: dict[str, Any], forbids: bool) -> None:
    policy = of(AUTHORIZATION_POLICIES, ROOT, **spec)
    assert bool(forbidding([policy], OWN, LABELS)) == forbids


def egress(namespace: str, *hosts: str, **more: Any) -> Configuration:
    return of(SIDECARS, namespace, egress=[{"hosts": list(hosts)}], **more)


@pytest.mark.parametrize(
    ("sidecars", "by"),
    [
        ([egress(ROOT, "istio-system/*")], ROOT),
        ([egress(ROOT, "istio-system/*", "shop/*")], ROOT),
        ([egress(ROOT, "./*", "istio-system/*")], ""),
        ([egress(ROOT, "*/*")], ""),
        ([egress(ROOT, f"{OWN}/*")], ""),
        ([egress(ROOT)], ""),
        ([egress(OWN, "istio-system/*")], OWN),
        ([egress(ROOT, "istio-system/*"), egress(OWN, "./*")], ""),
        ([egress(ROOT, "*/*"), egress(OWN, "istio-system/*")], OWN),
        ([egress(OWN, "shop/*", workloadSelector={"labels": {"app": "other"}})], ""),
    ],
)
def test_sidecars_that_leave_a_namespace_out(sidecars: list[Configuration], by: str) -> None:
    assert narrowing(sidecars, OWN) == (f"Sidecar {by}/default" if by else "")


SAME_NAMESPACE: Final[list[Any]] = [{"from": [{"podSelector": {}}]}]


@pytest.mark.parametrize(
    ("spec", "isolates"),
    [
        ({"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}, True),
        ({"podSelector": {}, "policyTypes": ["Egress"]}, True),
        ({"podSelector": {}}, True),
        ({"podSelector": {}, "ingress": SAME_NAMESPACE}, True),
        ({"podSelector": {"matchLabels": {"app": "sleep"}}}, True),
        ({"podSelector": {"matchExpressions": [{"key": "app", "operator": "Exists"}]}}, True),
        ({"podSelector": {"matchLabels": {"app": "other"}}}, False),
        ({"podSelector": {}, "ingress": [{}]}, False),
        ({"podSelector": {}, "ingress": [{}], "egress": SAME_NAMESPACE}, True),
        ({"podSelector": {}, "policyTypes": ["Egress"], "egress": [{}]}, False),
    ],
)
def test_policies_by_which_only_connections_that_are_named_are_allowed(
    spec: dict[str, Any], isolates: bool
) -> None:
    assert bool(isolating([of(NETWORK_POLICIES, **spec)], PODS)) == isolates


def test_pods_are_known_by_their_labels() -> None:
    deployment = {"kind": "Deployment", "spec": {"template": {"metadata": {"labels": LABELS[0]}}}}
    (pod,) = pods_of([{"kind": "Service"}, deployment], OWN, {"team": "a"})
    of_namespace = {"team": "a", "kubernetes.io/metadata.name": OWN}
    assert pod == PodIdentity(OWN, LABELS[0], of_namespace)


@dataclass
class Platform:
    """A cluster with policies of others.

    Attributes:
        refusals: raised instead of making an object, by its kind.
        unreadable: kinds that may not be listed.
    """

    there: dict[str, list[Configuration]] = field(default_factory=dict)
    refusals: dict[str, ProbeError] = field(default_factory=dict)
    unreadable: tuple[str, ...] = ()
    made: list[Json] = field(default_factory=list)
    name: str = "cluster1"
    sample_namespace: str = OWN
    names: MeshNames = GUIDE_NAMES

    def list(
        self, kind: Resource[Configuration], namespace: str = "", selector: str = ""
    ) -> Sequence[Configuration]:
        del selector
        if kind.kind in self.unreadable and namespace == OWN:
            raise NOT_PERMITTED
        wanted = namespace if kind.namespaced else ""
        return [each for each in self.there.get(kind.kind, []) if each.namespace == wanted]

    def apis(self) -> frozenset[str]:
        known = (*self.there, *self.unreadable)
        return frozenset(each.api for each in FURTHER if each.kind in known)

    def create(self, item: Json, namespace: str) -> bool:
        assert namespace == OWN
        if refusal := self.refusals.get(item["kind"]):
            raise refusal
        self.made.append(item)
        return True

    def bring(self, *policies: Configuration) -> None:
        for each in policies:
            self.there.setdefault(each.kind, []).append(each)

    def policies(self, notes: Notes, *, configures: bool = True) -> NamespacePolicies:
        def note(event: ProgressEvent) -> None:
            notes.append(event.detail)

        progress = Progress("test", note)
        return NamespacePolicies(cast("KubeEditor", self), PODS, progress, configures=configures)

    @property
    def kinds(self) -> Sequence[str]:
        return [each["kind"] for each in self.made]


CLOSED = of(NETWORK_POLICIES, podSelector={}, policyTypes=["Ingress", "Egress"])
NOTHING_ALLOWED = of(AUTHORIZATION_POLICIES)
NARROW = egress(OWN, "istio-system/*")


def test_what_comes_after_a_while_is_seen_and_answered_once() -> None:
    platform, notes = Platform(), Notes()
    policies = platform.policies(notes)
    policies.look()
    assert (platform.made, notes, policies.settled) == ([], [], False)
    platform.bring(CLOSED, NOTHING_ALLOWED, NARROW)
    policies.look()
    policies.look()
    assert platform.kinds == ["AuthorizationPolicy", *["Sidecar"] * 3, "NetworkPolicy"]
    assert notes == [
        f"requests are allowed here in spite of AuthorizationPolicy {OWN}/default",
        f"services are known here in spite of Sidecar {OWN}/default",
        f"connections are allowed here in spite of NetworkPolicy {OWN}/default",
    ]
    permission, *scopes, connections = (each["spec"] for each in platform.made)
    assert permission == {"action": "ALLOW", "rules": [{}]}
    apps = [each["workloadSelector"]["labels"]["app"] for each in scopes]
    assert apps == ["helloworld", "helloworld-stateful", "sleep"]
    assert all(each["egress"] == [{"hosts": ["./*", "istio-system/*"]}] for each in scopes)
    assert not isolating([of(NETWORK_POLICIES, **connections)], PODS)


def test_what_the_run_has_made_is_nobody_elses() -> None:
    platform, notes = Platform(), Notes()
    platform.bring(Configuration("NetworkPolicy", OWN, "helloworld", {"podSelector": {}}))
    platform.policies(notes).look()
    assert (platform.made, notes) == ([], [])


CALICO, CILIUM, ADMIN, BASELINE, CLUSTER = FURTHER
EVERYWHERE = of(CALICO, "", selector="all()", types=["Ingress", "Egress"])
ELSEWHERE = of(CALICO, "", namespaceSelector="team == 'a'", types=["Ingress"])
OUTGOING = of(CILIUM, "", endpointSelector={}, egress=[{"toEntities": ["cluster"]}])
OF_ALL: Json = {"namespaces": {}}
OF_TEAM_A: Json = {"namespaces": {"matchLabels": {"team": "a"}}}
DENIED: Json = {"action": "Deny", "from": [OF_ALL]}
BY_DEFAULT = of(BASELINE, "", subject=OF_ALL, ingress=[DENIED])
BY_DEFAULT_OF_OTHERS = of(BASELINE, "", subject=OF_TEAM_A, ingress=[DENIED])
IN_BASELINE = of(CLUSTER, "", tier="Baseline", priority=1, subject=OF_ALL, ingress=[DENIED])
BEFORE_ALL = of(CLUSTER, "", tier="Admin", priority=1, subject=OF_ALL, ingress=[DENIED])


@pytest.mark.parametrize(
    ("policy", "answered"),
    [
        (EVERYWHERE, True),
        (ELSEWHERE, False),
        (OUTGOING, True),
        (BY_DEFAULT, True),
        (BY_DEFAULT_OF_OTHERS, False),
        (IN_BASELINE, True),
        (BEFORE_ALL, False),
    ],
)
def test_policies_that_hold_for_the_whole_cluster(policy: Configuration, answered: bool) -> None:
    platform, notes = Platform(), Notes()
    platform.bring(policy)
    platform.policies(notes).look()
    assert platform.kinds == (["NetworkPolicy"] if answered else [])
    assert notes == ([f"connections are allowed here in spite of {policy}"] if answered else [])


@pytest.mark.parametrize("refusals", [{}, {"NetworkPolicy": NOT_PERMITTED}])
def test_connections_are_allowed_where_policies_of_a_plugin_may_not_be_read(
    refusals: dict[str, ProbeError],
) -> None:
    platform = Platform(unreadable=(CALICO.kind,), refusals=refusals)
    policies = platform.policies(Notes())
    policies.look()
    policies.look()
    assert platform.kinds == ([] if refusals else ["NetworkPolicy"])
    policies.require_open("not ready")


def test_policies_of_the_whole_mesh_hold_too() -> None:
    platform, notes = Platform(), Notes()
    platform.bring(of(AUTHORIZATION_POLICIES, ROOT), egress(ROOT, "istio-system/*"))
    platform.policies(notes).look()
    assert platform.kinds == ["AuthorizationPolicy", *["Sidecar"] * 3]


def test_no_istiod_reads_policies_of_a_remote() -> None:
    platform, notes = Platform(), Notes()
    forbidden = of(AUTHORIZATION_POLICIES, **denying({"notRequestPrincipals": ["*"]}))
    platform.bring(CLOSED, NOTHING_ALLOWED, forbidden, NARROW, of(AUTHORIZATION_POLICIES, ROOT))
    platform.policies(notes, configures=False).look()
    assert platform.kinds == ["NetworkPolicy"]


@pytest.mark.parametrize("namespace", [ROOT, OWN])
def test_a_mesh_that_refuses_all_requests_of_the_run_is_no_verdict(namespace: str) -> None:
    platform = Platform()
    spec = denying({"notRequestPrincipals": ["*"]})
    platform.bring(of(AUTHORIZATION_POLICIES, namespace, **spec))
    with pytest.raises(LabError, match=f"AuthorizationPolicy {namespace}/default") as error:
        platform.policies([]).look()
    assert "notNamespaces" in error.value.remedy


def test_what_may_not_be_read_is_noted_once() -> None:
    kinds = ("AuthorizationPolicy", "Sidecar", "NetworkPolicy")
    platform, notes = Platform(unreadable=kinds), Notes()
    platform.bring(CLOSED, NOTHING_ALLOWED, NARROW)
    policies = platform.policies(notes)
    policies.look()
    policies.look()
    assert platform.made == []
    assert policies.settled
    assert sorted(each.split()[4] for each in notes) == sorted(kinds)
    assert all("403 no such role" in each for each in notes)


@pytest.mark.parametrize("policy", [NOTHING_ALLOWED, NARROW])
def test_what_istiod_enforces_and_the_run_may_not_undo_is_an_error(policy: Configuration) -> None:
    platform = Platform(refusals={policy.kind: NOT_PERMITTED})
    platform.bring(policy)
    with pytest.raises(LabError, match="403 no such role") as error:
        platform.policies([]).look()
    assert str(policy) in error.value.seen
    assert "mesh-conformance rbac" in error.value.remedy


@pytest.mark.parametrize(
    ("webhook", "is_of_mesh"),
    [("rev.validation.istio.io", True), ("validate.kyverno.svc-fail", False)],
)
def test_istios_own_webhook_is_for_requirements_to_judge(webhook: str, is_of_mesh: bool) -> None:
    seen = f'HTTP 500: failed calling webhook "{webhook}": connection refused'
    refused = NotAdmitted(wanted="x", seen=seen, where="cluster1")
    platform, notes = Platform(refusals={"AuthorizationPolicy": refused}), Notes()
    platform.bring(NOTHING_ALLOWED)
    policies = platform.policies(notes)
    if is_of_mesh:
        policies.look()
        assert webhook in notes[0]
    else:
        with pytest.raises(LabError, match=webhook):
            policies.look()


@dataclass
class Sample:
    failures: tuple[Any, ...] = ()


@pytest.mark.parametrize(
    ("failures", "trouble", "said"),
    [
        ((), "", ""),
        (("timed out after 3 s",), "", "timed out after 3 s"),
        ((), "pod sleep-1 waits", "pod sleep-1 waits"),
    ],
)
def test_a_network_policy_is_in_the_way_only_where_it_is_enforced(
    monkeypatch: pytest.MonkeyPatch, failures: tuple[str, ...], trouble: str, said: str
) -> None:
    monkeypatch.setattr(namespace_policies, "requests", lambda kube, count: Sample(failures))
    platform, notes = Platform(refusals={"NetworkPolicy": NOT_PERMITTED}), Notes()
    platform.bring(CLOSED)
    policies = platform.policies(notes)
    policies.look()
    assert str(CLOSED) in notes[0]
    if said:
        with pytest.raises(LabError, match=said) as error:
            policies.require_open(trouble)
        assert str(CLOSED) in error.value.seen
    else:
        policies.require_open(trouble)


@pytest.mark.parametrize("failures", [(), ("timed out after 3 s",)])
def test_what_administrators_deny_is_no_verdict(
    monkeypatch: pytest.MonkeyPatch, failures: tuple[str, ...]
) -> None:
    monkeypatch.setattr(namespace_policies, "requests", lambda kube, count: Sample(failures))
    platform = Platform()
    platform.bring(BEFORE_ALL)
    policies = platform.policies(Notes())
    policies.look()
    assert platform.made == []
    if failures:
        with pytest.raises(LabError, match="no NetworkPolicy undoes; timed out") as error:
            policies.require_open("")
        assert str(BEFORE_ALL) in error.value.seen
        assert "--mesh-namespace-label" in error.value.remedy
    else:
        policies.require_open("")


@pytest.mark.parametrize("trouble", ["", "pod sleep-1 waits"])
def test_an_istiod_that_does_not_let_the_namespace_in_is_no_verdict(trouble: str) -> None:
    platform = Platform()
    istiod = {"app": "istiod"}
    policy = of(
        NETWORK_POLICIES,
        ROOT,
        podSelector={"matchLabels": istiod},
        ingress=[{"from": [{"namespaceSelector": {"matchLabels": {"mesh": "member"}}}]}],
    )
    platform.bring(policy)
    meta = SimpleNamespace(namespace=ROOT, labels=istiod)
    platform.there["Pod"] = [cast("Configuration", SimpleNamespace(meta=meta, namespace=ROOT))]
    policies = platform.policies(Notes())
    policies.look()
    if trouble:
        with pytest.raises(LabError, match="with mesh=member reach istiod") as error:
            policies.require_open(trouble)
        assert error.value.remedy == "--mesh-namespace-label mesh=member"
        assert trouble in error.value.seen
    else:
        policies.require_open(trouble)


def test_without_such_a_policy_nothing_is_asked() -> None:
    Platform().policies([]).require_open("pod sleep-1 waits")


REFUSED = Failure(1, 0, 403, "", 0.1)


@pytest.mark.parametrize(
    ("failure", "refuses"),
    [
        (REFUSED, True),
        (replace(REFUSED, http_status=401), True),
        (replace(REFUSED, http_status=302), True),
        (replace(REFUSED, message="RBAC: access denied"), False),
        (replace(REFUSED, http_status=503), False),
        (replace(REFUSED, http_status=0, curl_exit=28), False),
    ],
)
def test_what_an_external_authorizer_refuses_is_no_verdict(
    monkeypatch: pytest.MonkeyPatch, failure: Failure, refuses: bool
) -> None:
    monkeypatch.setattr(namespace_policies, "requests", lambda kube, count: Sample((failure,)))
    platform = Platform()
    custom = {"action": "CUSTOM", "provider": {"name": "sign-in"}, "rules": [{}]}
    platform.bring(of(AUTHORIZATION_POLICIES, ROOT, **custom))
    policies = platform.policies(Notes())
    policies.look()
    policies.require_open("pod sleep-1 waits")
    if refuses:
        with pytest.raises(LabError, match="the authorizer sign-in") as error:
            policies.require_open("")
        assert str(failure.http_status) in error.value.seen
    else:
        policies.require_open("")
    assert platform.made == []
