from __future__ import annotations

import shutil
import socket
import subprocess
from collections.abc import Sequence

import pytest
from fake_kube import FakeKube, pod, result

from mesh_fixtures.errors import ProbeError
from mesh_fixtures.probe.network import Connection, Reach, connections, read_connections

TARGET = ("10.2.0.5", 15021)
URL = "http://10.2.0.5:15021/healthz/ready"


def read(line: str, stderr: str = "") -> Connection:
    (seen,) = read_connections(result(line + "\n", stderr), [TARGET])
    return seen


def test_an_answer_means_open() -> None:
    seen = read(f"0 200 0.000812 0.000000 {URL} ")
    assert (seen.reach, seen.http_status, seen.is_open) == (Reach.OPEN, 200, True)
    assert str(seen) == "10.2.0.5:15021 open, HTTP 200"


@pytest.mark.parametrize(
    "line",
    [
        f"56 000 0.001008 0.000000 {URL} Recv failure: Connection reset by peer",
        f"52 000 0.001008 0.000000 {URL} Empty reply from server",
        f"28 000 0.001218 0.000000 {URL} Operation timed out after 2001 milliseconds",
        f"1 000 0,001218 0.000000 {URL} Received HTTP/0.9 when not allowed",
    ],
)
def test_a_port_that_accepts_is_open_whatever_it_speaks(line: str) -> None:
    assert read(line).reach is Reach.OPEN


@pytest.mark.parametrize(
    ("reason", "reach"),
    [
        ("Connection refused", Reach.REFUSED),
        ("No route to host", Reach.UNREACHABLE),
        ("Network is unreachable", Reach.UNREACHABLE),
        ("Connection timed out", Reach.TIMED_OUT),
        ("", Reach.REFUSED),
    ],
)
@pytest.mark.parametrize("origin", ["", "from 10.1.0.7 port 40122 "])
def test_why_a_port_is_not_open(reason: str, reach: Reach, origin: str) -> None:
    verbose = f"* connect to 10.2.0.5 port 15021 {origin}failed: {reason}\n" if reason else ""
    seen = read(f"7 000 0.000000 0.000000 {URL} Failed to connect", verbose)
    assert (seen.reach, seen.curl_exit, seen.is_open) == (reach, 7, False)
    assert seen.message == (reason or "Failed to connect")


def test_silence_is_a_timeout() -> None:
    message = "Connection timed out after 2500 milliseconds"
    seen = read(f"28 000 0.000000 0.000000 {URL} {message}")
    assert (seen.reach, seen.message) == (Reach.TIMED_OUT, message)
    assert str(seen) == "10.2.0.5:15021 timed out"


def test_answers_come_in_the_targets_order() -> None:
    lines = "\n".join(f"0 200 0.1 0.0 http://10.2.0.{n}:80/healthz/ready " for n in (2, 1, 3))
    targets = [(f"10.2.0.{n}", 80) for n in (1, 2, 3)]
    seen = read_connections(result(lines), targets)
    assert [(each.address, each.port) for each in seen] == targets


@pytest.mark.parametrize(
    ("printed", "stderr", "seen"),
    [
        ("", "sh: curl: not found", "not found"),
        ("curl: try 'curl --help'\n", "", "cannot be read"),
        ("0 200 0.1 0.0 http://10.9.9.9:80/ \n", "", "nothing about 10.2.0.5:15021"),
        (f"6 000 0.000000 0.000000 {URL} Could not resolve host\n", "", "curl exit 6"),
    ],
)
def test_what_does_not_account_for_every_target_is_a_probe_error(
    printed: str, stderr: str, seen: str
) -> None:
    with pytest.raises(ProbeError, match=seen):
        read_connections(result(printed, stderr), [TARGET])


def run_here(argv: Sequence[str]) -> tuple[int, str, str]:
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)
    return done.returncode, done.stdout, done.stderr


@pytest.mark.skipif(not shutil.which("curl"), reason="curl is not installed")
def test_asks_all_targets_at_once_from_the_plain_client() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent, socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        accepting, refusing = silent.getsockname()[1], closed.getsockname()[1]
        kube = FakeKube(run_here)
        targets = [("127.0.0.1", accepting), ("127.0.0.1", refusing)]
        seen = connections(kube.as_client(), pod("sleep-1"), targets, seconds=0.5)
    assert [each.reach for each in seen] == [Reach.OPEN, Reach.REFUSED]
    assert seen[1].message == "Connection refused"
    assert [asked[0] for asked in kube.asked] == ["plain-client"]


def test_asks_nothing_without_targets() -> None:
    kube = FakeKube(run_here)
    assert connections(kube.as_client(), pod("sleep-1"), [], seconds=1) == ()
    assert not kube.asked
