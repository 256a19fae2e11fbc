"""Downloads a file whole, or not at all: what breaks off goes on where it ended.

Proxies are those of the environment (HTTPS_PROXY, NO_PROXY), authorities the machine's, or those in
$SSL_CERT_FILE.
"""

from __future__ import annotations

import email.utils
import hashlib
import http.client
import os
import re
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from mesh_fixtures.artifacts.command import Limits
from mesh_fixtures.errors import ArtifactError
from mesh_fixtures.patience import patient

TRIES: Final = 4
"""In a row that bring nothing."""

MOST_TRIES: Final = 30
"""In all."""

LONGEST_WAIT: Final = 30.0
"""Seconds that a server may ask to wait before the next try."""

_STALLED_SECONDS: Final = 30.0
"""Without a byte."""

_CHUNK: Final = 2**18
_TEMPORARY: Final = (408, 425, 429, 500, 502, 503, 504)
_FIRST_PAUSE: Final = 0.5
AGENT: Final = {"User-Agent": "mesh-conformance"}
"""Header of every request."""

BUILD_INSTEAD: Final = "or have it built: --mesh-parts built"

_ADDRESS: Final = (
    f"name another address by --mesh-parts-from PROJECT=URL, {BUILD_INSTEAD}; behind a proxy, set "
    "HTTPS_PROXY, and SSL_CERT_FILE where it signs by an authority of its own"
)
_REMEDIES: Final = {
    404: f"check the address (--mesh-parts-from): it lacks this version, {BUILD_INSTEAD}",
    401: f"the address wants a login, which is not supported: {_ADDRESS}",
    403: f"the address refuses this machine: {_ADDRESS}",
    407: "set a user and a password in HTTPS_PROXY: http://USER:PASSWORD@HOST:PORT",
    429: f"try again later, {_ADDRESS}",
}


@dataclass
class _State:
    """What is known between tries.

    Attributes:
        checked: whether a checksum will show what was put together wrongly.
        etag: strong validator of what was received (RFC 9110, ETag); empty for none.
        resumed: whether the file was put together from several answers.
    """

    checked: bool
    etag: str = ""
    resumed: bool = False


class _BrokenOff(Exception):
    """Something that may go better next time.

    Args:
        wait: seconds that the server asks to wait; None where it does not.
    """

    def __init__(self, seen: str, remedy: str = _ADDRESS, wait: float | None = None) -> None:
        super().__init__(seen)
        self.seen, self.remedy, self.wait = seen, remedy, wait


def fetch(url: str, target: Path, *, what: str, limits: Limits, sha256: str = "") -> str:
    """Download a file.

    Args:
        target: the file; what is there of it is replaced.
        what: what is downloaded, to follow "wanted".
        limits: when it has to be done.
        sha256: that it must have, in lower case; empty where that is not known.

    Returns:
        Its SHA-256.

    Raises:
        ArtifactError: it cannot be had, or is another than it should be; the file is removed.
        OSError: it cannot be written.
    """
    try:
        found, resumed = _fetch_once(url, target, what, limits, checked=bool(sha256))
        if sha256 and found != sha256 and resumed:
            # parts of two versions, put together
            found, resumed = _fetch_once(url, target, what, limits, checked=bool(sha256))
        if sha256 and found != sha256:
            raise ArtifactError(
                wanted=f"{what} with the SHA-256 {sha256}",
                seen=f"{found}, of {target.stat().st_size} bytes",
                where=url,
                remedy="something between this machine and the project changed the content, or the "
                f"checksums are of another file: {_ADDRESS}; tell the project if it stays so",
            )
    except BaseException:
        target.unlink(missing_ok=True)
        raise
    return found


def read_small(url: str, *, what: str, limits: Limits, scratch: Path) -> str:
    """The text of a small file, such as one of checksums.

    Args:
        scratch: a file that is used for it.

    Raises:
        ArtifactError: it cannot be had, or is no text.
        OSError: it cannot be written.
    """
    fetch(url, scratch, what=what, limits=limits)
    try:
        return scratch.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ArtifactError(
            wanted=what, seen=f"no text: {error}", where=url, remedy=_ADDRESS
        ) from error
    finally:
        scratch.unlink()


def _fetch_once(
    url: str, target: Path, what: str, limits: Limits, *, checked: bool
) -> tuple[str, bool]:
    """SHA-256 of the whole file, and whether it was put together from several answers."""
    target.write_bytes(b"")
    state, idle = _State(checked), 0
    for tries in range(1, MOST_TRIES + 1):
        before = target.stat().st_size
        try:
            _continue(url, target, what, state, limits)
            break
        except _BrokenOff as trouble:
            there = target.stat().st_size
            idle = 0 if there > before else idle + 1
            pause = trouble.wait if trouble.wait is not None else _FIRST_PAUSE * 2**idle
            ends = time.monotonic() + pause > limits.deadline
            if idle == TRIES or tries == MOST_TRIES or pause > LONGEST_WAIT or ends:
                received = f"; {there} bytes were received" if there else ""
                raise ArtifactError(
                    wanted=what,
                    seen=f"{trouble.seen}, after {_times(tries)}{received}",
                    where=url,
                    remedy=trouble.remedy,
                ) from trouble
            limits.stop.wait(pause)
    with target.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest(), state.resumed


