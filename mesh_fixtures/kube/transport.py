"""Connections to one API server: requests and exec, each with a deadline and bounded retries."""

from __future__ import annotations

import copy
import json
import re
import shlex
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from http.client import HTTPException
from pathlib import Path
from typing import Any, Final, TypeVar

import urllib3
import websocket
from kubernetes.client.exceptions import ApiException

from mesh_fixtures import retries
from mesh_fixtures.errors import NotAdmitted, NotPermitted, ProbeError
from mesh_fixtures.kube.admission import refusal_in
from mesh_fixtures.kube.clock import Clock, read_clock
from mesh_fixtures.kube.connections import connected_client, open_websocket, read_configuration
from mesh_fixtures.kube.resources import PODS
from mesh_fixtures.kube.source import ExecResult, HttpAnswer, Source
from mesh_fixtures.kube.streams import CLOSE_SECONDS, Channels, Pipe, ask_forwarded
from mesh_fixtures.patience import patient
from mesh_fixtures.retries import Retry

CONNECT_SECONDS: Final = 5.0
READ_SECONDS: Final = 20.0

ATTEMPTS: Final = 3
"""Tries of a request that the network or a restarting API server may have cut short."""

PAUSE_SECONDS: Final = 0.3
"""Wait before the second try; it doubles before each further one."""

_STDOUT, _STDERR, _ERROR = 1, 2, 3
OK: Final = 200
NOT_AUTHENTICATED: Final = 401
BAD_REQUEST: Final = 400
FORBIDDEN: Final = 403
NOT_FOUND: Final = 404
CONFLICT: Final = 409
INVALID: Final = 422

MERGE: Final = "application/merge-patch+json"
"""What a PATCH is unless it says so. Source: RFC 7386."""

OPERATIONS: Final = "application/json-patch+json"
"""Source: RFC 6902."""

APPLY: Final = "application/apply-patch+yaml"
"""Source: Kubernetes, Server-Side Apply."""

_TEMPORARY: Final = frozenset({429, 500, 502, 503, 504})
_NO_PERMISSION: Final = re.compile(r'User "[^"]*" cannot ')

_UNREACHABLE: Final = (urllib3.exceptions.HTTPError, ApiException, OSError)
"""What is raised where no answer comes. The library has its own for TLS that fails."""

Body = Mapping[str, Any] | Sequence[Mapping[str, Any]] | str
"""What is sent with a request."""

Result = TypeVar("Result")


class Refused(Exception):
    """The API server answered with an HTTP status that is no success."""

    def __init__(self, status: int, message: str) -> None:
        self.status = status
        super().__init__(f"{status}: {message}")


