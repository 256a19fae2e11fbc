"""Whom authorization policies must let through, and what differs from that: pure functions.

Each policy is about one identity or namespace, and about the requests that carry its own mark. So
many of them hold at the same time, and none is about anybody else's requests.
Source: Istio, AuthorizationPolicy (Source, Condition); Authorization Policy (Trust domain
migration: a policy that names one of a control plane's trust domains means all of them, and
`cluster.local` means its own).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final, Literal

from mesh_fixtures.errors import ProbeError
from mesh_fixtures.kube.resources import AUTHORIZATION_POLICIES
from mesh_fixtures.probe.authorization import HEADER, Enforced
from mesh_fixtures.probe.identities import DEFAULT_TRUST_DOMAIN
from mesh_fixtures.probe.traffic import Answer, Failure
from mesh_fixtures.verdict.findings import Finding, Subject
from mesh_fixtures.wording import first_of

OWN: Final = "mesh-conformance-"
"""Begins the names of a run's own policies."""

_SCHEME: Final = "spiffe://"
_ELSEWHERE: Final = "elsewhere.invalid"
"""A trust domain that no mesh has (source: RFC 2606)."""

_OTHER: Final = "-other"
_KEY: Final = f"request.headers[{HEADER}]"
_SHOWN: Final = 3

Json = dict[str, Any]
Results = Iterable[Answer | Failure]


@dataclass(frozen=True)
class Restriction:
    """Whom a policy is about, and what becomes of them.

    Attributes:
        mark: of the requests that it holds for.
        effect: `only` lets these through and nobody else; `except` lets everybody else through.
        by: field of a policy's source.
        value: a principal, which is a SPIFFE id without its scheme; or a namespace.
    """

    mark: str
    effect: Literal["only", "except"]
    by: Literal["principals", "namespaces"]
    value: str

    def admits(self, spiffe_id: str, names: Sequence[str]) -> bool:
        """Whether a client is let through.

        Args:
            spiffe_id: of its certificate.
            names: trust domains of the server's control plane: its own, and the aliases of that.
        """
        return self._is_about(spiffe_id, names) == (self.effect == "only")

    def _is_about(self, spiffe_id: str, names: Sequence[str]) -> bool:
        if self.by == "namespaces":
            return f"/ns/{self.value}/" in spiffe_id
        principal = spiffe_id.removeprefix(_SCHEME)
        domain, _, within = principal.partition("/")
        named, _, named_within = self.value.partition("/")
        return self.value == principal or (
            within == named_within
            and domain in names
            and (named in names or named == DEFAULT_TRUST_DOMAIN)
        )

    def __str__(self) -> str:
        what = {"principals": "principal", "namespaces": "namespace"}[self.by]
        return {
            "only": f"only {what} {self.value} may ask",
            "except": f"{what} {self.value} may not ask",
        }[self.effect]


def restrictions(spiffe_ids: Iterable[str], namespace: str, token: str) -> tuple[Restriction, ...]:
    """What is tried: each client's identity and namespace, and others that look much like them.

    Args:
        spiffe_ids: of the clients, which may all be the same.
        namespace: of the clients.
        token: begins the marks; nobody else's requests have it.
    """
    known = [each.removeprefix(_SCHEME) for each in dict.fromkeys(spiffe_ids)]
    within = dict.fromkeys(each.partition("/")[2] for each in known)
    others = [f"{each}{_OTHER}" for each in known]
    named: list[tuple[Literal["principals", "namespaces"], str]] = [
        *(("principals", each) for each in (*known, *others)),
        *(("namespaces", each) for each in (namespace, f"{namespace}{_OTHER}")),
    ]
    elsewhere = [f"{_ELSEWHERE}/{each}" for each in within]
    tried: list[tuple[Literal["only", "except"], Literal["principals", "namespaces"], str]] = [
        *(("only", by, value) for by, value in named),
        *(("only", "principals", value) for value in elsewhere),
        *(("except", by, value) for by, value in named),
    ]
    return tuple(
        Restriction(f"{token}-{number}", effect, by, value)
        for number, (effect, by, value) in enumerate(tried)
    )


def policies(tried: Iterable[Restriction], token: str, *, by_allowing: bool) -> tuple[Json, ...]:
    """AuthorizationPolicies for HelloWorld that restrict requests with marks, and no others.

    Args:
        token: as for `restrictions`; ends their names.
        by_allowing: whether whoever alone may ask is allowed to, by which all others are denied.
            Where other policies allow everything, that denies nobody: then all others are denied
            by their not being named.
    """
    only = [each for each in tried if each.effect == "only"]
    excepted = [each for each in tried if each.effect == "except"]
    denying = [_rule(each, each.by) for each in excepted]
    if not by_allowing:
        negated = {"principals": "notPrincipals", "namespaces": "notNamespaces"}
        denying += [_rule(each, negated[each.by]) for each in only]
        return (_policy("DENY", token, denying),)
    unmarked = {"when": [{"key": _KEY, "notValues": [each.mark for each in only]}]}
    allowing = [*(_rule(each, each.by) for each in only), unmarked]
    return _policy("ALLOW", token, allowing), _policy("DENY", token, denying)


def _rule(each: Restriction, field: str) -> Json:
    return {
        "from": [{"source": {field: [each.value]}}],
        "when": [{"key": _KEY, "values": [each.mark]}],
    }


