"""What the network carries: connections past the mesh, several to each address.

Each cluster's Sleep tries, from its proxy's container, whose traffic is not redirected. A first
packet that is lost is sent again after a second (RFC 6298), which shows in the time to connect. So
does a machine that is too busy; the kernel's count of first packets that it sent again tells them
apart. Source: Linux, `TCPSynRetrans` of /proc/net/netstat.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Final
from urllib.parse import urlsplit

from mesh_fixtures.diagnosis import facts
from mesh_fixtures.diagnosis.facts import ClusterFacts, Path
from mesh_fixtures.diagnosis.gather.batch import Query
from mesh_fixtures.diagnosis.gather.programs import Key
from mesh_fixtures.kube import ExecResult, KubeClient
from mesh_fixtures.patience import patient
from mesh_fixtures.probe.envoy import PROXY
from mesh_fixtures.probe.network import READY_PATH
from mesh_fixtures.probe.view import MeshView
from mesh_fixtures.scenario import STATUS_PORT, Scenario
from mesh_fixtures.workloads import PORT

MANY: Final = 10
"""Attempts where some may fail: with one packet of five lost, all of them succeed 1 time of 10."""

FEW: Final = 2
SECONDS: Final = 3.5
"""For an attempt: long enough for the second of two first packets to be answered."""

SLOW_SECONDS: Final = 0.95

_MARGIN_SECONDS: Final = 15
_FORMAT: Final = r"%{exitcode} %{num_connects} %{time_connect} %{url} %{errormsg}\n"
_COUNTERS: Final = "/proc/net/netstat"
_SCRIPT: Final = f'cat {_COUNTERS}; "$0" "$@"; cat {_COUNTERS}'
_RESENT: Final = "TCPSynRetrans"
_MEASURED: Final = re.compile(r"(\d+) (\d+) (\d+[.,]\d+) http://(\S+?):(\d+)/\S* ?(.*)")
_REFUSAL: Final = re.compile(r"connect to (\S+) port (\d+) .*failed: (.*)")
_TIMED_OUT: Final = 28


@dataclass(frozen=True)
class Target:
    """An address to try: of what, in which cluster, how often."""

    kind: str
    server: str
    address: str
    port: int
    attempts: int


def queries(view: MeshView, clusters: Mapping[str, ClusterFacts]) -> dict[Key, Query[Any]]:
    """Two queries for each cluster that has a pod to ask from: what must be open, what not."""
    found: dict[Key, Query[Any]] = {}
    for name, kube in view.kube.items():
        pod = _asking(clusters[name], kube.sample_namespace)
        targets = tuple(_targets(view.scenario, clusters, kube.sample_namespace, name))
        if pod is None:
            continue
        source = f"curl from {pod.namespace}/{pod.name} of {name}"
        for part, chosen in (
            ("near", [each for each in targets if each.attempts == MANY]),
            ("far", [each for each in targets if each.attempts != MANY]),
        ):
            if chosen:
                try_all = _tried if part == "near" else _connected
                ask = partial(try_all, kube, pod, tuple(dict.fromkeys(chosen)))
                found["paths", name, part] = Query(name, source, ask)
    return found


def told(answers: Mapping[Key, Any]) -> tuple[Path, ...]:
    """All paths that were tried."""
    return tuple(
        path for key, answer in answers.items() if key[0] == "paths" for path in answer or ()
    )


def _asking(cluster: ClusterFacts, samples: str) -> facts.Pod | None:
    """A pod whose proxy's container can ask: Sleep's, else any other."""
    able = [
        pod
        for pod in cluster.pods or ()
        if pod.serving and (pod.told is not None or pod.labels.get("istio") == "eastwestgateway")
    ]
    able.sort(key=lambda pod: (pod.labels.get("app") != "sleep", pod.namespace != samples))
    return able[0] if able else None


def _targets(
    scenario: Scenario, clusters: Mapping[str, ClusterFacts], samples: str, client: str
) -> Iterator[Target]:
    for server, cluster in clusters.items():
        near = scenario.same_network(client, server)
        for pod in cluster.pods_in(samples, {"app": "helloworld"}):
            if pod.serving and pod.ip:
                port = STATUS_PORT if pod.told is not None else PORT
                yield Target("pod", server, pod.ip, port, MANY if near else FEW)
        if server == client:
            continue
        ports = sorted(scenario.gateway_ports(server))
        for address in cluster.gateway_addresses:
            for port in (STATUS_PORT, *ports) if ports else ():
                yield Target("gateway", server, address, port, MANY)
    for secret in clusters[client].remote_secrets or ():
        url = urlsplit(secret.server)
        if url.hostname and secret.labelled:
            yield Target("api-server", secret.cluster, url.hostname, url.port or 443, FEW)


def _tried(kube: KubeClient, pod: facts.Pod, targets: tuple[Target, ...]) -> tuple[Path, ...]:
    """Connect, and once more where some attempts were slow or failed.

    The first packets to an address may wait until somebody answers for it, as a load balancer's
    announcer does in its own time (RFC 826); what is lost at random is lost again.
    """
    first = _connected(kube, pod, targets)
    doubtful = {each.target for each in first if each.prompt < each.attempts}
    again = tuple(each for each in targets if f"{each.address}:{each.port}" in doubtful)
    second = _connected(kube, pod, again) if again else ()
    newer = {each.target: each for each in second}
    return tuple(newer.get(each.target, each) for each in first)


def _connected(kube: KubeClient, pod: facts.Pod, targets: tuple[Target, ...]) -> tuple[Path, ...]:
    seconds = patient(SECONDS)
    urls = [
        f"http://{each.address}:{each.port}{READY_PATH}#[1-{each.attempts}]" for each in targets
    ]
    # --verbose tells refused from unreachable, which the exit code does not.
    curl = (
        *("curl", "--silent", "--verbose", "--noproxy", "*", "--max-time", f"{seconds:g}"),
        *("--parallel", "--parallel-immediate", "--parallel-max", "200"),
        *("--header", "Connection: close", "--write-out", _FORMAT),
        *(part for url in urls for part in ("--output", "/dev/null", url)),
    )
    argv = ("sh", "-c", _SCRIPT, *curl)
    result = kube.exec(pod.namespace, pod.name, PROXY, argv, seconds + patient(_MARGIN_SECONDS))
    return read_paths(kube.name, pod, targets, result)


def read_paths(
    client: str, pod: facts.Pod, targets: tuple[Target, ...], result: ExecResult
) -> tuple[Path, ...]:
    """Read what curl printed; targets of which it says nothing are left out."""
    counts: dict[tuple[str, int], Counter[str]] = {}
    messages: dict[tuple[str, int], str] = {}
    reasons = {(each[1], int(each[2])): each[3] for each in _REFUSAL.finditer(result.stderr)}
    for line in result.stdout.splitlines():
        measured = _MEASURED.fullmatch(line)
        if measured is None:
            continue
        target = measured[4], int(measured[5])
        seconds = float(measured[3].replace(",", "."))
        outcome = _outcome(int(measured[1]), seconds, reasons.get(target, ""))
        counted = counts.setdefault(target, Counter())
        counted[outcome] += 1
        if seconds >= SLOW_SECONDS:
            counted["slow"] += 1
        if outcome != "open":
            messages[target] = reasons.get(target) or measured[6]
    resent = _resent(result.stdout)
    return tuple(
        _path(client, pod, each, counts[each.address, each.port], messages, resent)
        for each in targets
        if (each.address, each.port) in counts
    )


def _resent(printed: str) -> int | None:
    """First packets that were sent again between two prints of the counters; None if unknown."""
    lines = [line.split() for line in printed.splitlines() if line.startswith("TcpExt:")]
    counted = [
        dict(zip(names, values, strict=False)).get(_RESENT, "")
        for names, values in zip(lines[::2], lines[1::2], strict=False)
    ]
    numbers = [int(each) for each in counted if each.isdigit()]
    return numbers[-1] - numbers[0] if len(numbers) == 2 else None


def _outcome(curl_exit: int, seconds: float, reason: str) -> str:
    if seconds > 0:
        return "open"
    if curl_exit == _TIMED_OUT or "timed out" in reason.lower():
        return "timed_out"
    apart = "unreachable" in reason.lower() or "no route" in reason.lower()
    return "unreachable" if apart else "refused"


def _path(
    client: str,
    pod: facts.Pod,
    target: Target,
    counted: Counter[str],
    messages: Mapping[tuple[str, int], str],
    resent: int | None,
) -> Path:
    url = f"http://{target.address}:{target.port}{READY_PATH}"
    path = Path(
        client=client,
        server=target.server,
        kind=target.kind,
        address=target.address,
        port=target.port,
        attempts=sum(counted[each] for each in ("open", "refused", "timed_out", "unreachable")),
        open=counted["open"],
        refused=counted["refused"],
        timed_out=counted["timed_out"],
        unreachable=counted["unreachable"],
        slow=counted["slow"],
        resent=resent,
        message=messages.get((target.address, target.port), "").strip(),
        source=f"kubectl --context={client} -n {pod.namespace} exec {pod.name} -c {PROXY} -- "
        f"curl -v -m {patient(SECONDS):g} '{url}#[1-{target.attempts}]'",
    )
    return replace(path, message=path.message[:200])
