"""Requests from Sleep to HelloWorld, each over a separate connection.

One exec runs a few curl processes with up to 16 requests each: curl asks to close each connection,
and tells for each request how many connections it opened, so that a reused one cannot pass for a
fresh one. Measured here against an Envoy: 200 requests in 0.6 s, and 3.7 s with a process for each.
Before and after, Sleep's own proxy is asked for its counters, which tell whether the requests went
through it, and what became of them there. Source: curl's manual, `--write-out`; Envoy,
Administration interface (a pod's own loopback address is not redirected).

What the pods of HelloWorld answered is counted by the sidecars in front of them. A sidecar passes a
request to its own pod's application through an Envoy cluster that has only that endpoint: what
fails there is the application's doing, and none of the mesh between client and sidecar. Source:
Envoy, Administration interface (statistics of hosts); Istio, names of inbound clusters.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from http import HTTPStatus
from typing import Final
from urllib.parse import quote

from mesh_fixtures.contract import RUN_NAMESPACES
from mesh_fixtures.errors import ProbeError
from mesh_fixtures.kube import ExecResult, KubeClient, Pod, Source, exec_source
from mesh_fixtures.kube.resources import PODS
from mesh_fixtures.patience import patient, whole
from mesh_fixtures.probe.answers import answer_in
from mesh_fixtures.probe.envoy import PROXY, Counters, admin, admin_port, counters
from mesh_fixtures.probe.workloads import HELLOWORLD, SLEEP
from mesh_fixtures.scenario import IpFamily
from mesh_fixtures.workloads import PORT, SERVICE, hello


@dataclass(frozen=True)
class Served:
    """What a pod's sidecar counted of its application.

    Attributes:
        counted: requests and connections from the sidecar to the application.
        source: how it is asked by hand.
    """

    pod: str
    version: str
    counted: Counters
    source: str


def served(kube: KubeClient) -> tuple[Served, ...]:
    """What every pod of HelloWorld in a cluster has answered since its start; without those whose
    sidecar does not say.
    """
    try:
        pods = kube.list(PODS, kube.sample_namespace, HELLOWORLD)
    except ProbeError:
        return ()
    able = [each for each in pods if each.serving and each.container(PROXY) is not None]
    return tuple(found for pod in able if (found := _of_pod(kube, pod)) is not None)


def since(before: Iterable[Served], after: Iterable[Served]) -> tuple[Served, ...]:
    """What was answered between two observations; a pod that was not there before is new."""
    known = {each.pod: each.counted for each in before}
    return tuple(
        replace(each, counted=each.counted.since(known.get(each.pod, Counters()))) for each in after
    )


def _of_pod(kube: KubeClient, pod: Pod) -> Served | None:
    pattern = quote(rf"^inbound\|{PORT}\|", safe="")
    try:
        source, answer = admin(kube, pod, f"clusters?format=json&filter={pattern}")
        found = counters(answer)
    except (ProbeError, KeyError, TypeError, AttributeError, ValueError):
        return None
    total = Counters()
    for each in found.values():
        total = total.plus(each)
    return Served(pod.name, pod.meta.labels.get("version", ""), total, source.asked)


CONTAINER: Final = "sleep"
"""Container of Sleep that sends."""

REQUEST_SECONDS: Final = 5.0
LEAST_SECONDS: Final = 40
LEAST_PER_SECOND: Final = 10
"""All requests together may take the least time, and a tenth of a second each."""
HANGING: Final = 10
"""After so many that were not answered, or whose host was not found, no more are sent: what others
would say, these have said."""

RBAC_DENIAL: Final = "RBAC: access denied"
"""What proxies answer requests by that a policy of Istio denies."""

_MARGIN_SECONDS: Final = 15
_RECORD: Final = "\x1e"
_END: Final = "\x1d"
_COUNTED: Final = "\x1c"
FORMAT: Final = (
    _RECORD + r"%{exitcode} %{http_code} %{num_connects} %{time_total} %{url} %{errormsg}\n"
)
# curl numbers the requests by the fragment of the URL, which it does not send. A process sends
# twice as many as the one before while all goes well, none after a failure, and one after that; the
# time is checked in between. Which request was the last says the record of it.
_SCRIPT: Final = """
counters() { printf "\\034"; curl -s --noproxy "*" -m "$2" "$1"; printf "\\034"; }
counters "$6" "$2"
end=$(($(date +%s) + $1)) next=1 many=1 hanging=0
while [ "$next" -le "$5" ] && [ "$hanging" -lt "$7" ] && [ "$(date +%s)" -lt "$end" ]; do
  last=$((next + many - 1))
  [ "$last" -le "$5" ] || last=$5
  seen=$(
    curl -s $8 --fail-early --noproxy "*" -m "$2" -H "Connection: close" -w "$3" \
      "$4#[$next-$last]"
  )
  case $? in
    0) many=$((many < 16 ? many * 2 : 16)) ;;
    6 | 28) many=1 hanging=$((hanging + 1)) ;;
    *) many=1 ;;
  esac
  printf "%s\n" "$seen"
  seen=${seen##*\x1e} seen=${seen#*#}
  if [ "${seen%% *}" -ge "$next" ] 2>&-
  then next=$((${seen%% *} + 1))
  else next=$((last + 1)); break
  fi
done
printf "\\035%s\\n" "$next"
counters "$6" "$2"
"""
_ADMIN: Final = "http://localhost:{}"
"""Of either family: where a pod has addresses of IPv6 only, its proxy listens at ::1."""
_OF_FAMILY: Final[Mapping[IpFamily, str]] = {"IPv4": "--ipv4", "IPv6": "--ipv6"}
_MEASURED: Final = re.compile(r"(\d+) (\d+) (\d+) (\d+[.,]\d+) \S+#(\d+) ?(.*)")
_ANSWER: Final = re.compile(r"Hello version: (\S+), instance: (\S+)\s*")
_SHOWN: Final = 200
_LARGEST_PART: Final = 16
"""All of which may be answered as late as they may."""
_TIMED_OUT: Final = 28  # of curl


@dataclass(frozen=True)
class Answer:
    """A request that HelloWorld answered.

    Attributes:
        index: from 1, in the order of the requests.
        instance: name of the pod that answered.
        seconds: from the start of the connection to the end of the answer.
    """

    index: int
    version: str
    instance: str
    seconds: float


@dataclass(frozen=True)
class Failure:
    """A request that was not answered as HelloWorld does.

    Attributes:
        index: from 1, in the order of the requests.
        curl_exit: curl's exit code, 0 when it got an answer, e.g. 7 refused, 28 timed out.
        http_status: 0 without an HTTP answer.
        message: curl's words, and the beginning of the body.
    """

    index: int
    curl_exit: int
    http_status: int
    message: str
    seconds: float

    @property
    def timed_out(self) -> bool:
        """Whether it was still waited for when its time was over."""
        return self.curl_exit == _TIMED_OUT

    def __str__(self) -> str:
        what = f"HTTP {self.http_status}" if self.http_status else f"curl exit {self.curl_exit}"
        return f"request {self.index}: {what} {self.message}".rstrip()


@dataclass(frozen=True)
class TrafficSample:
    """What became of a number of requests from one cluster.

    Attributes:
        cluster: where the client is.
        requested: how many were to be sent.
        seconds: how long those that were sent took together, one after the other.
        cut_short: whether not all were sent, as the time for all was over, or `HANGING` of them
            were not answered in time.
        by_proxy: what the client's own proxy counted meanwhile, by endpoint of HelloWorld; None
            where there is no proxy, or it did not answer.
        served: what the sidecars of this cluster's HelloWorld answered meanwhile, to any client.
    """

    source: Source
    cluster: str
    requested: int
    answers: tuple[Answer, ...]
    failures: tuple[Failure, ...]
    seconds: float
    cut_short: bool
    by_proxy: Mapping[str, Counters] | None = None
    served: tuple[Served, ...] = ()

    @property
    def versions(self) -> Mapping[str, int]:
        """Number of answers by version, most frequent first."""
        return dict(Counter(answer.version for answer in self.answers).most_common())

    @property
    def instances(self) -> Mapping[str, int]:
        """Number of answers by pod, most frequent first."""
        return dict(Counter(answer.instance for answer in self.answers).most_common())

    @property
    def sent(self) -> int:
        return len(self.answers) + len(self.failures)

    @property
    def per_second(self) -> float:
        """Requests a second, one after the other; 0.0 when none was sent."""
        return self.sent / self.seconds if self.seconds else 0.0


def helloworld_url(namespace: str, service: str = SERVICE) -> str:
    """What Sleep asks for."""
    return f"http://{hello(namespace, service)}"


def requests(
    kube: KubeClient,
    count: int,
    *,
    target: str = "",
    client: Pod | None = None,
    request_seconds: float | None = None,
    budget_seconds: int | None = None,
    family: IpFamily | None = None,
) -> TrafficSample:
    """Send requests from the cluster's Sleep, one after the other, each over a fresh connection.

    Args:
        count: at least 1.
        target: URL; empty for HelloWorld's.
        client: the pod that sends; None for any Sleep.
        request_seconds: after which a request counts as failed; None for
            `patient(REQUEST_SECONDS)`.
        budget_seconds: after which no further requests are begun; None for what suits `count`.
        family: of the addresses that the target's name is resolved to; None for any.

    Raises:
        ProbeError: there is no ready Sleep, it could not send, not every request that was begun is
            accounted for, or a connection was used twice.
    """
    if request_seconds is None:
        request_seconds = patient(REQUEST_SECONDS)
    if budget_seconds is None:
        budget_seconds = whole(LEAST_SECONDS + count // LEAST_PER_SECOND)
    namespace = kube.sample_namespace
    target = target or helloworld_url(namespace)
    pod = client or kube.pod_of(namespace, SLEEP)
    option = () if family is None else (_OF_FAMILY[family],)
    pattern = quote(rf"^outbound\|{PORT}\|[^|]*\|{SERVICE}\.{namespace}\.svc\.", safe="")
    counters_url = f"{_ADMIN.format(admin_port(pod))}/clusters?format=json&filter={pattern}"
    arguments = (
        *(str(budget_seconds), f"{request_seconds:g}", FORMAT, target, str(count)),
        *(counters_url, str(HANGING)),
        *option,
    )
    result = kube.exec(
        namespace,
        pod.name,
        CONTAINER,
        ("sh", "-c", _SCRIPT, "requests", *arguments),
        timeout=budget_seconds + _LARGEST_PART * request_seconds + patient(_MARGIN_SECONDS),
    )
    by_hand = exec_source(
        kube.name, namespace, pod.name, CONTAINER, ("curl", "-s", *option, target)
    )
    return read_sample(replace(result, source=by_hand), count)


def read_sample(result: ExecResult, requested: int) -> TrafficSample:
    """Read what the script in Sleep printed.

    Raises:
        ProbeError: the output does not account for every request, or tells of a reused connection.
    """
    source = result.source
    stdout, counted = _without_counters(result.stdout)
    printed, ended, following = stdout.rpartition(_END)
    if not ended or not following.strip().isdigit():
        raise _inconclusive(source, f"exit status {result.exit_status}, {_shown(result)}")
    cut_short = int(following) <= requested
    seen = list(read_requests(printed, source))
    answers = tuple(each for each in seen if isinstance(each, Answer))
    failures = tuple(each for each in seen if isinstance(each, Failure))
    if [each.index for each in seen] != list(range(1, len(seen) + 1)) or len(seen) > requested:
        raise _inconclusive(source, "requests are missing or out of order")
    if len(seen) != (int(following) - 1 if cut_short else requested):
        what = f"{len(seen)} of {requested} requests, the next one being {following.strip()}"
        raise _inconclusive(source, f"{what} ({_shown(result)})")
    seconds = sum(each.seconds for each in seen)
    return TrafficSample(
        source, source.cluster, requested, answers, failures, seconds, cut_short, counted
    )


def _without_counters(stdout: str) -> tuple[str, Mapping[str, Counters] | None]:
    """What was printed besides the proxy's counters, and by how much these grew."""
    parts = stdout.split(_COUNTED)
    try:
        _, before, printed, after, rest = parts
        known, now = counters(answer_in(before)), counters(answer_in(after))
    except (ValueError, KeyError, TypeError, AttributeError):
        return "".join(parts[::2]), None
    grown = {target: each.since(known.get(target, Counters())) for target, each in now.items()}
    return printed + rest, grown


def read_requests(printed: str, source: Source) -> Iterator[Answer | Failure]:
    """Read what curl printed by `FORMAT`.

    Raises:
        ProbeError: a record cannot be read, or tells of a reused connection; or requests are
            limited, and so what became of them tells nothing of the mesh.
    """
    # Each body is followed by its record, which ends with its line.
    body, *records = printed.split(_RECORD)
    for record in records:
        line, _, following = record.partition("\n")
        measured = _MEASURED.fullmatch(line)
        if measured is None:
            raise _inconclusive(source, f"a record that cannot be read: {line[:_SHOWN]!r}")
        curl_exit, http_status, connections = (int(measured[at]) for at in (1, 2, 3))
        seconds, index = float(measured[4].replace(",", ".")), int(measured[5])
        hello = _ANSWER.fullmatch(body)
        if curl_exit == 0 and connections != 1:
            raise _inconclusive(source, f"request {index} opened {connections} connections")
        if curl_exit == 0 and http_status == 200 and hello is not None:
            yield Answer(index, hello[1], hello[2], seconds)
        else:
            message = " ".join(f"{measured[6]} {body[:_SHOWN]}".split())
            failure = Failure(index, curl_exit, http_status, message, seconds)
            if http_status == HTTPStatus.TOO_MANY_REQUESTS:
                raise _limited(source, failure)
            yield failure
        body = following


def _shown(result: ExecResult) -> str:
    output = result.stderr.strip() or result.stdout.strip() or "no output"
    return output[-_SHOWN:]


def _limited(source: Source, failure: Failure) -> ProbeError:
    """HelloWorld itself limits nothing (RFC 6585, 4; Istio: Enabling Rate Limits using Envoy)."""
    return ProbeError(
        wanted="as many requests as the test sends",
        seen=f"{failure}: the mesh limits them",
        where=f"{source.cluster} {source.subject}",
        remedy=f"except namespaces {RUN_NAMESPACES} from the limit, or from the EnvoyFilter that "
        "sets it",
    )


def _inconclusive(source: Source, seen: str) -> ProbeError:
    return ProbeError(
        wanted="an account of every request",
        seen=seen,
        where=f"{source.cluster} {source.subject}",
        remedy=f"by hand: {source.asked}",
    )
