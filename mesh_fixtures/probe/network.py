"""What can be reached over the network itself, past the mesh.

Questions are asked from a sidecar's own container: its user's traffic is not redirected into the
proxy, so that what answers is the network. The container needs curl, which Istio's default proxy
image has and its distroless one has not. Source: Istio, Application Requirements (user 1337).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum
from typing import Final

from mesh_fixtures.errors import ProbeError
from mesh_fixtures.kube import ExecResult, KubeClient, Pod, Source
from mesh_fixtures.patience import patient
from mesh_fixtures.probe.envoy import PROXY

READY_PATH: Final = "/healthz/ready"
"""What every proxy answers at its status port."""

_MARGIN_SECONDS: Final = 10
_FORMAT: Final = r"%{exitcode} %{http_code} %{time_connect} %{url} %{errormsg}\n"
_MEASURED: Final = re.compile(r"(\d+) (\d+) (\d+[.,]\d+) http://(\S+):(\d+)(?:/\S*)? ?(.*)")
_REFUSAL: Final = re.compile(r"connect to (\S+) port (\d+) .*failed: (.*)")

_COULD_NOT_CONNECT: Final = 7
_TIMED_OUT: Final = 28


class Reach(Enum):
    """What became of an attempt to connect."""

    OPEN = "open"
    REFUSED = "refused"
    TIMED_OUT = "timed out"
    UNREACHABLE = "unreachable"


@dataclass(frozen=True)
class Connection:
    """An attempt to connect to a port.

    Attributes:
        curl_exit: curl's exit code; an open port that does not speak HTTP has one too.
        http_status: 0 without an HTTP answer.
        message: curl's words; empty when all went well.
    """

    source: Source
    address: str
    port: int
    reach: Reach
    curl_exit: int
    http_status: int
    message: str

    @property
    def is_open(self) -> bool:
        return self.reach is Reach.OPEN

    def __str__(self) -> str:
        answer = f", HTTP {self.http_status}" if self.http_status else ""
        return f"{self.address}:{self.port} {self.reach.value}{answer}"


def connections(
    kube: KubeClient,
    pod: Pod,
    targets: Iterable[tuple[str, int]],
    *,
    seconds: float,
    path: str = READY_PATH,
) -> tuple[Connection, ...]:
    """Try to connect from a pod's proxy container to addresses and ports, all at the same time.

    Each is asked for `path` by HTTP; whatever it answers, a port that accepts is open.

    Args:
        targets: IPv4 addresses or host names, with ports.
        seconds: after which an attempt counts as timed out.

    Returns:
        One for each target, in their order.

    Raises:
        ProbeError: the container cannot ask, or not every target is accounted for.
    """
    wanted = list(dict.fromkeys(targets))
    if not wanted:
        return ()
    urls = [f"http://{address}:{port}{path}" for address, port in wanted]
    # --verbose tells refused from unreachable, which the exit code does not.
    argv = (
        *("curl", "--silent", "--verbose", "--noproxy", "*", "--parallel", "--parallel-immediate"),
        *("--max-time", f"{seconds:g}", "--write-out", _FORMAT),
        *(part for url in urls for part in ("--output", "/dev/null", url)),
    )
    timeout = seconds + patient(_MARGIN_SECONDS)
    result = kube.exec(pod.meta.namespace, pod.name, PROXY, argv, timeout=timeout)
    return read_connections(result, wanted)


def connection(
    kube: KubeClient, pod: Pod, address: str, port: int, *, seconds: float
) -> Connection:
    """Like `connections`, for one target."""
    (only,) = connections(kube, pod, [(address, port)], seconds=seconds)
    return only


def read_connections(
    result: ExecResult, targets: Iterable[tuple[str, int]]
) -> tuple[Connection, ...]:
    """Read what curl printed.

    Raises:
        ProbeError: a target is not accounted for.
    """
    reasons = {(each[1], int(each[2])): each[3] for each in _REFUSAL.finditer(result.stderr)}
    found: dict[tuple[str, int], Connection] = {}
    for line in result.stdout.splitlines():
        measured = _MEASURED.fullmatch(line)
        if measured is None:
            raise _inconclusive(result, f"a line that cannot be read: {line!r}")
        target = measured[4], int(measured[5])
        curl_exit, http_status = int(measured[1]), int(measured[2])
        connected = float(measured[3].replace(",", ".")) > 0
        reason = reasons.get(target, "")
        reach = Reach.OPEN if connected else _closed(result, target, curl_exit, reason)
        message = reason or measured[6]
        found[target] = Connection(
            result.source, *target, reach, curl_exit, http_status, message.strip()
        )
    wanted = list(targets)
    missing = [f"{address}:{port}" for address, port in wanted if (address, port) not in found]
    if missing:
        said = result.stderr.strip().splitlines()[-1:] or ["nothing on its error output"]
        raise _inconclusive(result, f"nothing about {', '.join(missing)}; {said[0]}")
    return tuple(found[target] for target in wanted)


def _closed(result: ExecResult, target: tuple[str, int], curl_exit: int, reason: str) -> Reach:
    if curl_exit == _TIMED_OUT or "timed out" in reason.lower():
        return Reach.TIMED_OUT
    if curl_exit != _COULD_NOT_CONNECT:
        raise _inconclusive(result, f"{target[0]}:{target[1]}: curl exit {curl_exit}")
    unreachable = "unreachable" in reason.lower() or "no route" in reason.lower()
    return Reach.UNREACHABLE if unreachable else Reach.REFUSED


def _inconclusive(result: ExecResult, seen: str) -> ProbeError:
    return ProbeError(
        wanted="what became of every attempt to connect",
        seen=f"exit status {result.exit_status}, {seen}",
        where=f"{result.source.cluster} {result.source.subject}",
        remedy=f"by hand: {result.source.asked}",
    )
