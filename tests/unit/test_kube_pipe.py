from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from fake_api_server import ERROR, STDERR, STDOUT, FakeApiServer, failed
from kube_client import PODS_PATH, client_of

from mesh_fixtures.errors import ProbeError
from mesh_fixtures.kube import Pipe, transport

FAILED = (ERROR, json.dumps(failed(1)).encode())
WAIT = 10.0


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transport, "PAUSE_SECONDS", 0.01)


@contextmanager
def opened(server: FakeApiServer, folder: Path) -> Iterator[Pipe]:
    with client_of(server, folder) as kube:
        pipe = kube.pipe("sample", "sleep-1", "istio-proxy", ["cat"])
        try:
            yield pipe
        finally:
            pipe.close()


def received(pipe: Pipe) -> bytes:
    """Everything until the end."""
    found = b""
    while data := pipe.receive(WAIT):
        found += data
    return found


def test_bytes_come_as_they_are_until_the_command_ends(tmp_path: Path) -> None:
    frames = [(STDERR, b"conn"), (STDOUT, b"\x16\x03\xff"), (STDERR, b"ected"), (STDOUT, b"\x00")]
    server = FakeApiServer(frames=[*frames, FAILED])
    with opened(server, tmp_path) as pipe:
        assert received(pipe) == b"\x16\x03\xff\x00"
        assert pipe.ended
        assert pipe.errors == "connected"
        assert pipe.errors == "connected"
    ((path, query),) = server.asked
    assert path == f"{PODS_PATH}/sleep-1/exec"
    assert query["stdin"] == ["true"]


def test_waiting_has_an_end(tmp_path: Path) -> None:
    hangs = threading.Event()
    with opened(FakeApiServer(frames=[(STDOUT, b"a")], hangs=hangs), tmp_path) as pipe:
        assert pipe.receive(WAIT) == b"a"
        assert pipe.receive(0.05) == b""
        assert not pipe.ended
        pipe.send(b"b")
        hangs.set()


def test_what_nobody_reads_is_lost(tmp_path: Path) -> None:
    with opened(FakeApiServer(frames=[FAILED]), tmp_path) as pipe:
        assert received(pipe) == b""
        pipe.send(b"too late")


def test_a_command_that_cannot_be_started(tmp_path: Path) -> None:
    refused = FakeApiServer(refusals=[404])
    with pytest.raises(ProbeError, match="404"), opened(refused, tmp_path):
        pass
