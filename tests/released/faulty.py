"""A server before a registry that taints some of its answers."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Final

from tests.released.registry import ADDRESS, Registry, auths, write_docker_config

_PASSED_ON: Final = ("Accept", "Authorization", "Range", "User-Agent")
_KEPT: Final = ("Content-Type", "Docker-Content-Digest", "Www-Authenticate", "Etag")


@dataclass
class Answer:
    """What is sent in place of a registry's answer.

    Attributes:
        status: None to take the registry's.
        cut_off: send this many bytes of the body, then close the connection.
        flipped: change the body's last byte.
    """

    status: int | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    cut_off: int | None = None
    flipped: bool = False


Taint = Callable[[str, str], Answer | None]
"""What is done with a request, by its method and path; None leaves the answer alone."""


@dataclass
class Front:
    """A server that passes requests on.

    Attributes:
        host: to be asked in place of the registry's.
        taint: may be set at any time.
        asked: methods and paths of all requests so far.
    """

    registry: Registry
    host: str = ""
    taint: Taint | None = None
    asked: list[tuple[str, str]] = field(default_factory=list)


def of_blobs(answer: Answer, times: int = 10**6) -> Taint:
    """Taints the first so many requests for layers and configurations."""
    left = [times]

    def taint(method: str, path: str) -> Answer | None:
        if method != "GET" or "/blobs/" not in path or not left[0]:
            return None
        left[0] -= 1
        return answer

    return taint


def of_manifests(answer: Answer, times: int = 10**6) -> Taint:
    """The same of manifests."""
    left = [times]

    def taint(method: str, path: str) -> Answer | None:
        if "/manifests/" not in path or not left[0]:
            return None
        left[0] -= 1
        return answer

    return taint


@contextmanager
def before(registry: Registry) -> Iterator[Front]:
    """A server before a registry, with the same certificate and passwords."""
    front = Front(registry)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            front.asked.append((self.command, self.path))
            answer = (front.taint(self.command, self.path) if front.taint else None) or Answer()
            if answer.status is not None:
                self._send(answer.status, dict(answer.headers), b"", Answer())
                return
            connection = registry.connect()
            try:
                headers = {key: self.headers[key] for key in _PASSED_ON if key in self.headers}
                connection.request(self.command, self.path, headers=headers)
                response = connection.getresponse()
                body = response.read()
                kept = {key: str(response.getheader(key)) for key in _KEPT}
                kept = {key: value for key, value in kept.items() if value != "None"}
                if self.command == "HEAD":
                    kept["Content-Length"] = str(response.getheader("Content-Length") or 0)
                self._send(response.status, kept, body, answer)
            finally:
                connection.close()

        do_HEAD = do_GET  # noqa: N815

        def _send(self, status: int, headers: dict[str, str], body: bytes, answer: Answer) -> None:
            if answer.flipped and body:
                body = body[:-1] + bytes([body[-1] ^ 1])
            self.send_response(status)
            for key, value in ({"Content-Length": str(len(body))} | headers).items():
                self.send_header(key, value)
            self.end_headers()
            if self.command == "HEAD":
                return
            if answer.cut_off is not None:
                self.wfile.write(body[: answer.cut_off])
                self.close_connection = True
                return
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            pass

    with ThreadingHTTPServer((ADDRESS, 0), Handler) as server:
        server.daemon_threads = True
        server.socket = registry.server_context().wrap_socket(server.socket, server_side=True)
        front.host = f"{ADDRESS}:{server.server_port}"
        write_docker_config(registry.docker_config, auths(registry.host, front.host))
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield front
        server.shutdown()