class Transport:
    """Speaks to the API server of one kubeconfig file. Thread-safe.

    The client library's generated methods take 1 s to import: what lies under them is used instead.

    Args:
        cluster: name for errors and sources, and context within the file.
        kubeconfig: used as it is; never written to, and no other file is looked at.

    Attributes:
        clock: the API server's, by its last answer; None before the first that says the time.

    Raises:
        ProbeError: the file cannot be used.
    """

    def __init__(self, cluster: str, kubeconfig: Path) -> None:
        self.cluster = cluster
        self.clock: Clock | None = None
        self._configuration = read_configuration(cluster, kubeconfig)
        self._client = connected_client(cluster, self._configuration)

    def close(self) -> None:
        """Close idle connections."""
        self._client.close()

    def read(self, source: Source, path: str, query: Mapping[str, str]) -> Any:
        """The JSON at a path of the API server, or None when there is no such object.

        Raises:
            ProbeError: refused, or unreachable in every one of `ATTEMPTS` tries.
        """
        try:
            return self.send(source, "GET", path, query=query)
        except Refused as error:
            if error.status == NOT_FOUND:
                return None
            raise refusal(source, error) from error

    def send(
        self,
        source: Source,
        method: str,
        path: str,
        body: Body | None = None,
        query: Mapping[str, str] | None = None,
        *,
        attempts: int = ATTEMPTS,
        seconds: float | None = None,
        form: str = MERGE,
    ) -> Any:
        """The JSON that the API server answers to a request. One that was cut short is made again,
        so that it may have been done already.

        Args:
            body: text is sent as it is.
            form: media type of a PATCH.
            seconds: for the answer to each attempt; None for `patient(READ_SECONDS)`.

        Raises:
            Refused: with another HTTP status than success.
            ProbeError: the API server was unreachable in every attempt.
        """
        try:
            return self._attempt(
                source, lambda: self._send(method, path, body, query or {}, seconds, form), attempts
            )
        except (*_UNREACHABLE, ValueError) as error:
            raise _failed(source, f"an answer to: {source.asked}", _reason(error)) from error

    def text(self, source: Source, path: str, query: Mapping[str, str]) -> str:
        """The text at a path of the API server, e.g. a log.

        Raises:
            ProbeError: refused, or unreachable in every one of `ATTEMPTS` tries.
        """
        try:
            return _text(self._attempt(source, lambda: self._exchange("GET", path, None, query)))
        except Refused as error:
            raise refusal(source, error) from error
        except _UNREACHABLE as error:
            raise _failed(source, f"an answer to: {source.asked}", _reason(error)) from error

    def watch(self, source: Source, path: str, seconds: float) -> Iterator[Any]:
        """An object as it is now, and again whenever it changes; ends when it did not for a time,
        or the API server ends it. Source: Kubernetes API concepts, efficient detection of changes.

        Args:
            path: of the object, which need not be there yet.
            seconds: that it need not change for.

        Raises:
            ProbeError: refused, or unreachable in every one of `ATTEMPTS` tries.
        """
        collection, _, name = path.rpartition("/")
        query = (("watch", "true"), ("fieldSelector", f"metadata.name={name}"))

        def opened() -> Any:
            response = self._open("GET", collection, None, query, seconds)
            if response.status != OK:
                raise Refused(response.status, _message(response.read()) or response.reason)
            return response.response

        try:
            response = self._attempt(source, opened)
        except Refused as error:
            raise refusal(source, error) from error
        except _UNREACHABLE as error:
            raise _failed(source, f"an answer to: {source.asked}", _reason(error)) from error
        try:
            with suppress(urllib3.exceptions.HTTPError, OSError):
                for line in response:
                    yield json.loads(line)["object"]
        finally:
            response.close()

    def accepts(self, source: Source, token: str) -> bool:
        """Whether the API server takes a bearer token for somebody's, whatever that one may do.

        Raises:
            ProbeError: the API server could not be asked.
        """
        return bool(self._as_bearer(source, token, "GET", "/version").status != NOT_AUTHENTICATED)

    def ask_as(
        self, source: Source, token: str, method: str, path: str, body: Mapping[str, Any]
    ) -> Any:
        """The JSON that the API server answers to whom a bearer token belongs to.

        Raises:
            ProbeError: the API server could not be asked, or refuses.
        """
        response = self._as_bearer(source, token, method, path, body)
        content: bytes = response.read()
        if not 200 <= response.status < 300:
            raise refusal(source, Refused(response.status, _message(content) or response.reason))
        try:
            return json.loads(content)
        except ValueError as error:
            raise _failed(source, f"an answer to: {source.asked}", _reason(error)) from error

    def _as_bearer(
        self,
        source: Source,
        token: str,
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
    ) -> Any:
        """The answer to a request of another client, whatever its status."""
        configuration = copy.copy(self._configuration)
        configuration.cert_file = configuration.key_file = configuration.refresh_api_key_hook = None
        configuration.api_key, configuration.api_key_prefix = {}, {}
        headers = {"Accept": "application/json", "Authorization": f"Bearer {token}"}
        if body is not None:
            headers["Content-Type"] = "application/json"
        url = f"{configuration.host}{path}"
        asking = connected_client(self.cluster, configuration)
        try:
            return asking.call_api(
                method, url, headers, body=body, _request_timeout=_request_timeout()
            )
        except _UNREACHABLE as error:
            raise _failed(source, "an API server that judges a token", _reason(error)) from error
        finally:
            asking.close()

    def exec(
        self,
        namespace: str,
        pod: str,
        container: str,
        argv: Sequence[str],
        timeout: float,
        follow: Callable[[bytes], None] | None = None,
    ) -> ExecResult:
        """Run a command in a container and wait for its end. It is never run twice.

        Args:
            follow: called with all output so far whenever there is more.
            timeout: seconds that the command may take once it is started, and starting it may; a
                command that takes longer is left alone.

        Raises:
            ProbeError: it could not be started, did not end in time, or the connection was lost.
        """
        source = exec_source(self.cluster, namespace, pod, container, argv)
        begun = time.monotonic()
        try:
            socket = self._attempt(
                source, lambda: self._connect(namespace, pod, container, argv, timeout)
            )
            try:
                socket.socket.settimeout(timeout)  # for a frame that never becomes complete
                _follow(socket, timeout, follow or _ignore)
                if socket.is_open():
                    raise _unfinished(source, f"still running after {timeout:g} s")
                status = socket.read_channel(_ERROR)
                stdout, stderr = socket.read_channel(_STDOUT), socket.read_channel(_STDERR)
            finally:
                socket.close(patient(CLOSE_SECONDS))
        except (*_UNREACHABLE, websocket.WebSocketException) as error:
            if _status_of(error) == FORBIDDEN:
                raise _not_permitted(source, _reason(error)) from error
            raise _unfinished(source, _reason(error)) from error
        return ExecResult(
            source=source,
            exit_status=exit_status(status, source, _text(stderr)),
            stdout=_text(stdout),
            stderr=_text(stderr),
            seconds=time.monotonic() - begun,
        )

    def ask(
        self, namespace: str, pod: str, port: int, path: str, timeout: float, method: str = "GET"
    ) -> HttpAnswer:
        """What a port of a pod answers to a request without a body; it may listen on the loopback
        address only.

        Args:
            timeout: seconds that nothing may come for.

        Raises:
            ProbeError: the port cannot be reached, or what listens there speaks no HTTP.
        """
        source = forward_source(self.cluster, namespace, pod, port, path, method)
        try:
            socket = self._attempt(source, lambda: self._forward(namespace, pod, port, timeout))
            try:
                socket.settimeout(timeout)
                status, body = ask_forwarded(socket, path, method)
            finally:
                socket.shutdown()
        except (*_UNREACHABLE, HTTPException, websocket.WebSocketException) as error:
            if _status_of(error) == FORBIDDEN:
                raise _not_permitted(source, _reason(error)) from error
            raise _failed(source, f"an answer to: {source.asked}", _reason(error)) from error
        return HttpAnswer(source, status, _text(body))

    def _forward(self, namespace: str, pod: str, port: int, timeout: float) -> Any:
        """A connection to a port of a pod."""
        query = [("ports", str(port))]
        return self._open_websocket(PODS.path(namespace, pod, "portforward"), query, timeout)

    def _open_websocket(self, path: str, query: Sequence[tuple[str, str]], seconds: float) -> Any:
        _, url, headers, *_ = self._request("GET", path, query)
        return open_websocket(
            self._client.rest_client.pool_manager,
            url,
            headers.get("authorization", ""),
            patient(CONNECT_SECONDS),
            seconds,
        )

    def _request(
        self,
        method: str,
        path: str,
        query: Sequence[tuple[str, str]],
        body: Body | None = None,
        form: str = MERGE,
    ) -> Any:
        """Method, URL, headers, body and form of an authenticated request."""
        headers = {"Accept": "application/json"}
        if body is not None:
            headers["Content-Type"] = form if method == "PATCH" else "application/json"
        return self._client.param_serialize(
            method,
            path,
            query_params=list(query),
            header_params=headers,
            body=body,
            auth_settings=["BearerToken"],
        )

    def _send(
        self,
        method: str,
        path: str,
        body: Body | None,
        query: Mapping[str, str],
        seconds: float | None,
        form: str,
    ) -> Any:
        return json.loads(self._exchange(method, path, body, query, seconds, form))

    def _exchange(
        self,
        method: str,
        path: str,
        body: Body | None,
        query: Mapping[str, str],
        seconds: float | None = None,
        form: str = MERGE,
    ) -> bytes:
        response = self._open(method, path, body, list(query.items()), seconds, form)
        content: bytes = response.read()
        if not 200 <= response.status < 300:
            raise Refused(response.status, _message(content) or response.reason)
        return content

    def _open(
        self,
        method: str,
        path: str,
        body: Body | None,
        query: Sequence[tuple[str, str]],
        seconds: float | None,
        form: str = MERGE,
    ) -> Any:
        """The beginning of the answer to a request, whatever its status."""
        request = self._request(method, path, query, body, form)
        connecting, reading = _request_timeout()
        timeout = (connecting, reading if seconds is None else seconds)
        asked = time.time()
        response = self._client.call_api(*request, _request_timeout=timeout)
        self.clock = read_clock(response.getheader("Date", ""), asked, time.time()) or self.clock
        return response

    def pipe(self, namespace: str, pod: str, container: str, argv: Sequence[str]) -> Pipe:
        """Start a command in a container, to exchange bytes with it.

        Raises:
            ProbeError: it could not be started.
        """
        source = exec_source(self.cluster, namespace, pod, container, argv)
        try:
            seconds = patient(READ_SECONDS)
            socket = self._attempt(
                source, lambda: self._connect(namespace, pod, container, argv, seconds, stdin=True)
            )
        except (*_UNREACHABLE, websocket.WebSocketException) as error:
            if _status_of(error) == FORBIDDEN:
                raise _not_permitted(source, _reason(error)) from error
            raise _failed(source, f"to run: {source.asked}", _reason(error)) from error
        return Pipe(source, socket)

    def _connect(
        self,
        namespace: str,
        pod: str,
        container: str,
        argv: Sequence[str],
        seconds: float,
        *,
        stdin: bool = False,
    ) -> Channels:
        query = [("container", container), ("stdout", "true"), ("stderr", "true")]
        query += [("stdin", "true")] if stdin else []
        query += [("command", argument) for argument in argv]
        path = PODS.path(namespace, pod, "exec")
        return Channels(self._open_websocket(path, query, seconds))

    def _attempt(
        self, source: Source, call: Callable[[], Result], attempts: int = ATTEMPTS
    ) -> Result:
        for attempt in range(1, attempts + 1):
            try:
                return call()
            except (Refused, *_UNREACHABLE, websocket.WebSocketException) as error:
                if attempt == attempts or not _is_temporary(error):
                    raise
                retries.tell(Retry(self.cluster, source.subject, _reason(error)))
            time.sleep(PAUSE_SECONDS * 2 ** (attempt - 1))
        raise AssertionError("unreachable")


