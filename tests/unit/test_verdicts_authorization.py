"""AUTHZ-1 on meshes that evaluate its own policies as Istio does, and on such as do not."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from fake_api_server import FakeApiServer
from fake_kube import pod
from kube_client import cluster
from mesh_examples import SCENARIOS
from verdicts import SOURCE, FakeView, checked, found, mesh

from mesh_fixtures.errors import ProbeError
from mesh_fixtures.kube import Container, KubeClient, Pod
from mesh_fixtures.probe.authorization import Enforced
from mesh_fixtures.probe.identities import TrustDomains
from mesh_fixtures.probe.traffic import Answer, Failure
from mesh_fixtures.requirements import Outcome, authz_1
from mesh_fixtures.verdict.authorization import (
    Asked,
    Restriction,
    judged,
    policies,
    restrictions,
)

MULTI = SCENARIOS["multi-primary-multi-network"]
REMOTE = SCENARIOS["primary-remote-multi-network"]
SLEEP = "spiffe://cluster.local/ns/sample/sa/sleep"
ELSEWHERE = "spiffe://other.example/ns/sample/sa/sleep"
LOCAL = TrustDomains(SOURCE, "cluster.local")
SERVERS = ("cluster1", "cluster2")


@dataclass
class Mesh:
    """A mesh of two clusters that has its policies from `applied`, and what is wrong with it.

    Attributes:
        identities: of Sleep, by cluster.
        known_as: how servers know the client, where that is not its identity; empty for not at all.
        domains: by primary.
        allowed: policies that allow everything, on all servers.
        ignoring: clusters whose servers enforce no policy.
        lasting: clusters whose servers go on to enforce what was deleted.
        bare: clusters whose servers have no proxy.
        failing: status of answers in place of cluster2's.
        late: how often cluster2's servers are asked until they have more than the first policy.
    """

    scenario: Any = MULTI
    identities: Mapping[str, str] = field(default_factory=lambda: dict.fromkeys(SERVERS, SLEEP))
    known_as: Mapping[str, str] = field(default_factory=dict)
    domains: Mapping[str, TrustDomains] = field(
        default_factory=lambda: dict.fromkeys(SERVERS, LOCAL)
    )
    allowed: frozenset[str] = frozenset()
    ignoring: frozenset[str] = frozenset()
    lasting: frozenset[str] = frozenset()
    bare: frozenset[str] = frozenset()
    failing: int = 0
    late: int = 0
    external: bool = False
    applied: Sequence[Any] = ()
    ever: Sequence[Any] = ()

    @contextmanager
    def apply(self, view: Any, items: Sequence[Any]) -> Iterator[None]:
        self.applied = self.ever = items
        yield
        if not view.lab.external:
            self.applied = ()

    def held(self, cluster: str) -> Sequence[Any]:
        if cluster in self.ignoring:
            return ()
        if cluster == "cluster2" and self.late:
            return self.applied[:1]
        return self.ever if cluster in self.lasting else self.applied

    def identity(self, kube: Any, client: Pod) -> Any:
        return SimpleNamespace(spiffe_ids=tuple(filter(None, [self.identities[kube.name]])))

    def enforced(self, kube: Any, server: Pod) -> Enforced:
        held = self.held(kube.name)
        if held and kube.name == "cluster2":
            self.late = max(self.late - 1, 0)
        of = {
            action: frozenset(
                f"sample/{each['metadata']['name']}"
                for each in held
                if each["spec"]["action"] == action
            )
            for action in ("ALLOW", "DENY")
        }
        return Enforced(SOURCE, of["ALLOW"] | self.allowed, of["DENY"], str(held))

    def requests(self, kube: Any, client: Pod, url: str, marks: Any, count: int, **_: Any) -> Any:
        results: dict[str, tuple[Answer | Failure, ...]] = {}
        identity = self.known_as.get(kube.name, self.identities[kube.name])
        for mark in marks:
            results[mark] = tuple(
                self._request(SERVERS[number % 2], number, identity, mark)
                for number in range(1, count + 1)
            )
        assert client.name == f"sleep-{kube.name}"
        assert url == "http://helloworld-authz.sample:5000/hello"
        return results

    def _request(self, server: str, number: int, identity: str, mark: str) -> Answer | Failure:
        if self.failing and server == "cluster2":
            return Failure(number, 0, self.failing, "no healthy upstream", 0.01)
        held = self.held(server)
        domains = self.domains[self.scenario.control_plane_of(server)]
        denying = [each for each in held if each["spec"]["action"] == "DENY"]
        allowing = [each for each in held if each["spec"]["action"] == "ALLOW"]
        denied = any(matches(each, identity, mark, domains) for each in denying)
        allowed = (
            not allowing
            or bool(self.allowed)
            or any(matches(each, identity, mark, domains) for each in allowing)
        )
        if denied or not allowed:
            return Failure(number, 0, 403, "RBAC: access denied", 0.01)
        return Answer(number, "v1", f"helloworld-{server}", 0.01)

    def check(self) -> Outcome:
        view = FakeView(self.scenario, external=self.external)
        for name, kube in view.kube.items():
            kube.list = lambda resource, namespace, selector, name=name: (
                pod(f"helloworld-{name}")
                if name in self.bare
                else replace(pod(f"helloworld-{name}"), containers=(Container("istio-proxy"),)),
            )
        probes = authz_1.Probes(
            identity=self.identity,
            trust_domains=lambda kube: self.domains.get(kube.name),
            enforced=self.enforced,
            fresh_connections=lambda view, service: nullcontext(),
            applied=self.apply,
            client_endpoints=lambda view, seconds, service: {},
            marked_requests=self.requests,
            settling_seconds=2.0 if self.late else 0.0,
        )
        return checked(authz_1, mesh(view), probes)


def matches(policy: Any, identity: str, mark: str, domains: TrustDomains) -> bool:
    """Whether a rule of a policy is about a request (Istio: AuthorizationPolicy, Rule)."""
    return any(
        all(_condition(each, mark) for each in rule["when"])
        and all(_source(each["source"], identity, domains) for each in rule.get("from", ()))
        for rule in policy["spec"]["rules"]
    )


def _condition(condition: Mapping[str, Any], mark: str) -> bool:
    assert condition["key"] == "request.headers[x-mesh-conformance-authz]"
    return mark in condition.get("values", (mark,)) and mark not in condition.get("notValues", ())


def _source(source: Mapping[str, Any], identity: str, domains: TrustDomains) -> bool:
    """Istiod replaces the trust domain of a principal by all of its own where it is one of them."""
    ((name, (value,)),) = source.items()
    if name.lower().endswith("namespaces"):
        known = f"/ns/{value}/" in identity
    else:
        named, _, within = value.partition("/")
        own = named in domains.names or named == "cluster.local"
        known = identity in {f"spiffe://{d}/{within}" for d in (domains.names if own else (named,))}
    return known != name.startswith("not")


@pytest.mark.parametrize("scenario", [MULTI, REMOTE])
@pytest.mark.parametrize("external", [False, True])
def test_a_sound_mesh(scenario: Any, external: bool) -> None:
    seen = Mesh(scenario, external=external)
    outcome = seen.check()
    assert (outcome.result, outcome.notes) == ("met", ())
    # as many allow as deny, and one is about a trust domain that nobody has
    assert outcome.figures["cluster1.answered"] == 4 * authz_1.REQUESTS
    assert outcome.figures["cluster2.refused"] == 5 * authz_1.REQUESTS
    assert [each["spec"]["action"] for each in seen.ever] == ["ALLOW", "DENY"]
    assert ("seconds_to_be_lifted" in outcome.figures) != external


def test_where_all_is_allowed_by_another_policy_only_denials_are_tried() -> None:
    seen = Mesh(allowed=frozenset({"istio-system/everybody"}))
    outcome = seen.check()
    assert outcome.result == "met"
    assert "AuthorizationPolicy istio-system/everybody allows requests" in outcome.notes[0]
    assert [each["spec"]["action"] for each in seen.ever] == ["DENY"]


def test_policies_that_come_one_after_the_other_are_all_waited_for() -> None:
    assert Mesh(late=2).check().result == "met"


@pytest.mark.parametrize(
    ("aliases1", "aliases2"),
    [(("other.example",), ("cluster.local",)), (("other.example",), ())],
)
def test_trust_domains_that_differ(aliases1: tuple[str, ...], aliases2: tuple[str, ...]) -> None:
    """In the second cluster, `cluster.local` means its own trust domain, and not cluster1's."""
    seen = Mesh(
        identities={"cluster1": SLEEP, "cluster2": ELSEWHERE},
        domains={
            "cluster1": TrustDomains(SOURCE, "cluster.local", aliases1),
            "cluster2": TrustDomains(SOURCE, "other.example", aliases2),
        },
    )
    outcome = seen.check()
    if aliases2:
        assert outcome.result == "met"
    else:
        assert (
            f"HelloWorld of cluster2 to answer Sleep of cluster1, {SLEEP}, what its policies allow"
            in found(outcome)
        )


