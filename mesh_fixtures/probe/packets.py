"""How large packets may be that a network carries.

A request grows until it fills a packet of the wanted size; whatever ends the attempt before its
time shows that the packet arrived, also a refusal by a port that does not speak HTTP. Each size has
a connection of its own. Where the network reports that a packet is too large, senders make smaller
ones, and nothing gets lost. Source: RFC 2923 (TCP problems with path MTU discovery); RFC 7323
(timestamps); curl's manual, `--write-out`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from mesh_fixtures.kube import ExecResult

SIZES: Final = (300, 576, 900, 1100, 1250, 1300, 1350, 1400, 1425, 1450, 1475, 1500, 4000, 8900)
"""IP packets, in bytes: below and around what tunnels leave of Ethernet's 1500, and jumbo frames.
Larger requests than the connection's segments are sent as several of the largest segment."""

OVERHEAD: Final = 52
"""Bytes of an IP packet besides its content: headers of IPv4 and TCP, and the latter's
timestamps."""

FEWEST_LOST: Final = 2
"""Sizes that must be lost, and none of them carried, for size to be the reason."""

_HEADER: Final = "X-Padding: "
_FORMAT: Final = r"%{exitcode} %{size_request} %{time_connect}\n"
_MEASURED: Final = re.compile(r"(\d+) (\d+) (\d+[.,]\d+)")
_TIMED_OUT: Final = 28

_SCRIPT: Final = """
seconds=$1 format=$2 url=$3 header=$4
shift 4
for size in "$@"; do
  curl -s -o /dev/null --noproxy "*" -m "$seconds" -w "$format" \\
    -H "User-Agent:" -H "Accept:" -H "$header$(printf "%${size}s" | tr " " x)" "$url" &
done
wait
"""


@dataclass(frozen=True)
class Sent:
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
    least = OVERHEAD + _request(url)
    padding = (str(max(1, size - least)) for size in sizes)
    return ("sh", "-c", _SCRIPT, "sizes", f"{seconds:g}", _FORMAT, url, _HEADER, *padding)


def _request(url: str) -> int:
    """Bytes of a request without padding, as curl sends it with no header of its own but one."""
    parts = urlsplit(url)
    lines = (f"GET {parts.path or '/'} HTTP/1.1", f"Host: {parts.netloc}", _HEADER, "")
    return sum(len(f"{line}\r\n") for line in lines)


def read_sent(result: ExecResult) -> tuple[Sent, ...]:
    """What became of each packet, by size; those whose connection was never open say nothing."""
    found: set[tuple[int, bool]] = set()
    for line in result.stdout.splitlines():
        measured = _MEASURED.fullmatch(line.strip())
        if measured is not None and float(measured[3].replace(",", ".")) > 0:
            found.add((int(measured[2]) + OVERHEAD, int(measured[1]) != _TIMED_OUT))
    return tuple(Sent(*each) for each in sorted(found))


def bounds(sent: Iterable[Sent]) -> tuple[int, int] | None:
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
