"""Requests from every cluster's Sleep, one after the other, while something is done to the mesh.

One exec in each cluster sends over a fresh connection each time until it is stopped, and its output
is read as it comes. A few requests share a curl process, then there is a pause, so that clients
leave the machine to the mesh: at most `MOST_PER_SECOND`. Names are resolved once, beforehand, as
nothing that is done to a mesh concerns them. Times are those of the client, compared with this
process's clock beforehand: `/proc/uptime` is read without a process and in hundredths of a second
everywhere, which `date` and curl are not. Source: proc(5), curl's manual, `--write-out`.
"""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from mesh_fixtures.addresses import in_url
from mesh_fixtures.errors import ProbeError
from mesh_fixtures.kube import ExecResult, KubeClient, Source, exec_source
from mesh_fixtures.patience import patient
from mesh_fixtures.probe.traffic import (
    CONTAINER,
    FORMAT,
    REQUEST_SECONDS,
    Answer,
    Failure,
    helloworld_url,
)
from mesh_fixtures.probe.traffic import read_requests as read_records
from mesh_fixtures.probe.view import MeshView
from mesh_fixtures.probe.workloads import SLEEP
from mesh_fixtures.workloads import SERVICE

MOST_PER_SECOND: Final = 80
"""Requests of one client, by its pauses alone."""

BEGINNING_SECONDS: Final = 15.0
"""Until the first answer of each client has been read."""

_MANY: Final = 4
_PAUSE: Final = "0.05"
_MARGIN_SECONDS: Final = 15
_RESOLVE_SECONDS: Final = 10
_POLL_SECONDS: Final = 0.1

_PART: Final = "\x1c"
_END: Final = "\x1d"
# The file that it runs for is there before it, so that it can be stopped from its beginning on.
_CLOCK: Final = 'echo running > "$1" && cat /proc/uptime'
_STOP: Final = 'rm -f "$1"'
_RESOLVE: Final = 'curl -s --noproxy "*" -m "$2" -o /dev/null -w "%{remote_ip}" "$1"'
_SCRIPT: Final = """
read -r now rest < /proc/uptime
end=$((${now%.*} + $1)) next=1 many=1
while [ -e "$5" ] && [ "${now%.*}" -lt "$end" ]; do
  last=$((next + many - 1))
  printf "\\034%s\\n" "$now"
  if curl -s --noproxy "*" -m "$2" -H "Connection: close" --resolve "$8" -w "$3" "$4#[$next-$last]"
  then many=$6
  else many=1
  fi
  next=$((last + 1))
  sleep "$7"
  read -r now rest < /proc/uptime
done
how=stopped
[ -e "$5" ] && rm -f "$5" && how=early
printf "\\035%s %s\\n" "$next" "$how"
"""


@dataclass(frozen=True)
class TimedRequest:
    """A request and what became of it.

    Attributes:
        begun: seconds by this process's monotonic clock.
        seconds: until the answer had come or the request had failed.
    """

    begun: float
    seconds: float
    outcome: Answer | Failure

    @property
    def ended(self) -> float:
        return self.begun + self.seconds

    @property
    def failed(self) -> bool:
        return isinstance(self.outcome, Failure)

    @property
    def instance(self) -> str:
        """Name of the pod that answered; empty when none did."""
        return self.outcome.instance if isinstance(self.outcome, Answer) else ""

    @property
    def version(self) -> str:
        """Version that answered; empty when none did."""
        return self.outcome.version if isinstance(self.outcome, Answer) else ""


@dataclass(frozen=True)
class Stream:
    """All requests of one client, in order.

    Attributes:
        cluster: where the client is.
    """

    source: Source
    cluster: str
    requests: tuple[TimedRequest, ...]


