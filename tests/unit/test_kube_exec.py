from __future__ import annotations

import gc
import json
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from fake_api_server import ERROR, STDERR, STDOUT, FakeApiServer, failed
from kube_client import PODS_PATH, client_of, pod

from mesh_fixtures.errors import ProbeError
from mesh_fixtures.kube import transport
from mesh_fixtures.kube.resources import PODS
from mesh_fixtures.verdict.convergence import settle

EXEC = f"{PODS_PATH}/sleep-1/exec"
SUCCESS = (ERROR, b'{"metadata":{},"status":"Success"}')


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transport, "PAUSE_SECONDS", 0.01)


def execute(server: FakeApiServer, folder: Path, timeout: float = 5) -> Any:
    with client_of(server, folder) as kube:
        return kube.exec("sample", "sleep-1", "sleep", ["sh", "-c", "echo a b"], timeout)


def test_exec_returns_both_streams_and_the_exit_status(tmp_path: Path) -> None:
    frames = [(STDOUT, b"one\n"), (STDERR, b"oh \xff\n"), (STDOUT, b"two\n"), SUCCESS]
    server = FakeApiServer(frames=list(frames))
    seen = execute(server, tmp_path)
    assert (seen.exit_status, seen.stdout, seen.stderr) == (0, "one\ntwo\n", "oh \ufffd\n")
    assert str(seen.source) == (
        "kubectl --context=cluster1 -n sample exec sleep-1 -c sleep -- sh -c 'echo a b'"
    )
    ((path, query),) = server.asked
    assert path == EXEC
    assert query["command"] == ["sh", "-c", "echo a b"]
    assert query["container"] == ["sleep"]


def test_a_command_that_fails_has_run_once(tmp_path: Path) -> None:
    server = FakeApiServer(frames=[(STDERR, b"no"), (ERROR, json.dumps(failed(7)).encode())])
    seen = execute(server, tmp_path)
    assert (seen.exit_status, seen.stderr) == (7, "no")
    assert len(server.asked) == 1


def test_a_command_that_does_not_run(tmp_path: Path) -> None:
    message = 'exec failed: "sh": executable file not found in $PATH'
    status = {"status": "Failure", "reason": "InternalError", "message": message}
    server = FakeApiServer(frames=[(ERROR, json.dumps(status).encode())])
    with pytest.raises(ProbeError, match="executable file not found"):
        execute(server, tmp_path)
    assert len(server.asked) == 1


@pytest.mark.parametrize("frames", [[], [None], [(STDOUT, b"half"), None]])
def test_a_connection_that_ends_before_the_command(
    tmp_path: Path, frames: list[tuple[int, bytes] | None]
) -> None:
    server = FakeApiServer(frames=frames)
    with pytest.raises(ProbeError, match="sample/sleep-1"):
        execute(server, tmp_path)
    assert len(server.asked) == 1


def test_a_command_that_takes_too_long(tmp_path: Path) -> None:
    server = FakeApiServer(frames=[(STDOUT, b"half")], hangs=threading.Event())
    with pytest.raises(ProbeError, match=r"still running after 0\.2 s"):
        execute(server, tmp_path, timeout=0.2)


@pytest.mark.parametrize("frames", [[SUCCESS], [], [None]])
def test_no_connection_stays_open(tmp_path: Path, frames: list[tuple[int, bytes] | None]) -> None:
    descriptors = Path("/proc/self/fd")
    gc.disable()
    try:
        with client_of(FakeApiServer(frames=frames), tmp_path) as kube:
            before = len(list(descriptors.iterdir()))
            for _ in range(5):
                with suppress(ProbeError):
                    kube.exec("sample", "sleep-1", "sleep", ["true"])
            # The server's ends are in this process, too, and its threads close them.
            settled = settle(
                lambda: len(list(descriptors.iterdir())),
                lambda now: now <= before,
                deadline=60,
                interval=0.02,
            )
            assert settled.accepted
    finally:
        gc.enable()


def test_connecting_is_tried_again_but_a_refusal_is_not(tmp_path: Path) -> None:
    server = FakeApiServer(frames=[SUCCESS], refusals=[500, 503])
    assert execute(server, tmp_path).exit_status == 0
    assert len(server.asked) == 3
    refused = FakeApiServer(frames=[SUCCESS], refusals=[404])
    with pytest.raises(ProbeError, match="404"):
        execute(refused, tmp_path)
    assert len(refused.asked) == 1


def test_commands_and_reads_at_the_same_time(tmp_path: Path) -> None:
    server = FakeApiServer({PODS_PATH: {"items": [pod("a")]}}, frames=[(STDOUT, b"x"), SUCCESS])
    found: list[object] = []
    with client_of(server, tmp_path) as kube:

        def ask() -> None:
            found.append(kube.list(PODS, "sample")[0].name)
            found.append(kube.exec("sample", "sleep-1", "sleep", ["true"]).stdout)

        threads = [threading.Thread(target=ask) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert sorted(map(str, found)) == ["a"] * 8 + ["x"] * 8
