"""Which sizes of packets a network carries, of what curl printed."""

from __future__ import annotations

import shutil
import socket
import subprocess
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from fake_kube import result
from hypothesis import given
from hypothesis import strategies as st

from mesh_fixtures.addresses import with_port
from mesh_fixtures.probe.network import (
    OVERHEAD,
    SIZES,
    SentPacket,
    between,
    bounds,
    read_sent,
    sizes_argv,
)


def of_mtu(mtu: int, sizes: tuple[int, ...] = SIZES) -> list[SentPacket]:
    return [SentPacket(size, arrived=size <= mtu) for size in sizes]


def test_what_ends_before_its_time_has_arrived() -> None:
    printed = "0 248 0.001\n28 1148 0.001000\n52 548 0,001\n28 900 0.000000\ncurl: error\n"
    assert read_sent(result(printed), "http://10.0.0.1/") == (
        SentPacket(248 + OVERHEAD, True),
        SentPacket(548 + OVERHEAD, True),
        SentPacket(1148 + OVERHEAD, False),
    )


@pytest.mark.parametrize(
    "sent",
    [
        of_mtu(10_000),
        of_mtu(0),
        of_mtu(4000),  # a single one that is lost may be chance
        [
            SentPacket(300, True),
            SentPacket(500, False),
            SentPacket(900, True),
            SentPacket(1400, False),
        ],
        [],
    ],
)
def test_size_is_not_what_decides(sent: list[SentPacket]) -> None:
    assert bounds(sent) is None


@given(st.integers(min_value=300, max_value=3999))
def test_bounds_are_narrowed_around_the_largest_that_is_carried(mtu: int) -> None:
    first = bounds(of_mtu(mtu))
    assert first is not None
    assert first[0] <= mtu < first[1]
    second = bounds(of_mtu(mtu, between(*first, 12)))
    assert second is not None
    assert first[0] <= second[0] <= mtu < second[1] <= first[1]
    assert second[1] - second[0] <= max(1, (first[1] - first[0]) // 13)


class _Answering(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()

    def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002
        pass


def test_packets_of_ipv6_have_longer_headers() -> None:
    (sent,) = read_sent(result("0 248 0.001\n"), "http://[fd00::1]:15021/")
    assert sent == SentPacket(248 + OVERHEAD + 20, True)


class _OfIpv6(ThreadingHTTPServer):
    address_family = socket.AF_INET6


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_packets_are_of_the_size_that_is_wanted(host: str) -> None:
    wanted = (*SIZES, *between(1180, 1230, 12))
    made = _OfIpv6 if ":" in host else ThreadingHTTPServer
    with made((host, 0), _Answering) as server:
        threading.Thread(target=server.serve_forever, args=(0.02,)).start()
        url = f"http://{with_port(host, server.server_port)}/healthz/ready"
        argv = sizes_argv(url, wanted, seconds=5)
        done = subprocess.run(argv, capture_output=True, text=True, timeout=30, check=True)
        server.shutdown()
    assert read_sent(result(done.stdout), url) == tuple(
        SentPacket(size, True) for size in sorted({*wanted})
    )
