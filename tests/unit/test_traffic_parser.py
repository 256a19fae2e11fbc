from __future__ import annotations

import json
import shutil
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from fake_kube import FakeKube, pod, result

from mesh_fixtures.errors import ProbeError
from mesh_fixtures.probe.traffic import HANGING, TrafficSample, read_sample, requests

HELLO = "Hello version: {version}, instance: helloworld-{version}-abc\n"


def record(
    index: int,
    body: str = "",
    curl: int = 0,
    http: int = 200,
    connections: int = 1,
    message: str = "",
) -> str:
    url = f"http://helloworld.sample:5000/hello#{index}"
    return f"{body}\x1e{curl} {http:03} {connections} 0.012500 {url} {message}\n"


def hello(index: int, version: str = "v1") -> str:
    return record(index, HELLO.format(version=version))


def sample(*records: str, requested: int = 3, following: int | None = None) -> TrafficSample:
    next_index = requested + 1 if following is None else following
    return read_sample(result("".join(records) + f"\x1d{next_index}\n"), requested)


def test_answers_are_counted_by_version_and_pod() -> None:
    seen = sample(hello(1), hello(2, "v2"), hello(3))
    assert seen.versions == {"v1": 2, "v2": 1}
    assert seen.instances == {"helloworld-v1-abc": 2, "helloworld-v2-abc": 1}
    assert [answer.index for answer in seen.answers] == [1, 2, 3]
    assert seen.cluster == "cluster1"
    assert seen.seconds == pytest.approx(0.0375)
    assert seen.per_second == pytest.approx(80)
    assert not seen.failures
    assert not seen.cut_short


def test_requests_that_are_limited_tell_nothing_of_the_mesh() -> None:
    limited = record(2, "local_rate_limited", http=429)
    with pytest.raises(ProbeError, match="request 2: HTTP 429 local_rate_limited"):
        sample(hello(1), limited, hello(3))


def test_an_http_error_is_a_failure_with_its_body() -> None:
    body = "upstream connect error or disconnect/reset\nbefore headers. reset reason: overflow"
    seen = sample(hello(1), record(2, body, http=503), hello(3))
    (failure,) = seen.failures
    assert (failure.index, failure.curl_exit, failure.http_status) == (2, 0, 503)
    assert str(failure) == (
        "request 2: HTTP 503 upstream connect error or disconnect/reset before headers. "
        "reset reason: overflow"
    )
    assert seen.sent == 3


def test_a_timeout_is_a_failure_with_curls_words() -> None:
    message = "Operation timed out after 5000 milliseconds with 0 bytes received"
    seen = sample(hello(1), record(2, curl=28, http=0, message=message), hello(3))
    assert str(seen.failures[0]) == f"request 2: curl exit 28 {message}"


def test_an_answer_that_was_cut_off_is_a_failure() -> None:
    message = "transfer closed with 91 bytes remaining to read"
    seen = sample(record(1, "Hello ver", curl=18, message=message), hello(2), hello(3))
    assert seen.failures[0].curl_exit == 18
    assert seen.versions == {"v1": 2}


def test_another_body_is_a_failure() -> None:
    seen = sample(hello(1), record(2, "It works!"), hello(3))
    assert str(seen.failures[0]) == "request 2: HTTP 200 It works!"


def test_without_the_service_every_request_fails() -> None:
    message = "Could not resolve host: helloworld.sample"
    failed = [record(n, curl=6, http=0, connections=0, message=message) for n in (1, 2, 3)]
    seen = sample(*failed)
    assert len(seen.failures) == 3
    assert seen.versions == {}


def test_a_hanging_mesh_is_cut_short_and_has_failed() -> None:
    seen = sample(hello(1), record(2, curl=28, http=0), requested=200, following=3)
    assert seen.cut_short
    assert (seen.sent, seen.requested) == (2, 200)


def test_late_answers_are_cut_short_without_a_failure() -> None:
    seen = sample(hello(1), hello(2), requested=200, following=3)
    assert seen.cut_short
    assert (seen.sent, seen.failures) == (2, ())


@pytest.mark.parametrize(
    ("printed", "message"),
    [
        ("", "exit status 0, no output"),
        (hello(1) + hello(2) + hello(3), "exit status 0"),
        (hello(1) + hello(2) + "\x1d4\n", "2 of 3 requests"),
        (hello(1) + hello(2) + "\x1d2\n", "2 of 3 requests, the next one being 2"),
        (hello(1) + hello(3) + hello(2) + "\x1d4\n", "missing or out of order"),
        (hello(1) + hello(2) + hello(3) + hello(4) + "\x1d4\n", "missing or out of order"),
        (hello(1) + "text\x1e0 200\n\x1d4\n", "cannot be read"),
        (hello(1) + record(2, HELLO, connections=0) + hello(3) + "\x1d4\n", "request 2 opened 0"),
        (record(1, curl=28, http=0) + "\x1d4\n", "1 of 3 requests"),
    ],
)
def test_what_does_not_account_for_every_request_is_no_sample(printed: str, message: str) -> None:
    with pytest.raises(ProbeError, match=message):
        read_sample(result(printed), 3)


def test_without_curl_there_is_no_sample() -> None:
    with pytest.raises(ProbeError, match="curl: not found"):
        read_sample(result("\x1d4\n", "sh: curl: not found", 0), 3)


