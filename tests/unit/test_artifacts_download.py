"""Downloads: whole or not at all, whatever the server does."""

from __future__ import annotations

import hashlib
import os
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from ipaddress import IPv4Address
from pathlib import Path

import pytest
from cryptography import x509

from mesh_fixtures import certificates
from mesh_fixtures.artifacts import download
from mesh_fixtures.artifacts.command import Limits
from mesh_fixtures.artifacts.download import MOST_TRIES, TRIES, fetch
from mesh_fixtures.errors import ArtifactError
from tests.parts.site import Asked, Site, of, serving
from tests.released.faulty import Answer

CONTENT = os.urandom(300_000)
DIGEST = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download, "_FIRST_PAUSE", 0.0)
    monkeypatch.delenv("http_proxy", raising=False)


@pytest.fixture
def site() -> Iterator[Site]:
    with serving(Site({"file": CONTENT})) as found:
        yield found


@pytest.fixture
def get(site: Site, tmp_path: Path) -> Callable[..., str]:
    """Downloads the file, or another path."""

    def get(path: str = "file", sha256: str = DIGEST, seconds: float = 60.0) -> str:
        limits = Limits(time.monotonic() + seconds)
        url = f"{site.url}/{path}"
        return fetch(url, tmp_path / "file", what="the file", limits=limits, sha256=sha256)

    return get


def test_a_file_is_downloaded(site: Site, get: Callable[..., str], tmp_path: Path) -> None:
    assert get() == DIGEST
    assert (tmp_path / "file").read_bytes() == CONTENT
    assert site.asked == [Asked("/file")]
    assert get(sha256="") == DIGEST


@pytest.mark.parametrize("etags", [True, False])
def test_what_breaks_off_goes_on_where_it_ended(
    site: Site, get: Callable[..., str], *, etags: bool
) -> None:
    site.etags = etags
    site.taint = of("/file", Answer(cut_off=70_000), times=3)
    assert get() == DIGEST
    assert [asked.range for asked in site.asked] == [
        "",
        "bytes=70000-",
        "bytes=140000-",
        "bytes=210000-",
    ]


def test_without_ranges_it_begins_again(
    site: Site, get: Callable[..., str], tmp_path: Path
) -> None:
    site.ranges = False
    site.taint = of("/file", Answer(cut_off=70_000), times=2)
    assert get() == DIGEST
    assert (tmp_path / "file").stat().st_size == len(CONTENT)


def test_without_a_checksum_and_a_validator_it_begins_again(
    site: Site, get: Callable[..., str]
) -> None:
    site.etags = False
    site.taint = of("/file", Answer(cut_off=70_000), times=1)
    assert get(sha256="") == DIGEST
    assert [asked.range for asked in site.asked] == ["", ""]


def test_a_file_that_is_replaced_meanwhile_is_not_put_together(
    site: Site, get: Callable[..., str]
) -> None:
    """Without a validator, the checksum shows it; with one, the server."""
    new = os.urandom(len(CONTENT))
    for etags, asked in ((False, ["", "bytes=70000-", ""]), (True, ["", "bytes=70000-"])):
        site.files, site.etags, site.asked = {"file": CONTENT}, etags, []

        def cut(method: str, path: str) -> Answer | None:
            first = site.files["file"] is CONTENT and len(site.asked) == 1
            if len(site.asked) == 2:
                site.files = {"file": new}
            return Answer(cut_off=70_000) if first else None

        site.taint = cut
        assert get(sha256=hashlib.sha256(new).hexdigest()) == hashlib.sha256(new).hexdigest()
        assert [each.range for each in site.asked] == asked


def test_a_connection_that_never_brings_anything_is_given_up(
    site: Site, get: Callable[..., str], tmp_path: Path
) -> None:
    site.taint = of("/file", Answer(cut_off=0))
    with pytest.raises(ArtifactError, match=f"after {TRIES} tries") as caught:
        get()
    assert len(site.asked) == TRIES
    assert "300000 bytes before the end" in caught.value.seen
    assert caught.value.where == f"{site.url}/file"
    assert "--mesh-parts-from" in caught.value.remedy
    assert not (tmp_path / "file").exists()


def test_little_by_little_is_given_up_too(site: Site, get: Callable[..., str]) -> None:
    site.taint = of("/file", Answer(cut_off=10))
    with pytest.raises(ArtifactError, match=f"{MOST_TRIES * 10} bytes were received"):
        get()
    assert len(site.asked) == MOST_TRIES


def test_a_wrong_checksum_is_an_error_at_once(
    site: Site, get: Callable[..., str], tmp_path: Path
) -> None:
    site.taint = of("/file", Answer(flipped=True))
    with pytest.raises(ArtifactError, match=f"wanted the file with the SHA-256 {DIGEST}") as caught:
        get()
    assert len(site.asked) == 1
    assert "of 300000 bytes" in caught.value.seen
    assert not (tmp_path / "file").exists()


