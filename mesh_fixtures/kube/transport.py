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
from kubernetes import client, config, stream
from kubernetes.client.exceptions import ApiException

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

_api: Any = client
_config: Any = config
_stream: Any = stream

Result = TypeVar("Result")


class Transport:
    """Speaks to the API server of one kubeconfig file. Thread-safe.

    Args:
        cluster: name for errors and sources, and context within the file.
        kubeconfig: used as it is; never written to, and no other file is looked at.

    Raises:
        ProbeError: the file cannot be used.
    """

    def __init__(self, cluster: str, kubeconfig: Path) -> None:
        self.cluster = cluster
        self._configuration = _api.Configuration()
        try:
            _config.load_kube_config(
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
        self._client = _api.ApiClient(self._configuration)

    def close(self) -> None:
        """Close idle connections."""
        self._client.close()

    def read(self, source: Source, api: str, method: str, *args: str, **options: str) -> Any:
        """The JSON that a generated method of an API group returns, or None when there is no such
        object.

        Args:
            api: class of the client library, e.g. `CoreV1Api`.
            method: e.g. `list_namespaced_pod`.

        Raises:
            ProbeError: refused, or unreachable in every one of `ATTEMPTS` tries.
        """
        call = getattr(getattr(_api, api)(self._client), method)
        timeout = (CONNECT_SECONDS, READ_SECONDS)

        def once() -> Any:
            response = call(*args, **options, _preload_content=False, _request_timeout=timeout)
            return json.loads(response.data)

        try:
            return self._attempt(once)
        except ApiException as error:
            if error.status == 404:
                return None
            raise _unread(source, _reason(error)) from error
        except (urllib3.exceptions.HTTPError, OSError, ValueError) as error:
            raise _unread(source, _reason(error)) from error

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
        # stream() swaps a method of its client while it connects: a client for each call.
        connection = _api.ApiClient(self._configuration)
        try:
            socket = self._attempt(
                lambda: _stream.stream(
                    _api.CoreV1Api(connection).connect_get_namespaced_pod_exec,
                    pod,
                    namespace,
                    container=container,
                    command=list(argv),
                    stdin=False,
                    stdout=True,
                    stderr=True,
                    tty=False,
                    binary=True,
                    _preload_content=False,
                )
            )
            try:
                socket.sock.settimeout(timeout)  # for a frame that never becomes complete
                socket.run_forever(timeout=timeout)
                if socket.is_open():
                    raise _unfinished(source, f"still running after {timeout:g} s")
                # Reading everything would drop the channel that holds the exit status.
                status = socket.read_channel(_ERROR)
                stdout, stderr = socket.read_channel(_STDOUT), socket.read_channel(_STDERR)
            finally:
                with suppress(OSError, websocket.WebSocketException):
                    socket.close(timeout=1)
        except (ApiException, websocket.WebSocketException, OSError) as error:
            raise _unfinished(source, _reason(error)) from error
        finally:
            connection.close()
        return ExecResult(
            source=source,
            exit_status=exit_status(status, source, _text(stderr)),
            stdout=_text(stdout),
            stderr=_text(stderr),
            seconds=time.monotonic() - begun,
        )

    def _attempt(self, call: Callable[[], Result]) -> Result:
        for attempt in range(1, ATTEMPTS + 1):
            try:
                return call()
            except (ApiException, urllib3.exceptions.HTTPError, OSError) as error:
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
    if not isinstance(error, ApiException):
        return True
    handshake = _HANDSHAKE.search(str(error.reason))
    status = int(handshake.group(1)) if handshake else error.status
    return not status or status in _TEMPORARY


def _reason(error: BaseException) -> str:
    if isinstance(error, ApiException) and error.body:
        with suppress(ValueError, AttributeError):
            return f"{error.status}: {json.loads(error.body).get('message')}"
    if isinstance(error, ApiException):
        return f"{error.status or 'no answer'}: {error.reason}"
    return str(error) or type(error).__name__


def _text(data: bytes | str) -> str:
    return data if isinstance(data, str) else data.decode("utf-8", "replace")


def _unread(source: Source, seen: str) -> ProbeError:
    return ProbeError(
        wanted=f"an answer to {source.asked}",
        seen=seen,
        where=f"{source.cluster} {source.subject}",
    )


def _unfinished(source: Source, seen: str) -> ProbeError:
    return ProbeError(
        wanted=f"the end of: {source.asked}",
        seen=seen,
        where=f"{source.cluster} {source.subject}",
    )
