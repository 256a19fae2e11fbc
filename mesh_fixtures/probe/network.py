"""What can be reached over the network itself, past the mesh.

Questions are asked from the plain client, which no proxy is injected into, so that what answers is
the network, whatever the image of proxies has.

To see how large packets may be, a request grows until it fills a packet of the wanted size;
whatever ends the attempt before its time shows that the packet arrived, also a refusal by a port
that does not speak HTTP. Each size has a connection of its own. Where the network reports that a
packet is too large, senders make smaller ones, and nothing gets lost. Source: RFC 2923 (TCP
problems with path MTU discovery); RFC 7323 (timestamps); curl's manual, `--write-out`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Final
from urllib.parse import urlsplit

from mesh_fixtures.addresses import with_port, without_brackets
from mesh_fixtures.errors import ProbeError
from mesh_fixtures.kube import ExecResult, KubeClient, Pod, Source
from mesh_fixtures.patience import patient
from mesh_fixtures.workloads import PLAIN_CLIENT

READY_PATH: Final = "/healthz/ready"
"""What every proxy answers at its status port."""

_MARGIN_SECONDS: Final = 10
_FORMAT: Final = r"%{exitcode} %{http_code} %{time_connect} %{time_appconnect} %{url} %{errormsg}\n"
_MEASURED: Final = re.compile(
    r"(\d+) (\d+) (\d+[.,]\d+) (\d+[.,]\d+) (https?)://([^/\s]+):(\d+)(?:/\S*)? ?(.*)"
)
_REFUSAL: Final = re.compile(r"connect to (\S+) port (\d+) .*failed: (.*)")

_COULD_NOT_RESOLVE: Final = 6
_COULD_NOT_CONNECT: Final = 7
_TIMED_OUT: Final = 28
_RESOLVING: Final = "Resolving timed out"

SIZES: Final = (300, 576, 900, 1100, 1250, 1300, 1350, 1400, 1425, 1450, 1475, 1500, 4000, 8900)
"""IP packets, in bytes: below and around what tunnels leave of Ethernet's 1500, and jumbo frames.
Larger requests than the connection's segments are sent as several of the largest segment."""

OVERHEAD: Final = 52
"""Bytes of a packet of IPv4 besides its content: headers of IP and TCP, and the latter's
timestamps."""

_MORE_OF_IPV6: Final = 20
"""Bytes by which the header of IPv6 is longer (RFC 8200)."""

FEWEST_LOST: Final = 2
"""Sizes that must be lost, and none of them carried, for size to be the reason."""

_PADDING: Final = "X-Padding: "
_SIZES_FORMAT: Final = r"%{exitcode} %{size_request} %{time_connect}\n"
_SIZES_MEASURED: Final = re.compile(r"(\d+) (\d+) (\d+[.,]\d+)")

_SIZES_SCRIPT: Final = """
seconds=$1 format=$2 url=$3 header=$4
shift 4
for size in "$@"; do
  curl -s -o /dev/null --noproxy "*" -m "$seconds" -w "$format" \\
    -H "User-Agent:" -H "Accept:" -H "$header$(printf "%${size}s" | tr " " x)" "$url" &
done
wait
"""


class Reach(Enum):
    """What became of an attempt to connect, and to agree on TLS where that was asked for."""

    OPEN = "open"
    REFUSED = "refused"
    TIMED_OUT = "timed out"
    UNREACHABLE = "unreachable"
    UNRESOLVED = "name not resolved"


