"""A server of files on loopback, as the addresses of releases are, that can be slow and faulty."""

from __future__ import annotations

import hashlib
import io
import re
import ssl
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import IO, Final

from tests.released.faulty import Answer, Taint

ADDRESS: Final = "127.0.0.1"
_CHUNK: Final = 2**16


@dataclass(frozen=True)
class Asked:
    """A request."""

    path: str
    range: str = ""


@dataclass
class Site:
    """A server that runs.

    Attributes:
        files: content, or where it is, by path.
        rate: bytes a second for all requests together; None for as fast as it goes.
        etags: whether files have validators.
        ranges: whether a part of a file can be asked for.
        taint: may be set at any time.
        asked: all requests so far.
        sent: bytes of files so far.
    """

    files: Mapping[str, bytes | Path]
    rate: float | None = None
    etags: bool = True
    ranges: bool = True
    taint: Taint | None = None
    asked: list[Asked] = field(default_factory=list)
    url: str = ""
    sent: int = 0
    _free_at: float = 0.0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def paths(self) -> list[str]:
        """Paths of the requests so far."""
        return [asked.path for asked in self.asked]

    def pace(self, size: int) -> None:
        """Wait until so many bytes more may be sent."""
        with self._lock:
            self.sent += size
            if self.rate is None:
                return
            start = max(time.monotonic(), self._free_at)
            mine = self._free_at = start + size / self.rate
        time.sleep(max(0.0, mine - time.monotonic()))


def opened(found: bytes | Path) -> IO[bytes]:
    """The content of a file."""
    return found.open("rb") if isinstance(found, Path) else io.BytesIO(found)


def validator(found: bytes | Path) -> str:
    """The strong one of a file (RFC 9110, ETag)."""
    if isinstance(found, Path):
        info = found.stat()
        return f'"{info.st_size}-{info.st_mtime_ns}"'
    return f'"{hashlib.sha256(found).hexdigest()}"'


@contextmanager
def serving(site: Site, tls: ssl.SSLContext | None = None) -> Iterator[Site]:
    """Serve it until the context is left.

    Args:
        tls: the server's certificate; None for HTTP.
    """

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            site.asked.append(Asked(self.path, self.headers.get("Range", "")))
            answer = (site.taint(self.command, self.path) if site.taint else None) or Answer()
            found = site.files.get(self.path.lstrip("/"))
            status = answer.status or (404 if found is None else 200)
            if status != 200 or found is None:
                self._begin(status, {**answer.headers, "Content-Length": "0"})
                return
            size = found.stat().st_size if isinstance(found, Path) else len(found)
            etag = validator(found) if site.etags else ""
            headers = {"ETag": etag} if etag else {}
            wanted = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
            begin, valid = 0, self.headers.get("If-Range", etag) == etag
            if site.ranges and wanted and valid:
                begin, status = int(wanted[1]), 206
                if begin >= size:
                    self._begin(416, {"Content-Length": "0"})
                    return
                headers["Content-Range"] = f"bytes {begin}-{size - 1}/{size}"
            self._begin(status, {**headers, **answer.headers, "Content-Length": str(size - begin)})
            end = size if answer.cut_off is None else min(size, begin + answer.cut_off)
            with suppress(ConnectionError), opened(found) as content:
                content.seek(begin)
                while begin < end:
                    chunk = content.read(min(_CHUNK, end - begin))
                    begin += len(chunk)
                    if answer.flipped and begin == size:
                        chunk = chunk[:-1] + bytes([chunk[-1] ^ 1])
                    site.pace(len(chunk))
                    self.wfile.write(chunk)
            self.close_connection = end < size

        def _begin(self, status: int, headers: Mapping[str, str]) -> None:
            self.send_response(status)
            for key, value in headers.items():
                self.send_header(key, value)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            pass

    with ThreadingHTTPServer((ADDRESS, 0), Handler) as server:
        server.daemon_threads = True
        if tls is not None:
            server.socket = tls.wrap_socket(server.socket, server_side=True)
        site.url = f"{'http' if tls is None else 'https'}://{ADDRESS}:{server.server_port}"
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield site
        server.shutdown()


def of(ending: str, answer: Answer, times: int = 10**6) -> Taint:
    """Taints the first so many downloads of files whose paths end like that."""
    left = [times]

    def taint(method: str, path: str) -> Answer | None:
        if not path.endswith(ending) or not left[0]:
            return None
        left[0] -= 1
        return answer

    return taint
