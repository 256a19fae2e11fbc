"""Connections to one API server: reads and exec, each with a deadline and bounded retries."""

from __future__ import annotations

import json
import re
import shlex
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, TypeVar

import urllib3
import websocket
import yaml
from kubernetes import client, config
from kubernetes.client.exceptions import ApiException
from kubernetes.stream import ws_client

from mesh_fixtures.errors import ProbeError
from mesh_fixtures.kube.source import ExecResult, Source

CONNECT_SECONDS: Final = 5.0
READ_SECONDS: Final = 20.0

ATTEMPTS: Final = 3
"""Tries of a request that the network or a restarting API server may have cut short."""

PAUSE_SECONDS: Final = 0.3
"""Wait before the second try; it doubles before each further one."""

_STDOUT, _STDERR, _ERROR = 1, 2, 3
_TEMPORARY: Final = frozenset({429, 500, 502, 503, 504})
_HANDSHAKE: Final = re.compile(r"Handshake status (\d{3})")

_library: Any = client
_kubeconfig: Any = config
_websockets: Any = ws_client

Result = TypeVar("Result")


class _Refused(Exception):
    """The API server answered with an HTTP status that is no success."""

    def __init__(self, status: int, message: str) -> None:
        self.status = status
        super().__init__(f"{status}: {message}")


class Transport:
    """Speaks to the API server of one kubeconfig file. Thread-safe.

    The client library's generated methods take 1 s to import, and its `stream` swaps a method of a
    shared client while it connects: what lies under both is used instead.

    Args:
        cluster: name for errors and sources, and context within the file.
        kubeconfig: used as it is; never written to, and no other file is looked at.

    Raises:
        ProbeError: the file cannot be used.
    """

    def __init__(self, cluster: str, kubeconfig: Path) -> None:
        self.cluster = cluster
        self._configuration = _library.Configuration()
        try:
            _kubeconfig.load_kube_config(
                config_file=str(kubeconfig),
                context=cluster,
                client_configuration=self._configuration,
                persist_config=False,
            )
        except (config.ConfigException, yaml.YAMLError, OSError) as error:
            raise ProbeError(
                wanted=f"a kubeconfig with the context {cluster}",
                seen=str(error),
                where=str(kubeconfig),
            ) from error
        self._configuration.retries = False
        # API servers are asked directly, whatever the environment says of proxies.
        self._configuration.proxy = None
        self._configuration.no_proxy = "*"
        self._client = _library.ApiClient(self._configuration)

    def close(self) -> None:
        """Close idle connections."""
        self._client.close()

    def read(self, source: Source, path: str, query: Mapping[str, str]) -> Any:
        """The JSON at a path of the API server, or None when there is no such object.

        Raises:
            ProbeError: refused, or unreachable in every one of `ATTEMPTS` tries.
        """
        try:
            return self._attempt(lambda: self._get(path, query))
        except _Refused as error:
            if error.status == 404:
                return None
            raise _failed(source, f"an answer to: {source.asked}", str(error)) from error
        except (urllib3.exceptions.HTTPError, OSError, ValueError) as error:
            raise _failed(source, f"an answer to: {source.asked}", _reason(error)) from error

    def exec(
        self, namespace: str, pod: str, container: str, argv: Sequence[str], timeout: float
    ) -> ExecResult:
        """Run a command in a container and wait for its end. It is never run twice.

        Args:
            timeout: seconds that the command may take; a command that takes longer is left alone.
                Connecting, which the library gives no limit, ends with the kernel's: 2 minutes.

        Raises:
            ProbeError: it could not be started, did not end in time, or the connection was lost.
        """
        source = exec_source(self.cluster, namespace, pod, container, argv)
        begun = time.monotonic()
        try:
            socket = self._attempt(lambda: self._connect(namespace, pod, container, argv))
            try:
                socket.sock.settimeout(timeout)  # for a frame that never becomes complete
                socket.run_forever(timeout=timeout)
                if socket.is_open():
                    raise _unfinished(source, f"still running after {timeout:g} s")
                status = socket.read_channel(_ERROR)
                stdout, stderr = socket.read_channel(_STDOUT), socket.read_channel(_STDERR)
            finally:
                with suppress(OSError, websocket.WebSocketException):
                    socket.close(timeout=1)
                socket.sock.shutdown()  # which close() leaves out when the server closed first
        except (ApiException, websocket.WebSocketException, OSError) as error:
            raise _unfinished(source, _reason(error)) from error
        return ExecResult(
            source=source,
            exit_status=exit_status(status, source, _text(stderr)),
            stdout=_text(stdout),
            stderr=_text(stderr),
            seconds=time.monotonic() - begun,
        )

    def _request(self, path: str, query: Sequence[tuple[str, str]]) -> Any:
        """Method, URL, headers, body and form of an authenticated GET."""
        return self._client.param_serialize(
            "GET",
            path,
            query_params=list(query),
            header_params={"Accept": "application/json"},
            auth_settings=["BearerToken"],
        )

    def _get(self, path: str, query: Mapping[str, str]) -> Any:
        request = self._request(path, list(query.items()))
        response = self._client.call_api(*request, _request_timeout=(CONNECT_SECONDS, READ_SECONDS))
        body = response.read()
        if not 200 <= response.status < 300:
            raise _Refused(response.status, _message(body) or response.reason)
        return json.loads(body)

    def _connect(self, namespace: str, pod: str, container: str, argv: Sequence[str]) -> Any:
        query = [("container", container), ("stdout", "true"), ("stderr", "true")]
        query += [("command", argument) for argument in argv]
        path = f"/api/v1/namespaces/{namespace}/pods/{pod}/exec"
        method, url, headers, *_ = self._request(path, query)
        return _websockets.websocket_call(
            self._configuration, method, url, headers=headers, binary=True, _preload_content=False
        )

    def _attempt(self, call: Callable[[], Result]) -> Result:
        for attempt in range(1, ATTEMPTS + 1):
            try:
                return call()
            except (_Refused, ApiException, urllib3.exceptions.HTTPError, OSError) as error:
                # The library reports an interrupted connection attempt as one that failed.
                if isinstance(error.__context__, KeyboardInterrupt):
                    raise KeyboardInterrupt from error
                if attempt == ATTEMPTS or not _is_temporary(error):
                    raise
            time.sleep(PAUSE_SECONDS * 2 ** (attempt - 1))
        raise AssertionError("unreachable")