def _request_timeout() -> tuple[float, float]:
    """Seconds to connect and to read."""
    return patient(CONNECT_SECONDS), patient(READ_SECONDS)


def _follow(socket: Any, timeout: float, follow: Callable[[bytes], None]) -> None:
    """Read what comes until the connection is closed or the time is over."""
    end = time.monotonic() + timeout
    while socket.is_open() and (left := end - time.monotonic()) > 0:
        socket.update(timeout=left)
        follow(socket.peek_channel(_STDOUT))


def _ignore(output: bytes) -> None:
    del output


def exec_source(
    cluster: str, namespace: str, pod: str, container: str, argv: Sequence[str]
) -> Source:
    """The source of what a command in a container says."""
    where = ("kubectl", f"--context={cluster}", "-n", namespace, "exec", pod, "-c", container)
    return Source(cluster, f"{namespace}/{pod} ({container})", shlex.join((*where, "--", *argv)))


def forward_source(
    cluster: str, namespace: str, pod: str, port: int, path: str, method: str = "GET"
) -> Source:
    """The source of what a port of a pod answers."""
    forward = f"kubectl --context={cluster} -n {namespace} port-forward {pod} {port}"
    changing = "" if method == "GET" else f"-X {method} "
    asked = f"{forward} & curl {changing}{shlex.quote(f'localhost:{port}{path}')}"
    return Source(cluster, f"{namespace}/{pod}:{port}", asked)


