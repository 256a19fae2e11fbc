"""Attempts are judged by what real TLS servers do with them, behind a pipe that is none."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from fake_kube import FakeKube, pod, result

from mesh_fixtures.errors import ProbeError
from mesh_fixtures.kube import Source
from mesh_fixtures.probe.tls import Hello, TlsAttempt, attempt
from mesh_fixtures.probe.untrusted import UntrustedClient, untrusted_client

HELLOWORLD = "spiffe://cluster.local/ns/sample/sa/helloworld"
REQUEST = b"GET /hello HTTP/1.1\r\n\r\n"
ANSWER = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"
SERVER = untrusted_client(HELLOWORLD)
MEMBER, OUTSIDER = (
    untrusted_client("spiffe://cluster.local/ns/sample/sa/sleep"),
    untrusted_client("spiffe://x/y"),
)
SECONDS = 0.2


@dataclass
class Server:
    """Takes bytes and gives bytes; has ended when it says so."""

    ended: bool = False

    def take(self, data: bytes) -> bytes:
        raise NotImplementedError


@dataclass
class Scripted(Server):
    """Says the same to everybody."""

    says: bytes = b""
    ends: bool = True

    def take(self, data: bytes) -> bytes:
        self.ended = self.ends
        return self.says


class MutualTls(Server):
    """Answers whoever has a certificate of the member's root, or everybody."""

    def __init__(self, folder: Path, *, asks: bool, version: ssl.TLSVersion) -> None:
        super().__init__()
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.maximum_version = version
        (folder / "server.pem").write_bytes(SERVER.chain + SERVER.key)
        context.load_cert_chain(folder / "server.pem")
        _, root = x509.load_pem_x509_certificates(MEMBER.chain)
        context.load_verify_locations(cadata=root.public_bytes(Encoding.PEM).decode())
        context.verify_mode = ssl.CERT_REQUIRED if asks else ssl.CERT_NONE
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(self.incoming, self.outgoing, server_side=True)
        self.greeted = False

    def take(self, data: bytes) -> bytes:
        self.incoming.write(data)
        try:
            if not self.greeted:
                self.tls.do_handshake()
                self.greeted = True
            if self.tls.read():
                self.tls.write(ANSWER)
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLError:
            self.ended = True
        return self.outgoing.read()


@dataclass
class FakePipe:
    server: Server
    errors: str = "connected"
    source: Source = field(default_factory=lambda: result().source)
    pending: bytes = b""
    closed: bool = False

    @property
    def ended(self) -> bool:
        return self.server.ended

    def send(self, data: bytes) -> None:
        if data and not self.ended:
            self.pending += self.server.take(data)

    def receive(self, seconds: float) -> bytes:
        received, self.pending = self.pending, b""
        return received

    def wait(self, seconds: float) -> None:
        pass

    def close(self) -> None:
        self.closed = True


class Piped(FakeKube):
    def __init__(self, pipe: FakePipe) -> None:
        super().__init__(lambda argv: "")
        self.made = pipe

    def pipe(self, *where: Any) -> FakePipe:
        self.asked.append(where[-1])
        return self.made


def tried(pipe: FakePipe, hello: Hello | None) -> TlsAttempt:
    kube = Piped(pipe)
    seen = attempt(kube.as_client(), pod("sleep-1"), "10.0.0.1", 15443, REQUEST, hello, SECONDS)
    assert pipe.closed
    ((*_, address, port),) = kube.asked
    assert (address, port) == ("10.0.0.1", "15443")
    return seen


def hello(certificate: UntrustedClient | None = None) -> Hello:
    return Hello("outbound_.5000_._.helloworld.sample.svc.cluster.local", certificate=certificate)


Serving = Callable[..., MutualTls]


@pytest.fixture(params=[ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3], ids=["1.2", "1.3"])
def serving(request: pytest.FixtureRequest, tmp_path: Path) -> Serving:
    return lambda *, asks: MutualTls(tmp_path, asks=asks, version=request.param)


def test_who_is_of_the_mesh_is_answered(serving: Serving) -> None:
    seen = tried(FakePipe(serving(asks=True)), hello(MEMBER))
    assert not seen.is_refused
    assert (seen.server, seen.answer) == ((HELLOWORLD,), "HTTP/1.1 200 OK")


@pytest.mark.parametrize("certificate", [None, OUTSIDER], ids=["none", "foreign"])
def test_who_is_not_is_refused_by_tls(
    serving: Serving, certificate: UntrustedClient | None
) -> None:
    seen = tried(FakePipe(serving(asks=True)), hello(certificate))
    assert seen.is_refused
    assert seen.by_tls
    assert str(seen).startswith("alert ")
    assert seen.certificate == x509.load_pem_x509_certificate(SERVER.chain)


@pytest.mark.parametrize("certificate", [None, OUTSIDER], ids=["none", "foreign"])
def test_a_server_that_asks_nobody_refuses_nobody(
    serving: Serving, certificate: UntrustedClient | None
) -> None:
    seen = tried(FakePipe(serving(asks=False)), hello(certificate))
    assert not seen.is_refused
    assert str(seen) == "the answer 'HTTP/1.1 200 OK'"


@pytest.mark.parametrize("introduction", [None, hello()], ids=["plaintext", "TLS"])
@pytest.mark.parametrize(
    ("errors", "shown"),
    [
        ("connected", "connection closed"),
        ("connected cat: -: Connection reset by peer", "connection reset"),
    ],
)
def test_a_connection_that_ends_is_a_refusal(
    introduction: Hello | None, errors: str, shown: str
) -> None:
    seen = tried(FakePipe(Scripted(), errors), introduction)
    assert (seen.is_refused, seen.by_tls, str(seen)) == (True, False, shown)


@pytest.mark.parametrize("introduction", [None, hello()], ids=["plaintext", "TLS"])
def test_a_connection_that_stays_open_is_none(introduction: Hello | None) -> None:
    seen = tried(FakePipe(Scripted(ends=False)), introduction)
    assert (seen.is_refused, str(seen)) == (False, "a connection that stays open")


@pytest.mark.parametrize("introduction", [None, hello()], ids=["plaintext", "TLS"])
def test_words_in_plain_text_are_none(introduction: Hello | None) -> None:
    seen = tried(FakePipe(Scripted(says=b"HTTP/1.1 400 Bad Request\r\n\r\n")), introduction)
    assert (seen.is_refused, str(seen)) == (False, "the answer 'HTTP/1.1 400 Bad Request'")


@pytest.mark.parametrize(
    "says",
    [b"\x16\x03", b"\x16\x03\x03\x00\x08\x0b\x00\x00\x08\x00\x00\x05\x00"],
    ids=["a header", "part of a certificate"],
)
def test_part_of_a_handshake_shows_no_certificate(says: bytes) -> None:
    assert tried(FakePipe(Scripted(says=says)), hello()).certificate is None


def test_where_nothing_accepts_connections_nothing_is_refused() -> None:
    pipe = FakePipe(Scripted(ended=True), "bash: connect: Connection refused")
    with pytest.raises(ProbeError, match=r"10\.0\.0\.1:15443.*\n.*Connection refused"):
        tried(pipe, None)
    assert pipe.closed
