"""A proxy on the loopback address, for CONNECT by HTTP and for SOCKS 5, that asks for a password.

Source: RFC 9110, 9.3.6 (CONNECT); RFC 1928 and RFC 1929 (SOCKS 5).
"""

from __future__ import annotations

import base64
import socket
import socketserver
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

_BY_PASSWORD, _ACCEPTED, _REFUSED = 2, 0, 1
_IPV4, _NAME = 1, 3


@dataclass
class FakeProxy:
    """Passes connections on to one port of this machine, whatever they are meant for.

    Attributes:
        port: that connections are passed on to.
        credentials: user and password that it demands; None for none.
        asked: what connections were meant for, `HOST:PORT`.
        seen: the credentials that it was given.
        tls: by which it is spoken to itself; None for none.
    """

    port: int
    credentials: tuple[str, str] | None = None
    tls: ssl.SSLContext | None = None
    asked: list[str] = field(default_factory=list)
    seen: list[tuple[str, str] | None] = field(default_factory=list)

    @contextmanager
    def running(self) -> Iterator[int]:
        """Serve; yields the port."""
        handler = type("Handler", (_Handler,), {"proxy": self})
        with socketserver.ThreadingTCPServer(("127.0.0.1", 0), handler) as server:
            server.daemon_threads = True
            thread = threading.Thread(target=server.serve_forever, args=(0.02,))
            thread.start()
            try:
                yield server.server_address[1]
            finally:
                server.shutdown()
                thread.join()


class _Handler(socketserver.BaseRequestHandler):
    proxy: FakeProxy

    def handle(self) -> None:
        client: socket.socket = self.request
        with suppress(OSError):
            if self.proxy.tls is not None:
                client = self.proxy.tls.wrap_socket(client, server_side=True)
            if isinstance(client, ssl.SSLSocket) or client.recv(1, socket.MSG_PEEK) != b"\x05":
                is_accepted = self._connect(client)
            else:
                is_accepted = self._socks(client)
            if is_accepted:
                _relay(client, self.proxy.port)

    def _connect(self, client: socket.socket) -> bool:
        with client.makefile("rb") as reader:
            target = reader.readline().split()[1].decode()
            lines = (line.decode().strip() for line in iter(reader.readline, b"\r\n"))
            headers = {name.lower(): value for name, _, value in (x.partition(": ") for x in lines)}
        given = headers.get("proxy-authorization", "").removeprefix("Basic ")
        user, _, password = base64.b64decode(given, validate=True).decode().partition(":")
        if not self._accepts(target, (user, password) if given else None):
            client.sendall(b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n")
            return False
        client.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
        return True

    def _socks(self, client: socket.socket) -> bool:
        offered = client.recv(2)[1]
        by_password = _BY_PASSWORD in client.recv(offered)
        client.sendall(bytes([5, _BY_PASSWORD if by_password else 0]))
        given = None
        if by_password:
            client.recv(1)
            user = client.recv(client.recv(1)[0]).decode()
            given = (user, client.recv(client.recv(1)[0]).decode())
            client.sendall(bytes([1, _ACCEPTED]))
        _, _, _, kind = client.recv(4)
        if kind == _NAME:
            host = client.recv(client.recv(1)[0]).decode()
        else:
            host = socket.inet_ntoa(client.recv(4))
        port = int.from_bytes(client.recv(2), "big")
        is_accepted = self._accepts(f"{host}:{port}", given)
        result = _ACCEPTED if is_accepted else _REFUSED
        client.sendall(bytes([5, result, 0, _IPV4, 127, 0, 0, 1, 0, 0]))
        return is_accepted

    def _accepts(self, target: str, given: tuple[str, str] | None) -> bool:
        self.proxy.asked.append(target)
        self.proxy.seen.append(given)
        return given == self.proxy.credentials


def _relay(client: Any, port: int) -> None:
    with socket.create_connection(("127.0.0.1", port)) as server:
        back = threading.Thread(target=_copy, args=(server, client), daemon=True)
        back.start()
        _copy(client, server)
        back.join()


def _copy(source: Any, target: Any) -> None:
    with suppress(OSError):
        while data := source.recv(65536):
            target.sendall(data)
    with suppress(OSError):
        target.shutdown(socket.SHUT_WR)
