"""What Sleep gets that asks for services by their names, and the names that its proxy knows.

With DNS proxying, the agent beside a proxy answers the DNS queries of its pod from a table that
istiod sends, and passes others on. Without it, there is no such table.
Source: Istio, DNS Proxying; `pkg/dns` (name table); pilot-agent's status server (`/debug/ndsz`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from mesh_fixtures.errors import ProbeError
from mesh_fixtures.kube import ExecResult, KubeClient, Source, exec_source
from mesh_fixtures.patience import patient
from mesh_fixtures.probe.answers import answer_in
from mesh_fixtures.probe.traffic import CONTAINER, FORMAT, Answer, Failure, read_requests
from mesh_fixtures.probe.workloads import SLEEP
from mesh_fixtures.workloads import PORT

TABLE_URL: Final = "http://127.0.0.1:15020/debug/ndsz"
"""Where the agent shows its table, to its own pod only."""

REQUEST_SECONDS: Final = 3.0

_MARGIN_SECONDS: Final = 10
_SHOWN: Final = 200
_END: Final = "\x1d"
_NOT_FOUND: Final = "404"
# curl numbers the requests by the fragment of the URL, which it does not send.
_SCRIPT: Final = r"""
curl -s --noproxy "*" -m "$1" -w "\n%{http_code}" "$3"
printf "\035"
seconds=$1 format=$2 at=0
shift 3
for url; do
  at=$((at + 1))
  curl -s --noproxy "*" -m "$seconds" -H "Connection: close" -w "$format" "$url#[$at-$at]"
done
printf "\035"
"""


@dataclass(frozen=True)
class AskedNames:
    """What a client got.

    Attributes:
        table: addresses by full name, as its proxy answers DNS queries; None where it answers none.
        answers: by the name that was asked for.
    """

    source: Source
    table: Mapping[str, frozenset[str]] | None
    answers: Mapping[str, Answer | Failure]


def ask_names(kube: KubeClient, names: Sequence[str]) -> AskedNames:
    """Have the cluster's Sleep ask HelloWorld for its version once by each name.

    Args:
        names: without a port.

    Raises:
        ProbeError: there is no ready Sleep, it could not send, or its proxy's agent did not say
            what names it knows.
    """
    namespace = kube.sample_namespace
    pod = kube.pod_of(namespace, SLEEP)
    seconds = patient(REQUEST_SECONDS)
    urls = [f"http://{name}:{PORT}/hello" for name in names]
    result = kube.exec(
        namespace,
        pod.name,
        CONTAINER,
        ("sh", "-c", _SCRIPT, "names", f"{seconds:g}", FORMAT, TABLE_URL, *urls),
        timeout=(len(urls) + 1) * seconds + patient(_MARGIN_SECONDS),
    )
    by_hand = exec_source(kube.name, namespace, pod.name, CONTAINER, ("curl", "-s", TABLE_URL))
    return read_names(replace(result, source=by_hand), names)


def read_names(result: ExecResult, names: Sequence[str]) -> AskedNames:
    """Read what the script in Sleep printed.

    Raises:
        ProbeError: it does not account for every name, or for the table.
    """
    parts = result.stdout.split(_END)
    if len(parts) != 3:
        raise _unreadable(result, result.stderr or result.stdout)
    table, printed, _ = parts
    answers = [*read_requests(printed, result.source)]
    if [each.index for each in answers] != [*range(1, len(names) + 1)]:
        raise _unreadable(result, printed)
    return AskedNames(result.source, _table(result, table), dict(zip(names, answers, strict=True)))


def _table(result: ExecResult, printed: str) -> Mapping[str, frozenset[str]] | None:
    text, _, status = printed.rpartition("\n")
    if status == _NOT_FOUND:
        return None
    try:
        table = answer_in(text).get("table") or {}
        return {name: frozenset(each.get("ips") or ()) for name, each in table.items()}
    except (ValueError, AttributeError, TypeError) as error:
        raise _unreadable(result, printed) from error


def _unreadable(result: ExecResult, seen: str) -> ProbeError:
    source = result.source
    return ProbeError(
        wanted="the names that a proxy knows, and an answer for each that is asked for",
        seen=" ".join(seen.split())[-_SHOWN:] or f"exit {result.exit_status}",
        where=f"{source.cluster} {source.subject}",
        remedy=f"by hand: {source.asked}",
    )