@dataclass(frozen=True)
class Attempt:
    """An attempt to connect, as curl printed it.

    Attributes:
        curl_exit: curl's exit code; an open port that does not speak HTTP has one too.
        http_status: 0 without an HTTP answer.
        seconds: until the connection was open; 0 when it never was.
        reason: why it was not, of the kernel; empty when unknown.
        message: curl's words; empty when all went well.
        tls_seconds: until TLS was agreed on, 0 when it never was; None where it was not asked for.
    """

    address: str
    port: int
    curl_exit: int
    http_status: int
    seconds: float
    reason: str
    message: str
    tls_seconds: float | None = None

    @property
    def target(self) -> tuple[str, int]:
        return self.address, self.port

    @property
    def reach(self) -> Reach:
        reason = self.reason.lower()
        if self.seconds > 0:
            return self._after_connecting
        if self.curl_exit == _COULD_NOT_RESOLVE or self.message.startswith(_RESOLVING):
            return Reach.UNRESOLVED
        if self.curl_exit == _TIMED_OUT or "timed out" in reason:
            return Reach.TIMED_OUT
        unreachable = "unreachable" in reason or "no route" in reason
        return Reach.UNREACHABLE if unreachable else Reach.REFUSED

    @property
    def _after_connecting(self) -> Reach:
        """Whether the other side agreed on TLS, where it was to."""
        if self.tls_seconds != 0:
            return Reach.OPEN
        return Reach.TIMED_OUT if self.curl_exit == _TIMED_OUT else Reach.REFUSED

    @property
    def is_conclusive(self) -> bool:
        """Whether it says something about the port, and not only about curl or the address."""
        answered = self.reach in (Reach.OPEN, Reach.TIMED_OUT)
        return answered or self.curl_exit == _COULD_NOT_CONNECT


