"""Streams through the API server: to and from a command that runs in a container, and by HTTP to a
port of a pod, which may listen on the loopback address only.

Source: Kubernetes, connect GET requests to portforward of Pod. Over a WebSocket, a port has two
channels, the first for data and the second for errors; each begins with the number of the port.
"""

from __future__ import annotations

import io
import select
import ssl
import time
from contextlib import suppress
from http.client import HTTPResponse
from typing import Any, Final, cast

import websocket
from urllib3.util.ssltransport import SSLTransport

from mesh_fixtures.errors import ProbeError
from mesh_fixtures.kube.source import Source
from mesh_fixtures.patience import patient

_STDIN, _STDOUT, _STDERR = 0, 1, 2
_CHANNEL_CLOSED: Final = 255
"""By which either side says that no more comes on a channel (v5.channel.k8s.io)."""

CLOSE_SECONDS: Final = 1.0
"""For the other side to say that it closes, too."""

_POLL_SECONDS: Final = 1.0

_DATA, _ERROR = 0, 1
_PORT_BYTES: Final = 2


class Channels:
    """The streams of a command over a WebSocket: each message begins with the number of the one
    that it belongs to. Not thread-safe. Source: Kubernetes, remotecommand (v5.channel.k8s.io).

    What reads or writes raises websocket.WebSocketException or OSError where the connection fails.
    """

    def __init__(self, socket: websocket.WebSocket) -> None:
        self.socket: Any = socket
        self._received: dict[int, bytes] = {}
        self._is_open = True

    def is_open(self) -> bool:
        """Whether the other side has not closed the connection yet, as far as it was read."""
        return self._is_open

    def read_channel(self, channel: int) -> bytes:
        """What came on a channel since it was read last."""
        data = self.peek_channel(channel)
        self._received.pop(channel, None)
        return data

    def peek_channel(self, channel: int) -> bytes:
        """As `read_channel`, which returns it again."""
        if channel not in self._received:
            self.update(0)
        return self._received.get(channel, b"")

    def write_channel(self, channel: int, data: bytes) -> None:
        self.socket.send_binary(bytes([channel]) + data)

    def update(self, timeout: float) -> None:
        """Wait for a message, and take all that have come.

        Args:
            timeout: seconds.
        """
        if self._is_open and not self.socket.connected:
            self._is_open = False
        while self._is_open and self._has_come(timeout):
            self._take(*self.socket.recv_data_frame(control_frame=True))
            timeout = 0

    def _has_come(self, timeout: float) -> bool:
        stream: Any = self.socket.sock
        if _is_buffered(stream):
            return True
        waiting = select.poll()
        waiting.register(stream, select.POLLIN)
        return bool(waiting.poll(timeout * 1000))

    def _take(self, opcode: int, frame: Any) -> None:
        if opcode == websocket.ABNF.OPCODE_CLOSE:
            self._is_open = False
        elif opcode in (websocket.ABNF.OPCODE_BINARY, websocket.ABNF.OPCODE_TEXT) and frame.data:
            channel, data = frame.data[0], frame.data[1:]
            if data and channel != _CHANNEL_CLOSED:
                self._received[channel] = self._received.get(channel, b"") + data

    def close(self, timeout: float) -> None:
        """Close the connection.

        Args:
            timeout: seconds for the other side to say that it closes, too.
        """
        self._is_open = False
        with suppress(OSError, websocket.WebSocketException):
            self.socket.close(timeout=timeout)
        self.socket.shutdown()  # which close() leaves out when the other side closed first


def _is_buffered(stream: Any) -> bool:
    """Whether TLS has read what its user has not: no more need come from the network for it."""
    if isinstance(stream, ssl.SSLSocket):
        return stream.pending() > 0
    if isinstance(stream, SSLTransport):  # to the API server, within TLS to a proxy
        return stream.sslobj.pending() > 0 or stream.incoming.pending > 0
    return False


class Pipe:
    """A running command. Not thread-safe; whoever opened it closes it.

    Args:
        socket: connected with all three streams.
    """

    def __init__(self, source: Source, socket: Channels) -> None:
        self.source = source
        self._socket = socket
        self._errors = b""

    @property
    def errors(self) -> str:
        """Error output of the command so far."""
        self._errors += self._socket.read_channel(_STDERR)
        return self._errors.decode("utf-8", "replace")

    @property
    def ended(self) -> bool:
        """Whether the command has ended; there may be something left to receive."""
        return not self._socket.is_open()

    def send(self, data: bytes) -> None:
        """Write to the command's input; what a command that has ended does not read is lost.

        Raises:
            ProbeError: the connection was lost.
        """
        if data and not self.ended:
            with suppress(BrokenPipeError, websocket.WebSocketConnectionClosedException):
                try:
                    self._socket.write_channel(_STDIN, data)
                except (websocket.WebSocketTimeoutException, ConnectionResetError) as error:
                    raise self._lost(error) from error

    def receive(self, seconds: float) -> bytes:
        """What the command has printed since the last time, as soon as there is something.

        Args:
            seconds: to wait at most.

        Returns:
            Empty when the time is over, or when the command has ended and all was received.

        Raises:
            ProbeError: the connection was lost.
        """
        deadline = time.monotonic() + seconds
        while True:
            data: bytes = self._socket.read_channel(_STDOUT)
            left = deadline - time.monotonic()
            if data or self.ended or left <= 0:
                return data
            self.wait(left)

    def wait(self, seconds: float) -> None:
        """Until the command says something anywhere, or ends.

        Args:
            seconds: to wait at most.

        Raises:
            ProbeError: the connection was lost.
        """
        try:
            self._socket.update(timeout=max(0.0, min(seconds, _POLL_SECONDS)))
        except (websocket.WebSocketException, OSError) as error:
            raise self._lost(error) from error

    def close(self) -> None:
        """Let go of the command, which sees the end of its input."""
        self._socket.close(patient(CLOSE_SECONDS))

    def _lost(self, error: Exception) -> ProbeError:
        return ProbeError(
            wanted=f"to stay connected to: {self.source.asked}",
            seen=str(error) or type(error).__name__,
            where=f"{self.source.cluster} {self.source.subject}",
        )


class ForwardedPort(io.RawIOBase):
    """What comes from a forwarded port, until the other side closes it.

    Reading raises OSError where the port cannot be reached.

    Args:
        socket: connected with one port.
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


def ask_forwarded(socket: Any, path: str, method: str) -> tuple[int, bytes]:
    """Status and body of the answer to a request without a body.

    Raises:
        OSError: the port cannot be reached.
        http.client.HTTPException: what answers there does not speak HTTP.
        websocket.WebSocketException: the connection was lost.
    """
    length = "" if method == "GET" else "Content-Length: 0\r\n"
    headers = f"Host: localhost\r\nConnection: close\r\n{length}"
    request = f"{method} {path} HTTP/1.1\r\n{headers}\r\n"
    socket.send_binary(bytes([_DATA]) + request.encode())
    response = HTTPResponse(cast("Any", ForwardedPort(socket)))
    response.begin()
    return response.status, response.read()