def _times(number: int) -> str:
    return "1 try" if number == 1 else f"{number} tries"


def _continue(url: str, target: Path, what: str, state: _State, limits: Limits) -> None:
    """Receive what is missing of a file.

    Raises:
        _BrokenOff: it did not come to its end.
        ArtifactError: there is no use in another try.
    """
    _require_time(limits, what, url)
    offset = target.stat().st_size if state.checked or state.etag else 0
    headers = {**AGENT, "Accept-Encoding": "identity"}
    if offset:
        headers["Range"] = f"bytes={offset}-"
        if state.etag:
            headers["If-Range"] = state.etag
    with _asking(url, what, restart=target if offset else None):
        answer = ask(url, headers, seconds=patient(_STALLED_SECONDS))
    with answer, target.open("ab") as file:
        state.resumed = answer.status == http.HTTPStatus.PARTIAL_CONTENT
        if not state.resumed:
            file.truncate(0)
        elif _first_byte(answer) != offset:
            file.truncate(0)
            raise _BrokenOff("another range than the one that was asked for")
        etag = answer.headers.get("ETag", "")
        state.etag = "" if etag.startswith("W/") else etag
        while True:
            _require_time(limits, what, url)
            with _asking(url, what):
                chunk = answer.read1(_CHUNK)
            if not chunk:
                break
            file.write(chunk)
        if answer.length:
            raise _BrokenOff(f"the connection ended {answer.length} bytes before the end")


def ask(url: str, headers: Mapping[str, str], *, seconds: float) -> Any:
    """The answer to a request, its body yet to be read.

    Proxies and authorities are those that the environment has now.

    Args:
        seconds: without a byte.

    Raises:
        OSError: there is none, or it says that the request failed.
        http.client.HTTPException: it is none.
    """
    request = urllib.request.Request(url, headers=dict(headers))  # noqa: S310
    return urllib.request.build_opener().open(request, timeout=seconds)


def _first_byte(answer: Any) -> int:
    found = re.match(r"bytes (\d+)-", answer.headers.get("Content-Range", ""))
    return int(found[1]) if found else -1


def _require_time(limits: Limits, what: str, url: str) -> None:
    if limits.stop.is_set():
        raise ArtifactError(wanted=what, seen="stopped: another part failed", where=url)
    if time.monotonic() > limits.deadline:
        raise ArtifactError(
            wanted=f"{what} in time",
            seen="the download is still going on",
            where=url,
            remedy=f"{_ADDRESS}; or give it more time by --mesh-patience",
        )


@contextmanager
def _asking(url: str, what: str, restart: Path | None = None) -> Iterator[None]:
    """Tells what may go better next time from what will not.

    Args:
        restart: the file that is asked for from its beginning next time, where the server does not
            have what comes after its end.
    """
    try:
        yield
    except urllib.error.HTTPError as error:
        with error:
            seen = f"HTTP {error.code} {error.reason}"
            wait = _asked_wait(error.headers.get("Retry-After"))
        remedy = _REMEDIES.get(error.code, _ADDRESS)
        if error.code == http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE and restart is not None:
            os.truncate(restart, 0)
            raise _BrokenOff(seen, remedy) from error
        if error.code in _TEMPORARY:
            asked = f", which asks to wait {wait:.0f} s" if wait is not None else ""
            raise _BrokenOff(seen + asked, remedy, wait) from error
        raise ArtifactError(wanted=what, seen=seen, where=url, remedy=remedy) from error
    except (urllib.error.URLError, OSError, http.client.HTTPException) as error:
        reason = getattr(error, "reason", error)
        seen = f"{type(reason).__name__}: {reason}" if isinstance(reason, Exception) else reason
        if isinstance(reason, ssl.SSLCertVerificationError):
            raise ArtifactError(wanted=what, seen=seen, where=url, remedy=_ADDRESS) from error
        raise _BrokenOff(seen) from error


def _asked_wait(value: str | None) -> float | None:
    """Seconds by the header Retry-After (RFC 9110): a number, or a time."""
    if value is None:
        return None
    if value.strip().isdigit():
        return float(value)
    try:
        then = email.utils.parsedate_to_datetime(value)
    except ValueError:
        return None
    return max(0.0, then.timestamp() - time.time())