def exec_source(
    cluster: str, namespace: str, pod: str, container: str, argv: Sequence[str]
) -> Source:
    """The source of what a command in a container says."""
    where = ("kubectl", f"--context={cluster}", "-n", namespace, "exec", pod, "-c", container)
    return Source(cluster, f"{namespace}/{pod} ({container})", shlex.join((*where, "--", *argv)))


def exit_status(status: bytes, source: Source, stderr: str = "") -> int:
    """Exit status out of what the error channel of an exec said (Kubernetes: Status v1).

    Raises:
        ProbeError: the command did not run, or nothing was said about its end.
    """
    try:
        said: Mapping[str, Any] = json.loads(status)
        if said.get("status") == "Success":
            return 0
        causes = (said.get("details") or {}).get("causes") or ()
        for cause in causes:
            if cause.get("reason") == "ExitCode":
                return int(cause["message"])
    except (ValueError, AttributeError, KeyError):
        raise _unfinished(source, "the connection ended before the command did") from None
    raise _unfinished(source, str(said.get("message") or stderr or "it did not run"))


def _is_temporary(error: BaseException) -> bool:
    status = error.status if isinstance(error, _Refused) else 0
    if isinstance(error, ApiException):
        handshake = _HANDSHAKE.search(str(error.reason))
        status = int(handshake.group(1)) if handshake else 0
    return status == 0 or status in _TEMPORARY


def _message(body: bytes) -> str:
    """What a Status says; empty when it is none."""
    try:
        return str(json.loads(body)["message"])
    except (ValueError, KeyError, TypeError):
        return ""


def _reason(error: BaseException) -> str:
    said = error.reason if isinstance(error, ApiException) else error
    return str(said) or type(error).__name__


def _text(data: bytes | str) -> str:
    return data if isinstance(data, str) else data.decode("utf-8", "replace")


def _unfinished(source: Source, seen: str) -> ProbeError:
    return _failed(source, f"the end of: {source.asked}", seen)


def _failed(source: Source, wanted: str, seen: str) -> ProbeError:
    return ProbeError(wanted=wanted, seen=seen, where=f"{source.cluster} {source.subject}")
