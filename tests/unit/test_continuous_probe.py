"""Requests that go on until they are stopped, and when each of them was."""

from __future__ import annotations

import io
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace
from typing import Any, cast

import pytest
from fake_kube import pod, result

from mesh_fixtures.errors import ProbeError
from mesh_fixtures.kube import ExecResult, Pod, exec_source
from mesh_fixtures.probe import continuous
from mesh_fixtures.probe.continuous import ContinuousTraffic, TimedRequest, read_parts, uptime
from mesh_fixtures.probe.view import MeshView

SOURCE = result().source
needs_curl = pytest.mark.skipif(not shutil.which("curl"), reason="curl is not installed")


def record(index: int, seconds: float, http: int = 200) -> str:
    body = "Hello version: v1, instance: pod-1\n"
    url = f"http://helloworld.sample:5000/hello#{index}"
    return f"{body}\x1e0 {http} 1 {seconds:.6f} {url} \n"


def test_requests_of_a_part_follow_each_other() -> None:
    printed = f"\x1c100.25\n{record(1, 0.5)}{record(2, 0.25)}\x1c102.00\n{record(3, 0.1, 503)}"
    seen = read_parts(printed, SOURCE, ahead=90.0)
    assert [(each.begun, each.ended) for each in seen] == [
        (10.25, 10.75),
        (10.75, 11.0),
        (12.0, pytest.approx(12.1)),
    ]
    assert [each.failed for each in seen] == [False, False, True]
    assert [each.instance for each in seen] == ["pod-1", "pod-1", ""]


@pytest.mark.parametrize(
    ("printed", "seen"),
    [
        (f"\x1csoon\n{record(1, 0.1)}", "'soon' is no time"),
        (f"\x1c1.0\n{record(2, 0.1)}", "missing or out of order"),
        (f"\x1c1.0\n{record(1, 0.1)}\x1c2.0\n{record(3, 0.1)}", "missing or out of order"),
        ("\x1c1.0\ntext\x1e0 200\n", "cannot be read"),
    ],
)
def test_what_does_not_account_for_every_request(printed: str, seen: str) -> None:
    with pytest.raises(ProbeError, match=seen):
        read_parts(printed, SOURCE, ahead=0.0)


def test_uptime() -> None:
    assert uptime(result("3918.72 4370.15\n")) == 3918.72
    with pytest.raises(ProbeError, match="uptime"):
        uptime(result("up since long\n"))


class _Hello(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    ports: set[int]

    def do_GET(self) -> None:
        self.ports.add(self.client_address[1])
        body = b"Hello version: v1, instance: pod-1\n"
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002
        pass


class LocalKube:
    """Runs what is for Sleep on this machine."""

    name = "cluster1"
    sample_namespace = "sample"

    def __init__(self) -> None:
        self.running: list[subprocess.Popen[bytes]] = []

    def pod_of(self, namespace: str, selector: str) -> Pod:
        return pod("sleep-1")

    def exec(
        self,
        namespace: str,
        name: str,
        container: str,
        argv: Sequence[str],
        timeout: float = 30,
        follow: Callable[[bytes], None] | None = None,
    ) -> ExecResult:
        output = b""
        with subprocess.Popen(argv, stdout=subprocess.PIPE) as process:
            self.running.append(process)
            read = cast("io.BufferedReader", process.stdout).read1
            for chunk in iter(read, b""):
                output += chunk
                if follow is not None:
                    follow(output)
        source = exec_source(self.name, namespace, name, container, argv)
        return ExecResult(source, process.returncode, output.decode(), "", 0.1)


@pytest.fixture
def kube() -> LocalKube:
    return LocalKube()


@pytest.fixture
def view(kube: LocalKube) -> MeshView:
    return cast("MeshView", SimpleNamespace(kube={"cluster1": kube}, data_planes=("cluster1",)))


@pytest.fixture
def ports(monkeypatch: pytest.MonkeyPatch) -> Iterator[set[int]]:
    """Ports of the connections to a HelloWorld on this machine."""
    seen: set[int] = set()
    handler = type("Handler", (_Hello,), {"ports": seen})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as serving:
        url = f"http://127.0.0.1:{serving.server_port}/hello"
        monkeypatch.setattr(continuous, "helloworld_url", lambda *_: url)
        thread = threading.Thread(target=serving.serve_forever, args=(0.02,))
        thread.start()
        yield seen
        serving.shutdown()
        thread.join()


def enough(traffic: ContinuousTraffic, count: int) -> Sequence[TimedRequest]:
    deadline = time.monotonic() + 60
    while len(traffic.so_far()["cluster1"]) < count:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return traffic.so_far()["cluster1"]


@needs_curl
def test_requests_go_on_until_they_are_stopped(view: MeshView, ports: set[int]) -> None:
    begun = time.monotonic()
    with ContinuousTraffic(view, seconds=60) as traffic:
        early = enough(traffic, 10)
        stream = traffic.stop()["cluster1"]
    ended = time.monotonic()
    assert stream.requests[: len(early)] == early
    # one connection more: by it, HelloWorld's address was found
    assert len(ports) == len(stream.requests) + 1
    assert not any(each.failed for each in stream.requests)
    times = [at for each in stream.requests for at in (each.begun, each.ended)]
    assert times == sorted(times)
    slack = 0.5  # clocks are compared by a process of its own
    assert begun - slack <= times[0]
    assert times[-1] <= ended + slack


@needs_curl
def test_clients_that_ended_by_themselves_tell_nothing(view: MeshView, ports: set[int]) -> None:
    with ContinuousTraffic(view, seconds=1) as traffic:
        with pytest.raises(ProbeError, match="came to an end"):
            enough(traffic, 1_000_000)
        with pytest.raises(ProbeError, match="came to an end"):
            traffic.stop()


@needs_curl
def test_clients_that_ended_before_they_were_looked_at(
    view: MeshView, ports: set[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    waiting = ContinuousTraffic._wait_for_first

    def late(traffic: ContinuousTraffic) -> None:
        while not traffic._clients[0]._result.done():
            time.sleep(0.02)
        waiting(traffic)

    monkeypatch.setattr(ContinuousTraffic, "_wait_for_first", late)
    with (
        ContinuousTraffic(view, seconds=1) as traffic,
        pytest.raises(ProbeError, match="came to an end"),
    ):
        traffic.so_far()


@needs_curl
def test_an_interrupt_stops_the_clients(view: MeshView, kube: LocalKube, ports: set[int]) -> None:
    def interrupted() -> None:
        with ContinuousTraffic(view, seconds=60) as traffic:
            enough(traffic, 1)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    for process in kube.running:
        assert process.wait(timeout=30) == 0


def test_a_sleep_that_cannot_send(
    view: MeshView, kube: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kube, "exec", lambda *_, **__: result("", "sh: curl: not found", 127))
    with (
        pytest.raises(ProbeError, match="curl: not found"),
        ContinuousTraffic(view, seconds=60),
    ):
        pass