def exit_status(status: bytes, source: Source, stderr: str = "") -> int:
    """Exit status out of the error channel of an exec (Kubernetes: Status v1).

    Raises:
        ProbeError: the command did not run, or its end is unknown.
    """
    try:
        parsed: Mapping[str, Any] = json.loads(status)
        if parsed.get("status") == "Success":
            return 0
        causes = (parsed.get("details") or {}).get("causes") or ()
        for cause in causes:
            if cause.get("reason") == "ExitCode":
                return int(cause["message"])
    except (ValueError, AttributeError, KeyError):
        raise _unfinished(source, "the connection ended before the command did") from None
    raise _unfinished(source, str(parsed.get("message") or stderr or "it did not run"))


def _is_temporary(error: BaseException) -> bool:
    """Whether another try may succeed, and cannot do what this one has done already."""
    if isinstance(error, websocket.WebSocketTimeoutException):
        return False
    status = _status_of(error)
    return status == 0 or status in _TEMPORARY


def _status_of(error: BaseException) -> int:
    """HTTP status that the API server answered with; 0 without an answer."""
    if isinstance(error, Refused):
        return error.status
    if isinstance(error, websocket.WebSocketBadStatusException):
        return error.status_code
    return 0


def refusal(source: Source, error: Refused) -> ProbeError:
    """What to raise where the API server's refusal is no answer."""
    if error.status == FORBIDDEN:
        return _not_permitted(source, str(error))
    remedy = "log in again, so that the kubeconfig holds credentials that are valid"
    return _failed(
        source,
        f"an answer to: {source.asked}",
        str(error),
        remedy if error.status == NOT_AUTHENTICATED else "",
    )


