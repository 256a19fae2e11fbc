"""Connections that the mesh has to refuse, tried from within a pod, byte by byte.

A shell in the plain client, which has no proxy, opens the connection and passes bytes on; TLS is
spoken here, so that keys stay here and everything about it can be chosen. The client's image has
bash or, like Alpine's, nc. Source: bash's manual, Redirections; BusyBox, nc.
"""

from __future__ import annotations

import re
import ssl
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, TypeVar

from cryptography import x509

from mesh_fixtures.addresses import with_port
from mesh_fixtures.errors import ProbeError
from mesh_fixtures.kube import KubeClient, Pipe, Pod, Source, exec_source
from mesh_fixtures.patience import patient, whole
from mesh_fixtures.probe.identities import spiffe_ids
from mesh_fixtures.probe.untrusted import UntrustedClient
from mesh_fixtures.workloads import PLAIN_CLIENT

MESH_ALPN: Final = "istio"
"""Protocol by which a sidecar knows that its peer is one (Istio: ALPN of auto mutual TLS)."""

SECONDS: Final = 15.0
"""For an attempt to come to an end. A refusal takes milliseconds."""

_CONNECTED: Final = "connected"
# nc does not say whether it is connected, which is to be told from a connection that was refused.
_SCRIPT: Final = """
if command -v bash >/dev/null
then exec bash -c "$1" pipe "$4" "$5"
fi
seconds=$(curl --silent --output /dev/null --noproxy '*' --max-time "$2" \\
    --write-out '%{time_connect}' "http://$3/")
case $seconds in
*[1-9]*) printf connected >&2 && exec nc "$4" "$5" ;;
*) printf 'nothing accepts a connection' >&2 && exit 1 ;;
esac
"""
# Ends with whichever of the two directions ends first, and in any case by itself.
_BASH: Final = """
exec 3<>"/dev/tcp/$1/$2" && printf connected >&2 || exit 1
exec 4<&0
cat <&4 >&3 &
cat <&3 &
wait -n
kill $(jobs -p) 2>/dev/null
"""
_LIMIT_SECONDS: Final = 45
_CONNECT_SECONDS: Final = 5
_RESET: Final = "reset by peer"
_CLOSED: Final = "connection closed"
_ALERT_PREFIX: Final = "alert "
_ALERT: Final = re.compile(r"ALERT_(\w+)")
_SHOWN: Final = 60
_HANDSHAKE: Final = b"\x16"
"""Type of a record."""

_RECORD_HEADER: Final = 5
_MESSAGE_HEADER: Final = 4
_CERTIFICATES: Final = b"\x0b"
"""Type of a message of a handshake."""

Result = TypeVar("Result")


@dataclass(frozen=True)
class Hello:
    """How a client introduces itself.

    Attributes:
        server_name: what it asks for (SNI).
        certificate: what it shows of itself; None for nothing.
    """

    server_name: str
    protocols: tuple[str, ...] = (MESH_ALPN,)
    certificate: UntrustedClient | None = None


@dataclass(frozen=True)
class TlsAttempt:
    """What became of an attempt to be served.

    Attributes:
        server: SPIFFE ids of the server's certificate; None when the handshake did not come to it.
        certificate: the server's, also where the handshake failed after it.
        refusal: how it was refused, e.g. `alert unknown ca` or `connection closed`; empty when it
            was not, neither by an answer nor until the time was over.
        answer: the beginning of the server's response, apart from TLS itself.
    """

    source: Source
    server: tuple[str, ...] | None
    refusal: str
    answer: str
    certificate: x509.Certificate | None = None

    @property
    def is_refused(self) -> bool:
        return bool(self.refusal) and not self.answer

    @property
    def by_tls(self) -> bool:
        """Whether a TLS server has refused it, who has seen what the client showed of itself."""
        return self.server is not None or self.refusal.startswith(_ALERT_PREFIX)

    def __str__(self) -> str:
        if self.answer:
            return f"the answer {self.answer!r}"
        return self.refusal or "a connection that stays open"


def attempt(
    kube: KubeClient,
    pod: Pod,
    address: str,
    port: int,
    request: bytes,
    hello: Hello | None,
    seconds: float | None = None,
) -> TlsAttempt:
    """Send a request from a plain client and see what comes of it.

    Args:
        hello: None for plain text.
        seconds: to wait for an end or for an answer; None for `patient(SECONDS)`.

    Raises:
        ProbeError: the pod could not try, or nothing accepts connections there.
    """
    seconds = patient(SECONDS) if seconds is None else seconds
    with _connected(kube, pod, address, port, seconds) as pipe:
        deadline = time.monotonic() + seconds
        if hello is None:
            pipe.send(request)
            seen = pipe.receive(deadline - time.monotonic())
            found = TlsAttempt(pipe.source, None, _ending(pipe) if not seen else "", _shown(seen))
        else:
            found = _speak_tls(pipe, hello, request, deadline)
    return replace(found, source=_by_hand(kube, pod, with_port(address, port), hello))