@pytest.mark.parametrize(
    ("broken", "findings"),
    [
        (
            Mesh(ignoring=frozenset({"cluster2"})),
            (
                (
                    "cluster2: expected the proxy of helloworld-cluster2 to enforce the "
                    "AuthorizationPolicies of its namespace, but saw no policy"
                ),
                (
                    f"HelloWorld of cluster2 to refuse Sleep of cluster1, {SLEEP}, what its "
                    "policies deny, but saw 4 answers where only principal "
                    "cluster.local/ns/sample/sa/sleep-other may ask"
                ),
                "and 2 more",
            ),
        ),
        (
            Mesh(known_as={"cluster1": ""}),
            (
                (
                    f"HelloWorld of cluster2 to answer Sleep of cluster1, {SLEEP}, what its "
                    "policies allow, but saw no answer and 8 of 8 refused where only principal "
                    "cluster.local/ns/sample/sa/sleep may ask"
                ),
                "HelloWorld of cluster1 to refuse Sleep of cluster1",
            ),
        ),
        (
            Mesh(
                known_as={"cluster1": SLEEP.replace("sample/sa/sleep", "istio-system/sa/gateway")}
            ),
            ("where only namespace sample may ask", "where namespace sample may not ask"),
        ),
        (
            Mesh(lasting=frozenset({"cluster2"})),
            ("helloworld-cluster2 to enforce no AuthorizationPolicy that was deleted",),
        ),
        (
            Mesh(failing=503),
            ("answered, or refused by a policy with HTTP 403, but saw 4 errors in 8 requests",),
        ),
    ],
    ids=["ignored", "without identity", "known as the gateway", "not lifted", "errors"],
)
def test_a_broken_mesh(broken: Mesh, findings: Sequence[str]) -> None:
    seen = found(broken.check())
    for each in findings:
        assert each in seen