def _policy(action: str, token: str, rules: list[Json]) -> Json:
    return {
        "apiVersion": AUTHORIZATION_POLICIES.api,
        "kind": AUTHORIZATION_POLICIES.kind,
        "metadata": {"name": f"{OWN}{action.lower()}-{token}"},
        "spec": {
            "selector": {"matchLabels": {"app": "helloworld"}},
            "action": action,
            "rules": rules,
        },
    }


@dataclass(frozen=True)
class Asked:
    """What became of a client's requests that a restriction holds for.

    Attributes:
        client: name of the client's cluster.
        admitting: clusters whose HelloWorld must answer; that of all others must refuse.
        answered: number of answers, by the server's cluster.
        refused: how many requests a policy refused, whoever that was.
        failures: what failed in another way.
    """

    client: str
    spiffe_id: str
    restriction: Restriction
    admitting: frozenset[str]
    answered: Mapping[str, int]
    refused: int
    failures: tuple[Failure, ...]

    @classmethod
    def read(
        cls,
        client: str,
        spiffe_id: str,
        restriction: Restriction,
        admitting: frozenset[str],
        results: Results,
        cluster_of: Mapping[str, str],
    ) -> Asked:
        """Count results.

        Args:
            cluster_of: the cluster of each pod of HelloWorld.

        Raises:
            ProbeError: a pod that is not known has answered.
        """
        results = tuple(results)
        answers = [each for each in results if isinstance(each, Answer)]
        failures = [each for each in results if isinstance(each, Failure)]
        others = tuple(each for each in failures if not _is_refusal(each))
        unknown = {each.instance for each in answers} - cluster_of.keys()
        if unknown:
            raise ProbeError(
                wanted="answers of pods that are known",
                seen=f"some of {', '.join(sorted(unknown))}",
                where=client,
            )
        return cls(
            client,
            spiffe_id,
            restriction,
            admitting,
            Counter(cluster_of[each.instance] for each in answers),
            len(failures) - len(others),
            others,
        )

    @property
    def sent(self) -> int:
        return sum(self.answered.values()) + self.refused + len(self.failures)

    @property
    def silent(self) -> tuple[str, ...]:
        """Clusters that must have answered and have not."""
        return tuple(sorted(each for each in self.admitting if not self.answered.get(each)))

    @property
    def is_seen(self) -> bool:
        """Whether each cluster that must answer has, or something else keeps them from it; where
        none must, whether there was a request.
        """
        return bool(self.sent) and not (self.silent and not self.refused and not self.failures)


def _is_refusal(failure: Failure) -> bool:
    """HelloWorld itself forbids nothing; in which words a proxy does can be configured."""
    return failure.http_status == HTTPStatus.FORBIDDEN


def judged(asked: Sequence[Asked], clusters: Sequence[str]) -> Iterator[Finding]:
    """Differences between what policies must do and what became of requests.

    Args:
        clusters: of HelloWorld.
    """
    for client in dict.fromkeys(each.client for each in asked):
        own = [each for each in asked if each.client == client]
        for server in clusters:
            about = Subject((server,), clients=(client,))
            name = f"Sleep of {client}, {own[0].spiffe_id},"
            if through := [*_let_through(own, server)]:
                expected = f"HelloWorld of {server} to refuse {name} what its policies deny"
                yield Finding(server, expected, first_of(through, _SHOWN), about=about)
            if refused := [*_refused_by(own, server)]:
                expected = f"HelloWorld of {server} to answer {name} what its policies allow"
                yield Finding(server, expected, first_of(refused, _SHOWN), about=about)
        if undue := [*_refused_by_some(own, clusters)]:
            expected = f"all HelloWorld to answer {own[0].spiffe_id} what their policies allow"
            yield Finding(client, expected, first_of(undue, _SHOWN))
        if failures := [*_failed(own)]:
            expected = "requests to be answered, or refused by a policy with HTTP 403"
            yield Finding(client, expected, first_of(failures, _SHOWN))


def _let_through(own: Iterable[Asked], server: str) -> Iterator[str]:
    for each in own:
        count = each.answered.get(server, 0)
        if count and server not in each.admitting:
            yield f"{count} answers where {each.restriction}"


def _refused_by(own: Iterable[Asked], server: str) -> Iterator[str]:
    for each in own:
        if each.refused and server in each.silent:
            yield f"no answer and {_refusals(each)} where {each.restriction}"


def _refused_by_some(own: Iterable[Asked], clusters: Sequence[str]) -> Iterator[str]:
    """Refusals where all must answer, and have."""
    for each in own:
        if each.refused and not each.silent and each.admitting == {*clusters}:
            yield f"{_refusals(each)} where {each.restriction}"


def _failed(own: Iterable[Asked]) -> Iterator[str]:
    for each in own:
        if each.failures:
            yield (
                f"{len(each.failures)} errors in {each.sent} requests where {each.restriction}: "
                f"{each.failures[0]}"
            )


def _refusals(each: Asked) -> str:
    return f"{each.refused} of {each.sent} refused"


def without(
    held: Mapping[tuple[str, str], Enforced], policies: Collection[str]
) -> Iterator[Finding]:
    """Servers whose proxies do not enforce all of a run's policies: each is an object of its own,
    and may come with another push than the one before.

    Args:
        held: by cluster and pod.
        policies: each `namespace/name`.
    """
    for (cluster, pod), each in held.items():
        if not {*policies} <= each.allowing | each.denying:
            expected = f"the proxy of {pod} to enforce the AuthorizationPolicies of its namespace"
            yield Finding(cluster, expected, str(each), each.source, Subject((cluster,)))