@dataclass(frozen=True)
class Connection:
    """What became of an attempt to connect to a port.

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
        return f"{with_port(self.address, self.port)} {self.reach.value}{answer}"


def connections(
    kube: KubeClient,
    pod: Pod,
    targets: Iterable[tuple[str, int]],
    *,
    seconds: float,
) -> tuple[Connection, ...]:
    """Try to connect from a plain client to addresses and ports, all at the same time.

    Each is asked for `READY_PATH` by HTTP; whatever it answers, a port that accepts is open.

    Args:
        targets: addresses or host names, with ports.
        seconds: after which an attempt counts as timed out.

    Returns:
        One for each target, in their order.

    Raises:
        ProbeError: the container cannot ask, or not every target is accounted for.
    """
    wanted = list(dict.fromkeys(targets))
    if not wanted:
        return ()
    urls = [f"http://{with_port(address, port)}{READY_PATH}" for address, port in wanted]
    argv = curl(urls, seconds=seconds)
    timeout = seconds + patient(_MARGIN_SECONDS)
    result = kube.exec(pod.meta.namespace, pod.name, PLAIN_CLIENT, argv, timeout=timeout)
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
    found: dict[tuple[str, int], Connection] = {}
    for line, attempt in read_attempts(result):
        if attempt is None:
            raise _inconclusive(result, f"a line that cannot be read: {line!r}")
        if not attempt.is_conclusive:
            where = with_port(*attempt.target)
            raise _inconclusive(result, f"{where}: curl exit {attempt.curl_exit}")
        found[attempt.target] = Connection(
            result.source,
            attempt.address,
            attempt.port,
            attempt.reach,
            attempt.curl_exit,
            attempt.http_status,
            attempt.message,
        )
    wanted = list(targets)
    missing = [with_port(*each) for each in wanted if each not in found]
    if missing:
        last = result.stderr.strip().splitlines()[-1:] or ["nothing on its error output"]
        raise _inconclusive(result, f"nothing about {', '.join(missing)}; {last[0]}")
    return tuple(found[target] for target in wanted)


def curl(urls: Iterable[str], *, seconds: float, options: Iterable[str] = ()) -> tuple[str, ...]:
    """The call that tries all URLs at the same time, and prints what `read_attempts` reads."""
    return (
        # --verbose tells refused from unreachable, which the exit code does not.
        *("curl", "--silent", "--verbose", "--noproxy", "*", "--parallel", "--parallel-immediate"),
        *("--max-time", f"{seconds:g}", *options, "--write-out", _FORMAT),
        *(part for url in urls for part in ("--output", "/dev/null", url)),
    )


def read_attempts(result: ExecResult) -> Iterator[tuple[str, Attempt | None]]:
    """Every line that was printed, with the attempt that it tells of, if it does."""
    reasons = {(each[1], int(each[2])): each[3] for each in _REFUSAL.finditer(result.stderr)}
    for line in result.stdout.splitlines():
        measured = _MEASURED.fullmatch(line)
        if measured is None:
            yield line, None
            continue
        connected, agreed = (float(measured[at].replace(",", ".")) for at in (3, 4))
        target = without_brackets(measured[6]), int(measured[7])
        reason = reasons.get(target, "")
        yield (
            line,
            Attempt(
                *target,
                curl_exit=int(measured[1]),
                http_status=int(measured[2]),
                seconds=connected,
                reason=reason,
                message=(reason or measured[8]).strip(),
                tls_seconds=agreed if measured[5] == "https" else None,
            ),
        )


def _inconclusive(result: ExecResult, seen: str) -> ProbeError:
    return ProbeError(
        wanted="what became of every attempt to connect",
        seen=f"exit status {result.exit_status}, {seen}",
        where=f"{result.source.cluster} {result.source.subject}",
        remedy=f"by hand: {result.source.asked}",
    )


@dataclass(frozen=True)
class SentPacket:
    """A packet that was sent, as part of a request.

    Attributes:
        size: of the IP packet, in bytes; of the whole request where that needs several.
        arrived: whether anything came back.
    """

    size: int
    arrived: bool


def sizes_argv(url: str, sizes: Iterable[int], *, seconds: float) -> tuple[str, ...]:
    """The command that sends a packet of each size to a URL, all at the same time, and prints what
    `read_sent` reads.

    Args:
        seconds: without an answer, after which a packet counts as lost.
    """
    least = overhead(url) + _request(url)
    padding = (str(max(1, size - least)) for size in sizes)
    return (
        "sh",
        "-c",
        _SIZES_SCRIPT,
        "sizes",
        f"{seconds:g}",
        _SIZES_FORMAT,
        url,
        _PADDING,
        *padding,
    )


def overhead(url: str) -> int:
    """Bytes of a packet to a URL besides its content; that of a host name counts as one of IPv4."""
    return OVERHEAD + (_MORE_OF_IPV6 if ":" in (urlsplit(url).hostname or "") else 0)


def _request(url: str) -> int:
    """Bytes of a request without padding, as curl sends it with no header of its own but one."""
    parts = urlsplit(url)
    lines = (f"GET {parts.path or '/'} HTTP/1.1", f"Host: {parts.netloc}", _PADDING, "")
    return sum(len(f"{line}\r\n") for line in lines)


def read_sent(result: ExecResult, url: str) -> tuple[SentPacket, ...]:
    """What became of each packet to a URL, by size; those whose connection was never open say
    nothing.
    """
    found: set[tuple[int, bool]] = set()
    for line in result.stdout.splitlines():
        measured = _SIZES_MEASURED.fullmatch(line.strip())
        if measured is not None and float(measured[3].replace(",", ".")) > 0:
            found.add((int(measured[2]) + overhead(url), int(measured[1]) != _TIMED_OUT))
    return tuple(SentPacket(*each) for each in sorted(found))


def bounds(sent: Iterable[SentPacket]) -> tuple[int, int] | None:
    """The largest size that arrived and the smallest that did not, where size is what decides.

    Returns:
        None where all arrived or none, where a larger one arrived than one that was lost, or where
        too few were lost to tell.
    """
    known: Mapping[bool, list[int]] = {True: [], False: []}
    for each in sent:
        known[each.arrived].append(each.size)
    if not known[True] or len(known[False]) < FEWEST_LOST:
        return None
    carried, lost = max(known[True]), min(known[False])
    return (carried, lost) if carried < lost else None


def between(carried: int, lost: int, count: int) -> tuple[int, ...]:
    """Sizes that narrow the bounds, at most `count`, with two from beyond them."""
    step = max(1, (lost - carried) // (count + 1))
    return (carried, *range(carried + step, lost, step), lost, lost + step)