def test_a_client_without_a_certificate_cannot_be_named() -> None:
    outcome = Mesh(identities={"cluster1": SLEEP, "cluster2": ""}).check()
    assert outcome.result == "inconclusive"
    assert "the SPIFFE id of sample/sleep-cluster2" in str(outcome.trouble)


def test_a_server_without_a_proxy_enforces_nothing() -> None:
    outcome = Mesh(bare=frozenset({"cluster2"})).check()
    assert "expected sample/helloworld-cluster2 to have a proxy" in found(outcome)


def asked(answered: Mapping[str, int], refused: int, admitting: Sequence[str] = SERVERS) -> Asked:
    only = Restriction("t-0", "only", "namespaces", "sample")
    return Asked("cluster1", SLEEP, only, frozenset(admitting), answered, refused, ())


@pytest.mark.parametrize(
    ("seen", "is_seen", "finding"),
    [
        (asked({"cluster1": 4, "cluster2": 4}, 0), True, ""),
        (asked({"cluster1": 8}, 0), False, ""),
        (asked({}, 0), False, ""),
        (asked({}, 8, ()), True, ""),
        (asked({}, 0, ()), False, ""),
        (asked({"cluster1": 4}, 4), True, "HelloWorld of cluster2 to answer Sleep of cluster1"),
        (asked({"cluster1": 4, "cluster2": 3}, 1), True, "all HelloWorld to answer"),
        (asked({"cluster2": 4}, 4, ("cluster2",)), True, ""),
        (asked({"cluster2": 4}, 4, ("cluster1",)), True, "HelloWorld of cluster2 to refuse"),
    ],
)
def test_results_of_one_restriction(seen: Asked, is_seen: bool, finding: str) -> None:
    assert seen.is_seen == is_seen
    findings = "\n".join(map(str, judged([seen], SERVERS)))
    assert finding in findings if finding else not findings


