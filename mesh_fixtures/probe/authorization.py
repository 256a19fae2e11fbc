"""Authorization policies: those that a server's proxy enforces, and what becomes of requests.

Proxies get policies as rules of filters in front of a port; istiod names each after its policy.
Source: Istio, Authorization Policy; Envoy, Role Based Access Control (HTTP filter), Administration
interface (`/config_dump`).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from mesh_fixtures.errors import ProbeError
from mesh_fixtures.kube import ExecResult, KubeClient, Pod, Source, exec_source
from mesh_fixtures.patience import patient
from mesh_fixtures.probe.envoy import admin
from mesh_fixtures.probe.traffic import CONTAINER, FORMAT, Answer, Failure, read_requests
from mesh_fixtures.workloads import PORT

HEADER: Final = "x-mesh-conformance-authz"
"""Of the requests that policies of a run are about, and of no others."""

_LISTENER: Final = "config_dump?resource=dynamic_listeners&name_regex=%5EvirtualInbound%24"
_RBAC: Final = ".filters.http.rbac.v3.RBAC"
_ALLOW, _DENY = "ALLOW", "DENY"
_NEVER: Final = [{"not_rule": {"any": True}}]
"""What istiod makes of a policy without rules (source: Istio, `pilot/pkg/security/authz`)."""
_RULE: Final = re.compile(r"ns\[(.*)\]-policy\[(.*)\]-rule\[\d+\]")
_MARGIN_SECONDS: Final = 15
_SHOWN: Final = 200
_GROUP: Final = "\x1d"
# A mark is begun as long as there is time, and all of its requests are sent then, or until one gets
# no answer.
_SCRIPT: Final = """
end=$(($(date +%s) + $1)) limit=$2 format=$3 url=$4 count=$5 header=$6
shift 6
for mark in "$@"; do
  [ "$(date +%s)" -lt "$end" ] || break
  printf "\\035%s\\n" "$mark"
  curl -s --fail-early --noproxy "*" -m "$limit" -H "Connection: close" -H "$header: $mark" \\
    -w "$format" "$url#[1-$count]"