@pytest.mark.parametrize(
    ("status", "tries", "remedy"),
    [
        (404, 1, "lacks this version"),
        (401, 1, "login"),
        (403, 1, "refuses"),
        (407, 1, "HTTPS_PROXY"),
        (410, 1, "--mesh-parts-from"),
        (500, TRIES, "--mesh-parts built"),
        (503, TRIES, "--mesh-parts built"),
        (429, TRIES, "try again later"),
    ],
)
def test_what_may_pass_is_tried_again(
    site: Site, get: Callable[..., str], status: int, tries: int, remedy: str
) -> None:
    site.taint = of("/file", Answer(status=status))
    with pytest.raises(ArtifactError, match=f"HTTP {status}") as caught:
        get()
    assert len(site.asked) == tries
    assert remedy in caught.value.remedy
    site.taint = of("/file", Answer(status=status), times=1)
    if tries > 1:
        assert get() == DIGEST


def test_a_server_is_given_the_time_that_it_asks_for(site: Site, get: Callable[..., str]) -> None:
    site.taint = of("/file", Answer(status=429, headers={"Retry-After": "1"}), times=1)
    begun = time.monotonic()
    assert get() == DIGEST
    assert time.monotonic() - begun >= 1


@pytest.mark.parametrize("form", ["seconds", "date"])
def test_but_no_more_than_is_reasonable(site: Site, get: Callable[..., str], form: str) -> None:
    in_an_hour = format_datetime(datetime.now(UTC) + timedelta(hours=1), usegmt=True)
    value = "3600" if form == "seconds" else in_an_hour
    site.taint = of("/file", Answer(status=429, headers={"Retry-After": value}))
    with pytest.raises(ArtifactError, match=r"asks to wait 3[56]\d\d s"):
        get()
    assert len(site.asked) == 1


@pytest.mark.parametrize("value", [None, "soon", ""])
def test_a_time_to_wait_that_says_nothing(value: str | None) -> None:
    assert download._asked_wait(value) is None


def test_a_slow_server_has_a_deadline(site: Site, get: Callable[..., str], tmp_path: Path) -> None:
    site.rate = 100_000.0
    begun = time.monotonic()
    with pytest.raises(ArtifactError, match="in time"):
        get(seconds=0.5)
    assert time.monotonic() - begun < 2
    assert not (tmp_path / "file").exists()


def test_a_server_that_says_nothing_has_a_deadline(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(download, "_STALLED_SECONDS", 0.1)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/file"
        with pytest.raises(ArtifactError, match="timed out, after"):
            fetch(url, tmp_path / "x", what="it", limits=Limits(time.monotonic() + 60))


def test_nobody_listens(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/file"
    with pytest.raises(ArtifactError, match="refused"):
        fetch(url, tmp_path / "x", what="it", limits=Limits(time.monotonic() + 60))


def test_an_authority_of_ones_own_is_named_by_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    day, key = timedelta(days=1), certificates.elliptic_key
    ca = certificates.authority(certificates.subject("mirror's authority"), key(), day)
    server = certificates.leaf(
        certificates.subject("mirror"),
        key(),
        day,
        ca,
        usages=(certificates.SERVER,),
        names=(x509.IPAddress(IPv4Address("127.0.0.1")),),
    )
    ca.write(tmp_path, "ca")
    server.write(tmp_path, "server")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "server.crt", tmp_path / "server.key")
    limits = Limits(time.monotonic() + 60)
    with serving(Site({"file": CONTENT}), context) as site:
        url = f"{site.url}/file"
        with pytest.raises(ArtifactError, match="certificate verify failed") as caught:
            fetch(url, tmp_path / "x", what="it", limits=limits)
        assert "SSL_CERT_FILE" in caught.value.remedy
        assert site.asked == []
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.crt"))
        assert fetch(url, tmp_path / "x", what="it", limits=limits) == DIGEST


def test_a_proxy_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    url = "http://releases.example/file"
    with serving(Site({url: CONTENT})) as proxy:
        monkeypatch.setenv("http_proxy", proxy.url)
        limits = Limits(time.monotonic() + 60)
        assert fetch(url, tmp_path / "x", what="it", limits=limits) == DIGEST
        assert proxy.paths() == [url]


def test_it_stops_when_its_result_is_no_longer_wanted(site: Site, tmp_path: Path) -> None:
    stop = threading.Event()
    site.rate = 50_000.0
    threading.Timer(0.3, stop.set).start()
    begun = time.monotonic()
    with pytest.raises(ArtifactError, match="stopped: another part failed"):
        fetch(
            f"{site.url}/file",
            tmp_path / "x",
            what="it",
            limits=Limits(time.monotonic() + 60, stop),
        )
    assert time.monotonic() - begun < 3