def test_each_restriction_has_a_mark_and_admits_or_not() -> None:
    tried = restrictions([SLEEP, SLEEP], "sample", "token")
    assert len({each.mark for each in tried}) == len(tried) == 9
    admitted = [each for each in tried if each.admits(SLEEP, ("cluster.local",))]
    assert [(each.effect, each.value) for each in admitted] == [
        ("only", "cluster.local/ns/sample/sa/sleep"),
        ("only", "sample"),
        ("except", "cluster.local/ns/sample/sa/sleep-other"),
        ("except", "sample-other"),
    ]


def test_pods_that_nobody_knows_are_not_counted() -> None:
    answer = Answer(1, "v1", "helloworld-new", 0.01)
    only = Restriction("t-0", "only", "namespaces", "sample")
    with pytest.raises(ProbeError, match="helloworld-new"):
        Asked.read("cluster1", SLEEP, only, frozenset(), (answer,), {"helloworld-cluster1": ""})


POLICIES = "/apis/security.istio.io/v1/namespaces/ours/authorizationpolicies"


def made(server: FakeApiServer, folder: Path, *, external: bool = False) -> list[str]:
    """What is there while policies are applied to a primary and its remote, which are one here."""
    items = policies(restrictions([SLEEP], "ours", "token"), "token", by_allowing=True)
    with server.running(folder) as kubeconfig:
        lab = SimpleNamespace(
            clusters=dict.fromkeys(SERVERS, cluster(kubeconfig)), external=external
        )
        with KubeClient(lab.clusters["cluster1"], "ours") as kube:
            view: Any = SimpleNamespace(lab=lab, kube=dict.fromkeys(SERVERS, kube), scenario=REMOTE)
            with authz_1.applied(view, items):
                return sorted(server.answers)


NAMES = [f"{POLICIES}/mesh-conformance-{action}-token" for action in ("allow", "deny")]


def test_policies_are_there_while_they_are_needed(tmp_path: Path) -> None:
    server = FakeApiServer()
    assert made(server, tmp_path) == NAMES
    assert server.answers == {}


def test_those_of_a_killed_run_are_removed_and_others_are_not(tmp_path: Path) -> None:
    left, other = f"{POLICIES}/mesh-conformance-allow-old", f"{POLICIES}/helloworld"
    server = FakeApiServer({each: {"metadata": {"name": each}} for each in (left, other)})
    server.answers[POLICIES] = {
        "items": [
            {"metadata": {"name": each.rpartition("/")[2], "namespace": "ours"}, "spec": {}}
            for each in (left, other)
        ]
    }
    assert left not in made(server, tmp_path)
    assert other in server.answers


def test_in_a_mesh_of_others_they_go_with_the_namespace(tmp_path: Path) -> None:
    server = FakeApiServer()
    assert made(server, tmp_path, external=True) == NAMES
    assert sorted(server.answers) == NAMES
    assert {method for method, _, _ in server.changes} == {"POST"}
