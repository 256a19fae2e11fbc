"""An API server that answers what it is told to, over real HTTP and WebSocket connections."""

from __future__ import annotations

import base64
import hashlib
import json
import ssl
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import yaml

STDOUT, STDERR, ERROR = 1, 2, 3
_GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


def failed(exit_code: int) -> dict[str, Any]:
    """Status of a command that ran and failed, as an API server says it."""
    return {
        "status": "Failure",
        "reason": "NonZeroExitCode",
        "message": f"command terminated with non-zero exit code: {exit_code}",
        "details": {"causes": [{"reason": "ExitCode", "message": str(exit_code)}]},
    }


@dataclass
class FakeApiServer:
    """What to answer, and what was asked. What is made by POST is there afterwards, unless it is a
    dry run, and what is removed by DELETE is not.

    Attributes:
        answers: JSON by path.
        reviews: answers an access review by its resource attributes; None permits everything.
        admits: why an object is not admitted, by its path and content, with the HTTP status; None
            where it is.
        silent: how many seconds each answer takes.
        changes: method, path and body of every request that was none for reading, in order.
        tried: path and body of every dry run.
        refusals: HTTP statuses to answer first, one a request.
        frames: channel and data of an exec's output, or of what comes from a forwarded port; None
            closes without a status.
        sent: what was sent to forwarded ports, with its channel.
        hangs: leave an exec open after its frames.
        ahead: seconds that its clock is ahead of this machine's.
        tokens: bearer tokens of the requests for reading.
    """

    answers: dict[str, Any] = field(default_factory=dict)
    refusals: list[int] = field(default_factory=list)
    frames: list[tuple[int, bytes] | None] = field(default_factory=list)
    sent: list[bytes] = field(default_factory=list)
    hangs: threading.Event | None = None
    reviews: Callable[[dict[str, str]], bool] | None = None
    admits: Callable[[str, Any], tuple[int, str] | None] = field(default=lambda path, item: None)
    silent: float = 0.0
    ahead: float = 0.0
    changes: list[tuple[str, str, Any]] = field(default_factory=list)
    tried: list[tuple[str, Any]] = field(default_factory=list)
    asked: list[tuple[str, dict[str, list[str]]]] = field(default_factory=list)
    tokens: list[str] = field(default_factory=list)

    @contextmanager
    def running(self, folder: Path, tls: ssl.SSLContext | None = None) -> Iterator[Path]:
        """Serve, by TLS if it is given; yields a kubeconfig with the context `cluster1`."""
        handler = type("Handler", (_Handler,), {"fake": self})
        with _Server(("127.0.0.1", 0), handler) as server:
            server.daemon_threads = True
            scheme = "http"
            if tls is not None:
                scheme = "https"
                server.socket = tls.wrap_socket(
                    server.socket, server_side=True, do_handshake_on_connect=False
                )
            thread = threading.Thread(target=server.serve_forever, args=(0.02,))
            thread.start()
            try:
                yield kubeconfig_of(folder, f"{scheme}://127.0.0.1:{server.server_port}")
            finally:
                if self.hangs is not None:
                    self.hangs.set()
                server.shutdown()
                thread.join()


def kubeconfig_of(folder: Path, server: str) -> Path:
    """A kubeconfig in a folder, with the context `cluster1`."""
    content = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "c", "cluster": {"server": server}}],
        "users": [{"name": "u", "user": {"token": "secret-token"}}],
        "contexts": [{"name": "cluster1", "context": {"cluster": "c", "user": "u"}}],
    }
    file = folder / "kubeconfig"
    file.write_text(yaml.safe_dump(content), encoding="utf-8")
    return file


def _selected(answer: Any, query: str) -> Any:
    """A list without the items whose label is another one than a query for one wants; those that
    say nothing of it stay.
    """
    (wanted,) = parse_qs(query).get("labelSelector", [""])
    key, equals, value = wanted.partition("=")
    if not equals or "," in wanted or not isinstance(answer, dict) or "items" not in answer:
        return answer
    items = [
        each
        for each in answer["items"]
        if each.get("metadata", {}).get("labels", {}).get(key, value) == value
    ]
    return {**answer, "items": items}


