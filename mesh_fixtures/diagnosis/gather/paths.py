"""What the network carries: connections past the mesh, several to each address.

Each cluster's Sleep tries, from its proxy's container, whose traffic is not redirected. A first
packet that is lost is sent again after a second (RFC 6298), which shows in the time to connect. So
does a machine that is too busy; the kernel's count of first packets that it sent again tells them
apart. Source: Linux, `TCPSynRetrans` of /proc/net/netstat.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
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
from mesh_fixtures.probe.network import READY_PATH, Attempt, Reach, curl, read_attempts
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
_MESSAGE_KEPT: Final = 200
_OPTIONS: Final = ("--parallel-max", "200", "--header", "Connection: close")
_COUNTERS: Final = "/proc/net/netstat"
_SCRIPT: Final = f'cat {_COUNTERS}; "$0" "$@"; cat {_COUNTERS}'
_RESENT: Final = "TCPSynRetrans"


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


def paths_in(answers: Mapping[Key, Any]) -> tuple[Path, ...]:
    """All paths that were tried."""
    return tuple(
        path for key, answer in answers.items() if key[0] == "paths" for path in answer or ()
    )


def _asking(cluster: ClusterFacts, samples: str) -> facts.Pod | None:
    """A pod whose proxy's container can ask: Sleep's, else any other."""
    able = [pod for pod in cluster.pods or () if pod.serving and pod.told is not None]
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
    argv = ("sh", "-c", _SCRIPT, *curl(urls, seconds=seconds, options=_OPTIONS))
    result = kube.exec(pod.namespace, pod.name, PROXY, argv, seconds + patient(_MARGIN_SECONDS))
    return read_paths(kube.name, pod, targets, result)


def read_paths(
    client: str, pod: facts.Pod, targets: tuple[Target, ...], result: ExecResult
) -> tuple[Path, ...]:
    """Read what curl printed; targets of which it says nothing are left out."""
    tried: dict[tuple[str, int], list[Attempt]] = {}
    for _, attempt in read_attempts(result):  # between lines of the kernel's counters
        if attempt is not None:
            tried.setdefault(attempt.target, []).append(attempt)
    resent = _resent(result.stdout)
    return tuple(
        _path(client, pod, each, tried[each.address, each.port], resent)
        for each in targets
        if (each.address, each.port) in tried
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


def _path(
    client: str, pod: facts.Pod, target: Target, attempts: Sequence[Attempt], resent: int | None
) -> Path:
    counted = Counter(each.reach for each in attempts)
    messages = [each.message for each in attempts if each.reach is not Reach.OPEN]
    url = f"http://{target.address}:{target.port}{READY_PATH}"
    return Path(
        client=client,
        server=target.server,
        kind=target.kind,
        address=target.address,
        port=target.port,
        attempts=len(attempts),
        open=counted[Reach.OPEN],
        refused=counted[Reach.REFUSED],
        timed_out=counted[Reach.TIMED_OUT],
        unreachable=counted[Reach.UNREACHABLE],
        slow=sum(each.seconds >= SLOW_SECONDS for each in attempts),
        resent=resent,
        message=messages[-1][:_MESSAGE_KEPT] if messages else "",
        source=f"kubectl --context={client} -n {pod.namespace} exec {pod.name} -c {PROXY} -- "
        f"curl -v -m {patient(SECONDS):g} '{url}#[1-{target.attempts}]'",
    )
