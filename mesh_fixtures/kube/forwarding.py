"""HTTP to a port of a pod through the API server; it may listen on the loopback address only.

Source: Kubernetes, connect GET requests to portforward of Pod. Over a WebSocket, a port has two
channels, the first for data and the second for errors; each begins with the number of the port.
"""

from __future__ import annotations

import io
from http.client import HTTPResponse
from typing import Any, Final, cast

import websocket

_DATA, _ERROR = 0, 1
_PORT_BYTES: Final = 2


class Channel(io.RawIOBase):
    """What comes from a forwarded port, until the other side closes it.

    Reading raises OSError where the port cannot be reached.

    Args:
        socket: the official client's, connected and binary, with one port.
    """

    def __init__(self, socket: Any) -> None:
        self._socket = socket
        self._received = b""
        self._begun: set[int] = set()

    def readable(self) -> bool:
        return True

    def makefile(self, mode: str) -> io.BufferedReader:
        """How HTTPResponse reads from a socket."""
        del mode
        return io.BufferedReader(self)

    def readinto(self, buffer: Any) -> int:
        while not self._received:
            try:
                opcode, message = self._socket.recv_data()
            except websocket.WebSocketConnectionClosedException:
                return 0
            if opcode == websocket.ABNF.OPCODE_CLOSE:
                return 0
            self._take(message)
        count = min(len(buffer), len(self._received))
        buffer[:count] = self._received[:count]
        self._received = self._received[count:]
        return count

    def _take(self, message: bytes) -> None:
        channel, data = message[0], message[1:]
        if channel not in self._begun:
            self._begun.add(channel)
            data = data[_PORT_BYTES:]
        if channel == _ERROR and data:
            raise ConnectionError(data.decode("utf-8", "replace"))
        if channel == _DATA:
            self._received += data


def get(socket: Any, path: str) -> tuple[int, bytes]:
    """Status and body of the answer to a GET.

    Raises:
        OSError: the port cannot be reached.
        http.client.HTTPException: what answers there does not speak HTTP.
        websocket.WebSocketException: the connection was lost.
    """
    request = f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    socket.send_binary(bytes([_DATA]) + request.encode())
    response = HTTPResponse(cast("Any", Channel(socket)))
    response.begin()
    return response.status, response.read()