class _Server(ThreadingHTTPServer):
    def handle_error(self, request: Any, client_address: Any) -> None:
        if not isinstance(sys.exception(), OSError):  # of clients that leave, or refuse this one
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    fake: FakeApiServer

    def date_time_string(self, timestamp: float | None = None) -> str:
        return super().date_time_string(timestamp or time.time() + self.fake.ahead)

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        time.sleep(self.fake.silent)
        self.fake.asked.append((url.path, parse_qs(url.query)))
        self.fake.tokens.append(self.headers.get("Authorization", "").removeprefix("Bearer "))
        if self.fake.refusals:
            status = self.fake.refusals.pop(0)
            self._say(status, {"kind": "Status", "message": f"refused with {status}"})
        elif url.path.endswith(("/exec", "/portforward")):
            self._exec()
        elif url.path in self.fake.answers:
            self._say(200, _selected(self.fake.answers[url.path], url.query))
        elif url.path == "/version":
            self._say(200, {"gitVersion": "v1.36.0"})
        else:
            self._say(404, {"kind": "Status", "message": "not found"})

    def do_POST(self) -> None:
        body, url = self._body(), urlsplit(self.path)
        path = url.path
        if path.endswith("/selfsubjectaccessreviews"):
            attributes = body["spec"]["resourceAttributes"]
            allowed = self.fake.reviews is None or self.fake.reviews(attributes)
            self._say(201, {**body, "status": {"allowed": allowed}})
            return
        refused = self.fake.admits(path, body)
        if refused is not None:
            self._say(refused[0], {"kind": "Status", "message": refused[1]})
            return
        if "dryRun" in parse_qs(url.query):
            self.fake.tried.append((path, body))
            self._say(201, body)
            return
        self.fake.changes.append(("POST", path, body))
        if self.fake.refusals:
            status = self.fake.refusals.pop(0)
            self._say(status, {"kind": "Status", "message": f"refused with {status}"})
            return
        name = f"{path}/{body['metadata']['name']}"
        if name in self.fake.answers:
            self._say(409, {"kind": "Status", "message": "already exists"})
            return
        body["metadata"]["uid"] = f"uid-{len(self.fake.changes)}"
        self.fake.answers[name] = body
        self._say(201, body)

    def do_PATCH(self) -> None:
        body, path = self._body(), urlsplit(self.path).path
        self.fake.changes.append(("PATCH", path, body))
        if self.fake.refusals:
            status = self.fake.refusals.pop(0)
            self._say(status, {"kind": "Status", "message": f"refused with {status}"})
        elif path not in self.fake.answers:
            self._say(404, {"kind": "Status", "message": "not found"})
        elif self.headers["Content-Type"] != "application/merge-patch+json":
            self._say(415, {"kind": "Status", "message": "unsupported media type"})
        else:
            self._say(200, self.fake.answers[path])

    def do_DELETE(self) -> None:
        body, path = self._body(), urlsplit(self.path).path
        self.fake.changes.append(("DELETE", path, body))
        there = self.fake.answers.get(path)
        if there is None:
            self._say(404, {"kind": "Status", "message": "not found"})
        elif "preconditions" in body and there["metadata"]["uid"] != body["preconditions"]["uid"]:
            self._say(409, {"kind": "Status", "message": "the precondition does not hold"})
        else:
            del self.fake.answers[path]
            self._say(200, {"kind": "Status", "status": "Success"})

    def _body(self) -> Any:
        return json.loads(self.rfile.read(int(self.headers["Content-Length"])))

    def _say(self, status: int, content: Any) -> None:
        body = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        with suppress(BrokenPipeError, ConnectionResetError):  # of who did not wait
            self.wfile.write(body)

    def _exec(self) -> None:
        key = self.headers["Sec-WebSocket-Key"] + _GUID
        accept = base64.b64encode(hashlib.sha1(key.encode()).digest()).decode()
        self.send_response(101)
        self.send_header("Upgrade", "websocket")
        self.send_header("Connection", "Upgrade")
        self.send_header("Sec-WebSocket-Accept", accept)
        self.send_header("Sec-WebSocket-Protocol", "v5.channel.k8s.io")
        self.end_headers()
        self.close_connection = True
        if "/portforward" in self.path:
            self.fake.sent.append(self._received())
        for frame in self.fake.frames:
            if frame is None:
                return
            self._frame(0x82, bytes([frame[0]]) + frame[1])
        if self.fake.hangs is not None:
            self.fake.hangs.wait(10)
        self._frame(0x88, b"\x03\xe8")

    def _received(self) -> bytes:
        """One frame of a client, which is masked (RFC 6455)."""
        size = self.rfile.read(2)[1] & 0x7F
        if size == 126:
            size = int.from_bytes(self.rfile.read(2), "big")
        mask = self.rfile.read(4)
        data = self.rfile.read(size)
        return bytes(byte ^ mask[at % 4] for at, byte in enumerate(data))

    def _frame(self, kind: int, data: bytes) -> None:
        size = len(data)
        length = bytes([size]) if size < 126 else b"\x7e" + size.to_bytes(2, "big")
        self.wfile.write(bytes([kind]) + length + data)

    def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002
        pass