def refusal_of_change(source: Source, error: Refused) -> ProbeError:
    """What to raise where the API server refuses to make or change an object."""
    if not _is_admission(error.status, str(error)):
        return refusal(source, error)
    return NotAdmitted(
        wanted=f"the API server to admit: {source.asked}",
        seen=str(error),
        where=f"{source.cluster} {source.subject}",
    )


def _is_admission(status: int, message: str) -> bool:
    """Whether who asks may do it, but what they ask for is not admitted."""
    if status in (BAD_REQUEST, INVALID) or refusal_in(message).kind:
        return True
    is_forbidden = status == FORBIDDEN and " is forbidden: " in message
    return is_forbidden and not _NO_PERMISSION.search(message)


def _not_permitted(source: Source, seen: str) -> NotPermitted:
    return NotPermitted(
        wanted=f"permission to: {source.asked}",
        seen=seen,
        where=f"{source.cluster} {source.subject}",
        remedy="mesh-conformance rbac prints the roles that it needs",
    )


def _message(body: bytes) -> str:
    """What a Status says; empty when it is none."""
    try:
        return str(json.loads(body)["message"])
    except (ValueError, KeyError, TypeError):
        return ""


def _reason(error: BaseException) -> str:
    reason = error.reason if isinstance(error, ApiException) else error
    return str(reason) or type(error).__name__


def _text(data: bytes | str) -> str:
    return data if isinstance(data, str) else data.decode("utf-8", "replace")


def _unfinished(source: Source, seen: str) -> ProbeError:
    return _failed(source, f"the end of: {source.asked}", seen)


def _failed(source: Source, wanted: str, seen: str, remedy: str = "") -> ProbeError:
    where = f"{source.cluster} {source.subject}"
    return ProbeError(wanted=wanted, seen=seen, where=where, remedy=remedy)