def test_asks_in_sleeps_own_container() -> None:
    kube = FakeKube(lambda argv: hello(1) + hello(2) + "\x1d3\n", [pod("sleep-1")])
    seen = requests(kube.as_client(), 2, request_seconds=2.5, budget_seconds=7)
    ((container, *argv),) = kube.asked
    assert container == "sleep"
    assert argv[:2] == ["sh", "-c"]
    assert argv[4:6] == ["7", "2.5"]
    assert argv[7:9] == ["http://helloworld.sample:5000/hello", "2"]
    assert argv[9].startswith("http://localhost:15000/clusters?format=json&filter=")
    assert seen.by_proxy is None
    assert str(seen.source) == (
        "kubectl --context=cluster1 -n sample exec sleep-1 -c sleep -- "
        "curl -s http://helloworld.sample:5000/hello"
    )


def clusters(**requests: int) -> str:
    """What a proxy says of its endpoints, each by the number of requests that it got."""
    hosts = [
        {
            "address": {"socket_address": {"address": address, "port_value": 5000}},
            "stats": [{"name": "rq_total", "value": str(count)}, {"name": "rq_error"}],
        }
        for address, count in requests.items()
    ]
    return json.dumps({"cluster_statuses": [{"name": "outbound", "host_statuses": hosts}]})


def counted(before: str, after: str) -> Mapping[str, int] | None:
    """Requests by endpoint in a sample between two answers of the proxy."""
    printed = f"\x1c{before}\x1c{hello(1)}\x1d2\n\x1c{after}\x1c"
    seen = read_sample(result(printed), 1)
    assert seen.sent == 1
    if seen.by_proxy is None:
        return None
    return {target: each.requests for target, each in seen.by_proxy.items()}


def test_a_proxys_counters_are_those_of_the_requests_alone() -> None:
    seen = counted(clusters(a=100), clusters(a=103, b=1))
    assert seen == {"a:5000": 3, "b:5000": 1}
    assert counted("{}", "{}") == {}


@pytest.mark.parametrize("broken", ["", "connection refused", '{"cluster_statuses": 1}'])
def test_a_proxy_that_does_not_answer_has_counted_nothing_that_is_known(broken: str) -> None:
    assert counted(broken, clusters(a=1)) is None
    assert counted(clusters(a=1), broken) is None


class _Hello(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    ports: set[int]

    def do_GET(self) -> None:
        self.ports.add(self.client_address[1])
        version = f"v{1 + len(self.ports) % 2}"
        body = HELLO.format(version=version).encode()
        self.send_response(200 if len(self.ports) > 1 else 503)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002
        pass


@pytest.fixture
def server() -> Iterator[tuple[str, set[int]]]:
    ports: set[int] = set()
    handler = type("Handler", (_Hello,), {"ports": ports})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as serving:
        thread = threading.Thread(target=serving.serve_forever, args=(0.05,))
        thread.start()
        yield f"http://127.0.0.1:{serving.server_port}/hello", ports
        serving.shutdown()
        thread.join()


def run_here(argv: Sequence[str]) -> tuple[int, str, str]:
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)
    return done.returncode, done.stdout, done.stderr


needs_curl = pytest.mark.skipif(not shutil.which("curl"), reason="curl is not installed")


@needs_curl
def test_the_script_sends_each_request_over_a_connection_of_its_own(
    server: tuple[str, set[int]],
) -> None:
    target, ports = server
    kube = FakeKube(run_here, [pod("sleep-1")])
    seen = requests(kube.as_client(), 50, target=target)
    assert len(ports) == 50
    assert sum(seen.versions.values()) == 49
    assert [failure.http_status for failure in seen.failures] == [503]
    assert [answer.index for answer in seen.answers] == list(range(2, 51))


@needs_curl
def test_the_script_stops_sending_when_its_time_is_over() -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), _Hello) as deaf:  # accepts, and never answers
        kube = FakeKube(run_here, [pod("sleep-1")])
        target = f"http://127.0.0.1:{deaf.server_port}/hello"
        seen = requests(kube.as_client(), 50, target=target, request_seconds=0.3, budget_seconds=1)
    assert seen.cut_short
    assert 1 <= len(seen.failures) < 10
    assert {failure.curl_exit for failure in seen.failures} == {28}


@needs_curl
def test_the_script_stops_sending_when_enough_of_them_hang(
    server: tuple[str, set[int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    target, ports = server
    real = _Hello.do_GET

    def hang_sometimes(handler: _Hello) -> None:
        if len(ports) > 20 and len(ports) % 2:
            ports.add(handler.client_address[1])
            time.sleep(0.6)
        else:
            real(handler)

    monkeypatch.setattr(_Hello, "do_GET", hang_sometimes)
    kube = FakeKube(run_here, [pod("sleep-1")])
    begun = time.monotonic()
    seen = requests(kube.as_client(), 200, target=target, request_seconds=0.3)
    assert seen.cut_short
    assert [each.curl_exit for each in seen.failures if each.timed_out] == [28] * HANGING
    assert len(seen.answers) >= 19
    assert seen.sent < 60
    assert time.monotonic() - begun < 0.3 * HANGING + 5


def test_a_client_without_curl_tells_nothing(tmp_path: Path) -> None:
    def without_curl(argv: Sequence[str]) -> tuple[int, str, str]:
        for each in ("sh", "date"):
            if not (tmp_path / each).exists():
                (tmp_path / each).symlink_to(str(shutil.which(each)))
        done = subprocess.run(
            argv,
            capture_output=True,
            text=True,
            timeout=20,
            check=False,
            env={"PATH": str(tmp_path)},
        )
        return done.returncode, done.stdout, done.stderr

    kube = FakeKube(without_curl, [pod("sleep-1")])
    with pytest.raises(ProbeError, match="curl"):
        requests(kube.as_client(), 50, target="http://127.0.0.1:1/hello")