class ContinuousTraffic:
    """Requests from every cluster while this context lasts, or until they are stopped before.

    Args:
        seconds: after which clients stop by themselves, whatever happens here.
        clusters: those that requests come from; None for all.
        service: by which they ask for HelloWorld.

    Raises:
        ProbeError: there is no ready Sleep, or it does not send.
    """

    def __init__(
        self,
        view: MeshView,
        *,
        seconds: int,
        clusters: Iterable[str] | None = None,
        service: str = SERVICE,
    ) -> None:
        self._kube = tuple(view.kube[name] for name in clusters or view.data_planes)
        self._seconds = seconds
        self._service = service
        self._clients: list[_Client] = []
        self._stopped = False

    def __enter__(self) -> ContinuousTraffic:
        threads = ThreadPoolExecutor(len(self._kube), thread_name_prefix="traffic")
        try:
            for kube in self._kube:
                self._clients.append(_Client(kube, self._service, self._seconds, threads))
            self._wait_for_first()
        except BaseException:
            self._try_to_stop()
            raise
        finally:
            threads.shutdown(wait=False)
        return self

    def __exit__(self, *_: object) -> None:
        if not self._stopped:
            self._try_to_stop()

    def so_far(self) -> Mapping[str, tuple[TimedRequest, ...]]:
        """What has been read of each client; by cluster.

        Raises:
            ProbeError: a client has come to its end, or its output cannot be read.
        """
        return {client.kube.name: client.so_far() for client in self._clients}

    def stop(self) -> Mapping[str, Stream]:
        """Stop all clients; every request is accounted for. By cluster.

        Raises:
            ProbeError: a client could not be stopped, or had come to its end before.
        """
        self._stopped = True
        for client in self._clients:
            client.stop()
        return {client.kube.name: client.finish() for client in self._clients}

    def _wait_for_first(self) -> None:
        seconds = patient(BEGINNING_SECONDS)
        deadline = time.monotonic() + seconds
        waiting = list(self._clients)
        while waiting:
            waiting = [client for client in waiting if not client.has_begun()]
            if waiting and time.monotonic() > deadline:
                raise ProbeError(
                    wanted=f"the end of Sleep's first request within {seconds:g} s",
                    seen="no output",
                    where=", ".join(client.kube.name for client in waiting),
                )
            time.sleep(_POLL_SECONDS)

    def _try_to_stop(self) -> None:
        """Those that cannot be stopped stop by themselves."""
        for client in self._clients:
            with suppress(ProbeError):
                client.stop()