def _by_hand(kube: KubeClient, pod: Pod, target: str, hello: Hello | None) -> Source:
    """How a person comes closest to it: without the mesh's protocol, and without a certificate."""
    url = (
        (f"http://{target}",)
        if hello is None
        else ("--insecure", "--connect-to", f"::{target}", f"https://{hello.server_name}")
    )
    argv = ("curl", "--silent", "--verbose", *url)
    return exec_source(kube.name, pod.meta.namespace, pod.name, PLAIN_CLIENT, argv)


@contextmanager
def _connected(
    kube: KubeClient, pod: Pod, address: str, port: int, seconds: float
) -> Iterator[Pipe]:
    limit, tried = str(whole(_LIMIT_SECONDS)), str(whole(_CONNECT_SECONDS))
    target = with_port(address, port)
    script = ("sh", "-c", _SCRIPT, "pipe", _BASH, tried, target, address, str(port))
    argv = ("timeout", limit, *script)
    pipe = kube.pipe(pod.meta.namespace, pod.name, PLAIN_CLIENT, argv)
    try:
        deadline = time.monotonic() + seconds
        while _CONNECTED not in pipe.errors:
            if pipe.ended or time.monotonic() > deadline:
                raise ProbeError(
                    wanted=f"a connection to {target}, to see what is refused there",
                    seen=pipe.errors.strip() or "nothing accepts one",
                    where=f"{pipe.source.cluster} {pipe.source.subject}",
                    remedy="see GATEWAY-1 and CONTROL-1 first",
                )
            pipe.wait(deadline - time.monotonic())
        yield pipe
    finally:
        pipe.close()


class _TimeOver(Exception):
    """The server neither answered nor refused."""


def _speak_tls(pipe: Pipe, hello: Hello, request: bytes, deadline: float) -> TlsAttempt:
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = _context(hello).wrap_bio(incoming, outgoing, server_hostname=hello.server_name)
    received = b""
    server: x509.Certificate | None = None

    def step(operation: Callable[[], Result]) -> Result:
        nonlocal received
        while True:
            try:
                return operation()
            except ssl.SSLWantReadError:
                pipe.send(outgoing.read())
                data = pipe.receive(deadline - time.monotonic())
                received += data
                if data:
                    incoming.write(data)
                elif pipe.ended:
                    incoming.write_eof()
                else:
                    raise _TimeOver from None

    def ended(refusal: str, answer: bytes = b"") -> TlsAttempt:
        ids = None if server is None else spiffe_ids(server)
        shown = server or _certificate_in(received)
        return TlsAttempt(pipe.source, ids, refusal, _shown(answer), shown)

    try:
        step(client.do_handshake)
        server = _server(client)
        if request:
            client.write(request)
        return ended("", step(client.read))
    except _TimeOver:
        return ended("")
    except ssl.SSLZeroReturnError:
        return ended(_CLOSED)
    except ssl.SSLEOFError:
        return ended(_ending(pipe))
    except ssl.SSLError as error:
        alert = _ALERT.search(error.reason or "")
        if alert is None:  # what came is not TLS
            return ended("", received or str(error).encode())
        return ended(_ALERT_PREFIX + alert[1].replace("_", " ").lower())


def _context(hello: Hello) -> ssl.SSLContext:
    """Takes any server for what it says it is: it is the server that has to be careful here."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_alpn_protocols(hello.protocols)
    if hello.certificate is not None:
        with tempfile.TemporaryDirectory(prefix="mesh-conformance-") as folder:
            file = Path(folder) / "client.pem"
            file.write_bytes(hello.certificate.chain + hello.certificate.key)
            context.load_cert_chain(file)
    return context


def _server(client: ssl.SSLObject) -> x509.Certificate | None:
    shown = client.getpeercert(binary_form=True)
    return None if shown is None else x509.load_der_x509_certificate(shown)


def _certificate_in(received: bytes) -> x509.Certificate | None:
    """The server's certificate in what it sent of a handshake of TLS 1.2, in which a server that
    wants a client's certificate refuses one without it before the handshake is done. In one of TLS
    1.3, certificates are encrypted, and servers refuse later. Source: RFC 5246, 6.2.1 and 7.4.2.
    """
    messages = b""
    while received[:1] == _HANDSHAKE and len(received) >= _RECORD_HEADER:
        end = _RECORD_HEADER + int.from_bytes(received[3:_RECORD_HEADER])
        messages += received[_RECORD_HEADER:end]
        received = received[end:]
    while len(messages) >= _MESSAGE_HEADER:
        end = _MESSAGE_HEADER + int.from_bytes(messages[1:_MESSAGE_HEADER])
        if messages[:1] == _CERTIFICATES:
            first = messages[_MESSAGE_HEADER + 3 : end]  # after the length of them all
            encoded = first[3 : 3 + int.from_bytes(first[:3])]
            with suppress(ValueError):
                return x509.load_der_x509_certificate(encoded)
            return None
        messages = messages[end:]
    return None


def _ending(pipe: Pipe) -> str:
    if not pipe.ended:
        return ""
    return "connection reset" if _RESET in pipe.errors else _CLOSED


def _shown(answer: bytes) -> str:
    return answer[:_SHOWN].decode("latin-1").partition("\r\n")[0]
