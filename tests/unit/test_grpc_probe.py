from __future__ import annotations

import base64
import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest
from fake_kube import FakeKube, Said, pod, result

from mesh_fixtures.errors import ProbeError
from mesh_fixtures.probe.grpc import call, read_answer
from mesh_fixtures.probe.untrusted import UntrustedClient

UNAUTHENTICATED = (
    "HTTP/2 200 \r\ncontent-type: application/grpc\r\ngrpc-status: 16\r\n"
    "grpc-message: request authenticate failure\r\n\r\n"
)
TRAILERS = "HTTP/2 200 \r\ncontent-type: application/grpc\r\n\r\ngrpc-status: 0\r\n\r\n"


@pytest.mark.parametrize(
    ("headers", "refused", "shown"),
    [
        (UNAUTHENTICATED, True, "gRPC status 16 request authenticate failure"),
        (TRAILERS, False, "gRPC status 0"),
        ("HTTP/2 200\r\ngrpc-status: 7\r\n\r\n", True, "gRPC status 7"),
        ("HTTP/2 200\r\ngrpc-status: 3\r\n\r\n", False, "gRPC status 3"),
    ],
)
def test_answers(headers: str, refused: bool, shown: str) -> None:
    answer = read_answer(result(headers))
    assert (answer.is_refused, str(answer)) == (refused, shown)


@pytest.mark.parametrize(
    ("stdout", "stderr", "status"),
    [
        ("", "curl: (7) Failed to connect", 7),
        ("HTTP/1.1 503 Service Unavailable\r\n\r\n", "", 0),
        ("HTTP/2 200\r\ngrpc-status: 14\r\n\r\n", "", 0),
        ("HTTP/2 200\r\ngrpc-status: 8\r\ngrpc-message: request rate limit exceeded\r\n", "", 0),
    ],
)
def test_trouble_says_nothing_about_who_called(stdout: str, stderr: str, status: int) -> None:
    with pytest.raises(ProbeError, match="gRPC"):
        read_answer(result(stdout, stderr, status))


def asked(
    message: bytes | None, token: str = "", certificate: UntrustedClient | None = None
) -> tuple[str, ...]:
    def answer(argv: Sequence[str]) -> Said:
        return UNAUTHENTICATED

    kube = FakeKube(answer)
    client, target = pod("sleep-1"), "istiod.x.svc:15012"
    seen = call(kube.as_client(), client, target, "a.B/C", message, token, certificate)
    assert "curl" in seen.source.asked
    assert token not in seen.source.asked or not token
    ((container, *argv),) = kube.asked
    assert container == "plain-client"
    assert argv[-1] == "https://istiod.x.svc:15012/a.B/C"
    return tuple(argv)


def test_a_message_is_framed() -> None:
    framed = base64.b64decode(asked(b"hello")[4])
    assert framed == b"\x00\x00\x00\x00\x05hello"


def test_no_message_and_no_token_unless_there_is_one() -> None:
    argv = asked(None)
    assert argv[4] == ""
    assert not any("authorization" in each for each in argv)
    assert "authorization: Bearer abc" in asked(None, "abc")


def test_a_certificate_is_shown(tmp_path: Path) -> None:
    """By the script itself, with a curl that prints what it can read."""
    argv = asked(None, certificate=UntrustedClient(b"CHAIN\n", b"KEY\n"))
    curl = tmp_path / "curl"
    curl.write_text('#!/bin/sh\necho "$1 $2 $3 $4"\ncat "$2" "$4"\n')
    curl.chmod(0o755)
    path = f"{tmp_path}:{os.environ['PATH']}"
    ran = subprocess.run(argv, env={"PATH": path}, capture_output=True, text=True, check=True)
    shown = ["--cert /dev/fd/3 --key /dev/fd/4", "CHAIN", "KEY"]
    assert [each for each in ran.stdout.splitlines() if each] == shown