class _Client:
    """Sleep of one cluster, which sends from now on."""

    def __init__(
        self, kube: KubeClient, service: str, seconds: int, threads: ThreadPoolExecutor
    ) -> None:
        self.kube = kube
        self._seconds = seconds
        self._file = f"/tmp/mesh-requests-{secrets.token_hex(4)}"  # noqa: S108
        self._target = helloworld_url(kube.sample_namespace, service)
        self._lock = threading.Lock()
        self._output = b""
        self._pod = kube.pod_of(kube.sample_namespace, SLEEP)
        limit = f"{patient(_RESOLVE_SECONDS):g}"
        resolved = self._run(_RESOLVE, self._target, limit, wanted="an address of HelloWorld")
        address = resolved.stdout.strip()
        self._resolved = f"{urlsplit(self._target).netloc}:{in_url(address)}"
        asked = time.monotonic()
        clock = self._run(_CLOCK, self._file, wanted="a file in /tmp of Sleep")
        self._ahead = uptime(clock) - (asked + time.monotonic()) / 2
        self._result = threads.submit(self._send)

    def stop(self) -> None:
        self._run(_STOP, self._file, wanted="the end of Sleep's requests")

    def has_begun(self) -> bool:
        """Whether its first requests have come to an end; then it may have come to its own."""
        ended = self._result.done()  # asked first: once it has ended, all of its output is there
        begun = bool(self._read_so_far())
        if ended and not begun:
            self._result.result()
            raise self._early()
        return begun

    def so_far(self) -> tuple[TimedRequest, ...]:
        if self._result.done():
            self._result.result()
            raise self._early()
        return self._read_so_far()

    def _read_so_far(self) -> tuple[TimedRequest, ...]:
        with self._lock:
            output = self._output.decode("utf-8", "replace")
        complete, _, _ = output.replace(_END, _PART).rpartition(_PART)
        return read_parts(complete, self._source(), self._ahead)

    def finish(self) -> Stream:
        result = self._result.result()
        parts, ended, following = result.stdout.rpartition(_END)
        requests = read_parts(parts, self._source(), self._ahead)
        number, _, how = following.strip().partition(" ")
        if not ended or number != str(len(requests) + 1):
            output = (result.stderr or following or result.stdout)[-200:].strip()
            what = f"exit status {result.exit_status}, {output or 'no output'}"
            raise _unaccounted(self._source(), what)
        if how == "early":
            raise self._early()
        return Stream(self._source(), self.kube.name, requests)

    def _send(self) -> ExecResult:
        seconds = patient(REQUEST_SECONDS)
        arguments = (
            *(str(self._seconds), f"{seconds:g}", FORMAT, self._target, self._file),
            *(str(_MANY), _PAUSE, self._resolved),
        )
        return self.kube.exec(
            self._pod.meta.namespace,
            self._pod.name,
            CONTAINER,
            ("sh", "-c", _SCRIPT, "requests", *arguments),
            timeout=self._seconds + _MANY * seconds + patient(_MARGIN_SECONDS),
            follow=self._read,
        )

    def _read(self, output: bytes) -> None:
        with self._lock:
            self._output = output

    def _run(self, script: str, *arguments: str, wanted: str) -> ExecResult:
        argv = ("sh", "-c", script, "requests", *arguments)
        result = self.kube.exec(self._pod.meta.namespace, self._pod.name, CONTAINER, argv)
        if result.exit_status != 0:
            raise ProbeError(
                wanted=wanted,
                seen=result.stderr.strip() or f"exit status {result.exit_status}",
                where=f"{result.source.cluster} {result.source.subject}",
            )
        return result

    def _source(self) -> Source:
        pod, argv = self._pod, ("curl", "-s", self._target)
        return exec_source(self.kube.name, pod.meta.namespace, pod.name, CONTAINER, argv)

    def _early(self) -> ProbeError:
        what = f"its requests came to an end, at the latest after {self._seconds} s"
        return _unaccounted(self._source(), what)


def uptime(result: ExecResult) -> float:
    """Seconds in the output of `/proc/uptime`.

    Raises:
        ProbeError: there are none.
    """
    try:
        return float(result.stdout.split()[0])
    except (ValueError, IndexError):
        source = result.source
        raise ProbeError(
            wanted="the uptime of Sleep's machine",
            seen=result.stdout[:200] or "nothing",
            where=f"{source.cluster} {source.subject}",
            remedy=f"by hand: {source.asked}",
        ) from None


def read_parts(printed: str, source: Source, ahead: float) -> tuple[TimedRequest, ...]:
    """Read what the script in Sleep printed, but for its last line.

    Requests of one process follow each other without a pause.

    Args:
        printed: parts that each begin with the client's uptime, in seconds.
        ahead: what the client's uptime is ahead of this process's monotonic clock, in seconds.

    Raises:
        ProbeError: a request is missing or cannot be read, or used a connection again.
    """
    found: list[TimedRequest] = []
    for part in printed.split(_PART)[1:]:
        clock, _, records = part.partition("\n")
        try:
            begun = float(clock) - ahead
        except ValueError:
            raise _unaccounted(source, f"{clock[:80]!r} is no time") from None
        for outcome in read_records(records, source):
            found.append(TimedRequest(begun, outcome.seconds, outcome))
            begun += outcome.seconds
    if [each.outcome.index for each in found] != list(range(1, len(found) + 1)):
        raise _unaccounted(source, "requests are missing or out of order")
    return tuple(found)


def _unaccounted(source: Source, seen: str) -> ProbeError:
    return ProbeError(
        wanted="an account of every request until they are stopped",
        seen=seen,
        where=f"{source.cluster} {source.subject}",
        remedy=f"by hand: {source.asked}",
    )
