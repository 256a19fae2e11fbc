"""Calls by gRPC from the plain client, which has no proxy.

They are made by curl, as HTTP/2 that gRPC is. Source: gRPC over HTTP/2; curl's manual.
"""

from __future__ import annotations

import base64
import re
from dataclasses import dataclass, replace
from typing import Final

from mesh_fixtures.errors import ProbeError
from mesh_fixtures.kube import ExecResult, KubeClient, Pod, Source, exec_source
from mesh_fixtures.patience import patient
from mesh_fixtures.probe.untrusted import UntrustedClient
from mesh_fixtures.workloads import PLAIN_CLIENT

REFUSED: Final = frozenset({7, 12, 16})
"""PERMISSION_DENIED, UNIMPLEMENTED, UNAUTHENTICATED: the server does not serve who called, or
nobody (source: gRPC, Status codes)."""

UNKNOWN: Final = frozenset({2, 4, 8, 13, 14})
"""UNKNOWN, DEADLINE_EXCEEDED, RESOURCE_EXHAUSTED, INTERNAL, UNAVAILABLE: trouble that says nothing
about who called. An istiod to which many connect at once turns streams away before it asks who they
are of (source: Istio, `pilot/pkg/xds/ads.go`, WaitForRequestLimit)."""

SECONDS: Final = 6.0

_MARGIN_SECONDS: Final = 10
_SHOWN: Final = 200
_STATUS: Final = re.compile(r"^grpc-status: *(\d+)\s*$", re.MULTILINE | re.IGNORECASE)
_MESSAGE: Final = re.compile(r"^grpc-message: *(.*?)\s*$", re.MULTILINE | re.IGNORECASE)
# A body comes by the standard input, since a command line holds no zero bytes; a certificate and
# its key by further descriptors, as the container may have no file system to write to.
_SCRIPT: Final = """
body=$1 chain=$2 key=$3
shift 3
[ -z "$chain" ] || set -- --cert /dev/fd/3 --key /dev/fd/4 "$@"
if [ -n "$body" ]
then printf %s "$body" | base64 -d | curl "$@" --data-binary @-
else curl "$@"
fi 3<<CHAIN 4<<KEY
$chain
CHAIN
$key
KEY
"""


@dataclass(frozen=True)
class GrpcAnswer:
    """How a call ended, other than by trouble.

    Attributes:
        status: e.g. 0 for OK, 16 for UNAUTHENTICATED.
        message: the server's words about it.
    """

    source: Source
    status: int
    message: str

    @property
    def is_refused(self) -> bool:
        """Whether the server has refused who called, whatever was asked for."""
        return self.status in REFUSED

    def __str__(self) -> str:
        return f"gRPC status {self.status} {self.message}".rstrip()


def call(
    kube: KubeClient,
    pod: Pod,
    target: str,
    method: str,
    message: bytes | None,
    token: str = "",
    certificate: UntrustedClient | None = None,
) -> GrpcAnswer:
    """Call a method from a plain client, over TLS, whoever the server is.

    Args:
        target: `host:port`.
        method: `package.Service/Method`.
        message: the only one that is sent, as protobuf; None for none.
        token: bearer token.
        certificate: what the client shows of itself; None for nothing.

    Raises:
        ProbeError: the pod could not call, or as `read_answer`.
    """
    url = f"https://{target}/{method}"
    seconds = patient(SECONDS)
    framed = b"" if message is None else b"\0" + len(message).to_bytes(4, "big") + message
    credentials = ("--header", f"authorization: Bearer {token}") if token else ()
    curl = (
        *("--silent", "--show-error", "--insecure", "--http2", "--noproxy", "*"),
        *("--max-time", f"{seconds:g}", "--request", "POST"),
        *("--header", "content-type: application/grpc", "--header", "te: trailers"),
        *("--dump-header", "-", "--output", "/dev/null", url),
    )
    where = (pod.meta.namespace, pod.name, PLAIN_CLIENT)
    shown = ("", "")
    if certificate is not None:
        shown = (certificate.chain.decode(), certificate.key.decode())
    body = base64.b64encode(framed).decode()
    argv = ("sh", "-c", _SCRIPT, "call", body, *shown, *credentials, *curl)
    result = kube.exec(*where, argv, timeout=seconds + patient(_MARGIN_SECONDS))
    return read_answer(replace(result, source=exec_source(kube.name, *where, ("curl", *curl))))


def read_answer(result: ExecResult) -> GrpcAnswer:
    """Read the headers and trailers that curl printed.

    Raises:
        ProbeError: they tell of no answer by gRPC, or of one that says nothing about who called.
    """
    status, message = _STATUS.search(result.stdout), _MESSAGE.search(result.stdout)
    if status is None or int(status[1]) in UNKNOWN:
        output = result.stderr.strip() or result.stdout.strip() or "nothing"
        raise ProbeError(
            wanted="an answer by gRPC",
            seen=f"exit status {result.exit_status}, {output[-_SHOWN:]}",
            where=f"{result.source.cluster} {result.source.subject}",
            remedy="see CONTROL-1 and GATEWAY-1 first",
        )
    return GrpcAnswer(result.source, int(status[1]), message[1] if message else "")
