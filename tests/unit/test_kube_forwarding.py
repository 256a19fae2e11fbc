from __future__ import annotations

from pathlib import Path

import pytest
from fake_api_server import FakeApiServer
from kube_client import PODS_PATH, client_of

from mesh_fixtures.errors import NotPermitted, ProbeError
from mesh_fixtures.kube import HttpAnswer

DATA, ERROR = 0, 1
PORT = b"\xa6\x3a"
"""15014, the lower byte first."""

BEGUN = [(DATA, PORT), (ERROR, PORT)]


def asked(folder: Path, *frames: tuple[int, bytes], refused: int = 0) -> HttpAnswer:
    server = FakeApiServer(frames=[*BEGUN, *frames], refusals=[refused] if refused else [])
    with client_of(server, folder) as kube:
        answer = kube.ask("sample", "sleep-1", 15014, "/debug/syncz?a=b&c=d")
    assert server.asked == [(f"{PODS_PATH}/sleep-1/portforward", {"ports": ["15014"]})]
    assert server.sent == [
        b"\0GET /debug/syncz?a=b&c=d HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    ]
    return answer


def test_an_answer_with_its_length(tmp_path: Path) -> None:
    body = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello, and what is too much"
    seen = asked(tmp_path, (DATA, body))
    assert (seen.status, seen.text) == (200, "hello")
    assert str(seen.source) == (
        "kubectl --context=cluster1 -n sample port-forward sleep-1 15014 & "
        "curl 'localhost:15014/debug/syncz?a=b&c=d'"
    )


def test_a_request_that_changes_something(tmp_path: Path) -> None:
    server = FakeApiServer(
        frames=[*BEGUN, (DATA, b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")]
    )
    with client_of(server, tmp_path) as kube:
        seen = kube.ask("sample", "sleep-1", 15900, "/logging?level=debug", "POST")
    assert seen.text == "ok"
    ((_, request),) = [each.split(b"\0", 1) for each in server.sent]
    assert request.startswith(b"POST /logging?level=debug HTTP/1.1\r\n")
    assert b"\r\nContent-Length: 0\r\n" in request
    assert "curl -X POST 'localhost:15900/logging?level=debug'" in str(seen.source)


@pytest.mark.parametrize("size", [1, 7, 1000])
def test_an_answer_in_pieces(tmp_path: Path, size: int) -> None:
    whole = (
        b"HTTP/1.1 404 No\r\nTransfer-Encoding: chunked\r\n\r\n3\r\none\r\n3\r\ntwo\r\n0\r\n\r\n"
    )
    pieces = [(DATA, whole[at : at + size]) for at in range(0, len(whole), size)]
    seen = asked(tmp_path, *pieces)
    assert (seen.status, seen.text) == (404, "onetwo")


def test_an_answer_that_ends_with_the_connection(tmp_path: Path) -> None:
    seen = asked(tmp_path, (DATA, b"HTTP/1.1 200 OK\r\n\r\nall"), (DATA, b" of it \xff"))
    assert seen.text == "all of it \ufffd"


@pytest.mark.parametrize(
    ("frames", "seen"),
    [
        ([(ERROR, b"nobody listens at 15014")], "nobody listens at 15014"),
        ([(DATA, b"\x15\x03\x03\x00\x02\x02\x50")], "\x15"),
        ([], "Remote end closed connection"),
    ],
    ids=["refused", "no HTTP", "nothing"],
)
def test_no_answer(tmp_path: Path, frames: list[tuple[int, bytes]], seen: str) -> None:
    with pytest.raises(ProbeError, match="an answer to: kubectl") as error:
        asked(tmp_path, *frames)
    assert seen in str(error.value)


def test_not_permitted(tmp_path: Path) -> None:
    with pytest.raises(NotPermitted):
        asked(tmp_path, refused=403)