done
printf "\\035"
"""


@dataclass(frozen=True)
class Enforced:
    """The rules by which a pod's proxy judges requests to HelloWorld.

    Attributes:
        allowing: policies that allow something, each `namespace/name`.
        denying: those that deny something.
        text: all that they say, as JSON.
        empty: those without a rule, by which nothing is allowed or denied that no other one allows
            or denies (Istio: Authorization Policy, allow-nothing).
    """

    source: Source
    allowing: frozenset[str]
    denying: frozenset[str]
    text: str
    empty: frozenset[str] = frozenset()

    def __str__(self) -> str:
        return ", ".join(sorted(self.allowing | self.denying | self.empty)) or "no policy"


def enforced(kube: KubeClient, pod: Pod) -> Enforced:
    """The policies that a pod's proxy enforces on requests to HelloWorld.

    Raises:
        ProbeError: the proxy did not answer, or not as Envoy does.
    """
    source, answer = admin(kube, pod, _LISTENER)
    return read_enforced(source, answer)


def read_enforced(source: Source, dump: Any) -> Enforced:
    """Read the policies of a proxy.

    Args:
        dump: answer to `config_dump?resource=dynamic_listeners` for the listener of requests to
            the pod.

    Raises:
        ProbeError: it is not what Envoy answers.
    """
    by_action: dict[str, set[str]] = {}
    empty: set[str] = set()
    texts: list[str] = []
    try:
        for rules in _rules(dump):
            # Envoy leaves out the action that is its default
            known = by_action.setdefault(rules.get("action", _ALLOW), set())
            for rule, held in rules.get("policies", {}).items():
                (empty if held.get("permissions") == _NEVER else known).add(_policy(rule))
            texts.append(json.dumps(rules, sort_keys=True))
    except (KeyError, TypeError, AttributeError) as error:
        raise ProbeError(
            wanted="the policies that a proxy enforces",
            seen=f"{error!r} in {str(dump)[:_SHOWN]}",
            where=f"{source.cluster} {source.subject}",
            remedy=f"by hand: {source.asked}",
        ) from error
    allowing, denying = (frozenset(by_action.get(each, ())) for each in (_ALLOW, _DENY))
    return Enforced(source, allowing, denying, "\n".join(texts), frozenset(empty))


def _rules(dump: Any) -> Iterator[Mapping[str, Any]]:
    for each in dump.get("configs", ()):
        listener = each.get("active_state", {}).get("listener", {})
        for chain in listener.get("filter_chains", ()):
            if chain.get("filter_chain_match", {}).get("destination_port") == PORT:
                for outer in chain.get("filters", ()):
                    yield from _of_filters(outer.get("typed_config", {}).get("http_filters", ()))


def _of_filters(filters: Sequence[Mapping[str, Any]]) -> Iterator[Mapping[str, Any]]:
    for each in filters:
        configured = each.get("typed_config", {})
        if configured.get("@type", "").endswith(_RBAC) and configured.get("rules"):
            yield configured["rules"]


def _policy(rule: str) -> str:
    """The policy of a rule, by the name that istiod gives it."""
    named = _RULE.fullmatch(rule)
    return f"{named[1]}/{named[2]}" if named else rule


Results = Mapping[str, tuple[Answer | Failure, ...]]
"""What became of the requests with each mark, in their order."""


def marked_requests(
    kube: KubeClient,
    client: Pod,
    url: str,
    marks: Sequence[str],
    count: int,
    *,
    request_seconds: float,
    budget_seconds: int,
) -> Results:
    """Send requests from Sleep, one after the other, each over a fresh connection.

    Args:
        marks: values of `HEADER`; requests are sent with each.
        count: how many are sent with a mark; fewer where one of them gets no answer.
        request_seconds: after which a request counts as failed.
        budget_seconds: after which no further mark is begun, so that some may be left out.

    Raises:
        ProbeError: Sleep could not send, or not every request is accounted for.
    """
    namespace = client.meta.namespace
    limits = (str(budget_seconds), f"{request_seconds:g}", FORMAT)
    result = kube.exec(
        namespace,
        client.name,
        CONTAINER,
        ("sh", "-c", _SCRIPT, "requests", *limits, url, str(count), HEADER, *marks),
        timeout=budget_seconds + count * request_seconds + patient(_MARGIN_SECONDS),
    )
    by_hand = ("curl", "-s", "-H", f"{HEADER}: {marks[0]}", url)
    source = exec_source(kube.name, namespace, client.name, CONTAINER, by_hand)
    return read_marked(replace(result, source=source), count)


def read_marked(result: ExecResult, count: int) -> Results:
    """Read what the script in Sleep printed.

    Args:
        count: how many requests were to be sent with a mark.

    Raises:
        ProbeError: it does not account for every request.
    """
    before, *groups = result.stdout.split(_GROUP)
    if before or not groups or groups[-1]:
        raise _unaccounted(result, f"exit status {result.exit_status}, {_end(result)}")
    found: dict[str, tuple[Answer | Failure, ...]] = {}
    for group in groups[:-1]:
        mark, _, printed = group.partition("\n")
        seen = found[mark] = tuple(read_requests(printed, result.source))
        ended = count if not seen or not _is_unanswered(seen[-1]) else len(seen)
        if [each.index for each in seen] != list(range(1, ended + 1)):
            raise _unaccounted(result, f"{len(found[mark])} of {count} requests with {mark}")
    return found


def _is_unanswered(request: Answer | Failure) -> bool:
    return isinstance(request, Failure) and request.curl_exit != 0


def _end(result: ExecResult) -> str:
    return (result.stderr.strip() or result.stdout.strip() or "no output")[-_SHOWN:]


def _unaccounted(result: ExecResult, seen: str) -> ProbeError:
    return ProbeError(
        wanted="an account of every request",
        seen=seen,
        where=f"{result.source.cluster} {result.source.subject}",
        remedy=f"by hand: {result.source.asked}",
    )
