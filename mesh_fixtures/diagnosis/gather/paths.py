"""What the network carries: connections past the mesh, several to each address, and packets of
growing size.

Each cluster's plain client tries, which has no proxy; where it does not run, a proxy's container,
whose traffic is not redirected. A first packet that is lost is sent again after a second
(RFC 6298), which shows in the time to connect. So does a machine that is too busy; the kernel's
count of first packets that it sent again tells them apart. Source: Linux, `TCPSynRetrans` of
/proc/net/netstat.

Gateways are tried from their own cluster too, which tells a gateway that does not answer from what
is on the way to it, and so are their pods, past whatever is in front of them. istiod is tried from
a pod that waits for it, where there is one with a client; that it agrees on TLS tells it from a
gateway that accepts connections and ends them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any, Final
from urllib.parse import urlsplit

from mesh_fixtures.addresses import families, is_of, split_port, with_port
from mesh_fixtures.diagnosis import facts
from mesh_fixtures.diagnosis.facts import (
    GATEWAY,
    GATEWAY_POD,
    ISTIOD_TLS,
    ClusterFacts,
    NetworkGateway,
    PacketSizes,
    Path,
)
from mesh_fixtures.diagnosis.gather.batch import Query
from mesh_fixtures.diagnosis.gather.programs import Key
from mesh_fixtures.errors import ProbeError
from mesh_fixtures.kube import ExecResult, KubeClient
from mesh_fixtures.parallel import parallel_map
from mesh_fixtures.patience import patient
from mesh_fixtures.probe.envoy import PROXY
from mesh_fixtures.probe.network import (
    READY_PATH,
    SIZES,
    Attempt,
    Reach,
    between,
    bounds,
    curl,
    overhead,
    read_attempts,
    read_sent,
    sizes_argv,
)
from mesh_fixtures.probe.view import MeshView
from mesh_fixtures.probe.workloads import usual_discovery
from mesh_fixtures.scenario import ISTIOD_PORTS, STATUS_PORT, Scenario
from mesh_fixtures.workloads import PLAIN_CLIENT, PORT

MANY: Final = 10
"""Attempts where some may fail: with one packet of five lost, all of them succeed 1 time of 10."""

FEW: Final = 2
SECONDS: Final = 3.5
"""For an attempt: long enough for the second of two first packets to be answered."""

SLOW_SECONDS: Final = 0.95

SIZED_SECONDS: Final = 2.0
"""For a packet of some size to be answered; one that is lost is sent again after 0.2 s and more
(RFC 6298), in vain where its size is the reason."""

KNOWN_NAME: Final = ("kubernetes.default.svc", 443)
"""What every cluster's DNS knows (Kubernetes: DNS for Services and Pods)."""

_NARROWER: Final = 12
"""Sizes that are tried between the bounds."""

_MARGIN_SECONDS: Final = 15
_MESSAGE_KEPT: Final = 200
_OPTIONS: Final = ("--parallel-max", "200", "--insecure", "--header", "Connection: close")
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

    @property
    def by_tls(self) -> bool:
        return self.kind == ISTIOD_TLS

    @property
    def url(self) -> str:
        scheme = "https" if self.by_tls else "http"
        return f"{scheme}://{with_port(self.address, self.port)}{READY_PATH}"


_Ask = Callable[[KubeClient, facts.Pod, tuple[Target, ...]], tuple[Any, ...]]


def queries(
    view: MeshView,
    clusters: Mapping[str, ClusterFacts],
    advertised: Sequence[NetworkGateway],
) -> dict[Key, Query[Any]]:
    """Queries for each cluster that has a pod to ask from: what must be open, what need not, where
    istiod is, and how large packets to other clusters may be.

    Args:
        advertised: gateways of all networks, as istiods know them.
    """
    found: dict[Key, Query[Any]] = {}
    for name, kube in view.kube.items():
        cluster = clusters[name]
        samples = kube.sample_namespace
        pod = asking(cluster, samples)
        from_waiting = partial(_from_waiting, next(_waiting(cluster, samples), None))
        own = families((pod.ip, *pod.further_ips)) if pod else frozenset()
        targets = tuple(_targets(view.scenario, clusters, advertised, samples, name, own))
        parts: list[tuple[str, facts.Pod | None, _Ask, Sequence[Target]]] = [
            ("near", pod, _tried, [each for each in targets if each.attempts == MANY]),
            ("far", pod, _connected, [each for each in targets if each.attempts != MANY]),
            ("istiod", pod, from_waiting, tuple(_of_istiod(cluster, usual_discovery(kube.names)))),
            ("sizes", pod, _sized, tuple(_sized_targets(targets, name))),
        ]
        for part, client, ask, chosen in parts:
            if client is not None and chosen:
                source = f"curl from {client.namespace}/{client.name} of {name}"
                bound = partial(ask, kube, client, tuple(dict.fromkeys(chosen)))
                found["paths", name, part] = Query(name, source, bound)
    return found


def paths_in(answers: Mapping[Key, Any]) -> tuple[Path, ...]:
    """All paths that were tried."""
    return tuple(each for each in _answers(answers) if isinstance(each, Path))


def packet_sizes_in(answers: Mapping[Key, Any]) -> tuple[PacketSizes, ...]:
    """Paths that lose large packets."""
    return tuple(each for each in _answers(answers) if isinstance(each, PacketSizes))


def _answers(answers: Mapping[Key, Any]) -> Iterator[Path | PacketSizes]:
    for key, answer in answers.items():
        if key[0] == "paths":
            yield from answer or ()


def asking(cluster: ClusterFacts, samples: str) -> facts.Pod | None:
    """A pod that can ask: the plain client, else one whose proxy's container can."""
    able = [
        pod
        for pod in cluster.pods or ()
        if pod.serving and (is_plain(pod) or pod.proxy is not None)
    ]
    able.sort(key=lambda pod: (not is_plain(pod), pod.namespace != samples))
    return able[0] if able else None


def _waiting(cluster: ClusterFacts, samples: str) -> Iterator[facts.Pod]:
    """Pods that have an address and a proxy, and are not ready; samples first."""
    waiting = [
        pod for pod in cluster.pods or () if pod.ip and not pod.serving and pod.proxy is not None
    ]
    return iter(sorted(waiting, key=lambda pod: pod.namespace != samples))


def is_plain(pod: facts.Pod) -> bool:
    return pod.labels.get("app") == PLAIN_CLIENT


def _container(pod: facts.Pod) -> str:
    return PLAIN_CLIENT if is_plain(pod) else PROXY


def _targets(
    scenario: Scenario,
    clusters: Mapping[str, ClusterFacts],
    advertised: Sequence[NetworkGateway],
    samples: str,
    client: str,
    own: Collection[int],
) -> Iterator[Target]:
    """What a client's cluster has to reach.

    Args:
        own: versions of IP of the asking pod's addresses.
    """
    taken = {
        pod.ip
        for name, cluster in clusters.items()
        if scenario.same_network(client, name)
        for pod in cluster.pods or ()
    }
    for server, cluster in clusters.items():
        near = scenario.same_network(client, server)
        for pod in cluster.pods_in(samples, {"app": "helloworld"}):
            # On another network, a pod may have the address of one that is nearer.
            if pod.serving and pod.ip and (near or pod.ip not in taken):
                port = STATUS_PORT if pod.proxy is not None else PORT
                yield Target("pod", server, pod.ip, port, MANY if near else FEW)
        attempts = FEW if server == client else MANY
        ways = [*gateway_ports(scenario, server, cluster, advertised)]
        for address, port in usable(ways, own):
            yield Target(GATEWAY, server, address, port, attempts)
        if server == client:
            yield from gateway_pods(scenario, server, cluster)
    for secret in clusters[client].remote_secrets or ():
        url = urlsplit(secret.server)
        if url.hostname and secret.is_found:
            yield Target("api-server", secret.cluster, url.hostname, url.port or 443, FEW)


def usable(ways: Sequence[tuple[str, int]], own: Collection[int]) -> Sequence[tuple[str, int]]:
    """Of the addresses and ports of a gateway, those that a client needs: of its own families, all
    that istiod gives it, unless there is none.

    Args:
        own: versions of IP of the client's addresses.
    """
    return [each for each in ways if is_of(each[0], own)] or ways


def gateway_ports(
    scenario: Scenario,
    server: str,
    cluster: ClusterFacts,
    advertised: Sequence[NetworkGateway],
) -> Iterator[tuple[str, int]]:
    """Addresses and ports of a cluster's gateways: as istiods advertise them, as the scenario has
    it, and where a gateway reports on itself.
    """
    wanted = scenario.gateway_ports(server)
    for service in cluster.gateway_services if wanted else ():
        ports = [each.number for each in service.ports if each.number in {STATUS_PORT, *wanted}]
        yield from ((address, port) for address in service.external for port in sorted(ports))
    spec = scenario.cluster(server)
    first = next(each.name for each in scenario.clusters if each.network == spec.network)
    for each in advertised:
        # the mesh configuration may name gateways by their network only
        if each.cluster == server or (each.network, each.cluster, server) == (
            spec.network,
            "",
            first,
        ):
            yield each.address, each.port


def gateway_pods(scenario: Scenario, server: str, cluster: ClusterFacts) -> Iterator[Target]:
    """A cluster's gateways themselves, where they listen for services."""
    if not scenario.is_multi_network:
        return
    for service in cluster.gateway_services:
        for pod in cluster.pods_of(service):
            port = service.gateway_target
            if pod.serving and pod.proxy is not None and pod.ip and port is not None:
                yield Target(GATEWAY_POD, server, pod.ip, port, FEW)


def _of_istiod(cluster: ClusterFacts, usual: str) -> Iterator[Target]:
    """Where proxies look for istiod, by name and by the addresses behind it; where there are none,
    as none could be injected, where they would look.
    """
    discoveries = [pod.proxy["discovery"] for pod in cluster.pods or () if pod.proxy is not None]
    if not discoveries and cluster.discovery:
        discoveries = [usual]
    for discovery in dict.fromkeys(discoveries):
        host, port = split_port(discovery)
        if host and port.isdigit():
            yield Target("istiod", "", host, int(port), FEW)
            yield Target(ISTIOD_TLS, "", host, int(port), FEW)
    if discoveries:
        for address in cluster.discovery or ():
            yield Target("istiod", "", address, ISTIOD_PORTS[0], FEW)
        yield Target("dns", "", *KNOWN_NAME, FEW)


def _sized_targets(targets: Iterable[Target], client: str) -> Iterator[Target]:
    """One address of each other cluster that its clients send to."""
    seen: set[str] = set()
    for each in targets:
        if each.attempts == MANY and each.server not in (*seen, client):
            seen.add(each.server)
            yield each


def _from_waiting(
    waiting: facts.Pod | None, kube: KubeClient, pod: facts.Pod, targets: tuple[Target, ...]
) -> tuple[Path, ...]:
    """Connect from a pod that waits, or from another one where the image of its proxy has no
    client, or where none waits.
    """
    if waiting is not None:
        with suppress(ProbeError):
            if found := _connected(kube, waiting, targets):
                return found
    return _connected(kube, pod, targets)


def _sized(
    kube: KubeClient, pod: facts.Pod, targets: tuple[Target, ...]
) -> tuple[PacketSizes, ...]:
    """Paths that lose large packets, and from which size on."""
    found = parallel_map(lambda each: _narrowed(kube, pod, each), targets)
    return tuple(each for each in found.values() if each is not None)


def _narrowed(kube: KubeClient, pod: facts.Pod, target: Target) -> PacketSizes | None:
    seconds = patient(SIZED_SECONDS)
    url = f"http://{with_port(target.address, target.port)}{READY_PATH}"

    def tried(sizes: Sequence[int]) -> tuple[int, int] | None:
        argv = sizes_argv(url, sizes, seconds=seconds)
        timeout = seconds + patient(_MARGIN_SECONDS)
        done = kube.exec(pod.namespace, pod.name, _container(pod), argv, timeout)
        return bounds(read_sent(done, url))

    found = tried(SIZES)
    if found is not None:
        found = tried(between(*found, _NARROWER))  # seen twice, it is not chance
    if found is None:
        return None
    padding = found[1] - overhead(url)
    source = (
        f"kubectl --context={kube.name} -n {pod.namespace} exec {pod.name} -c {_container(pod)} -- "
        f"sh -c 'curl -v -m {seconds:g} -H X-Padding:$(printf %{padding}s | tr \" \" x) {url}'"
    )
    return PacketSizes(kube.name, target.server, target.address, target.port, *found, source)


def _tried(kube: KubeClient, pod: facts.Pod, targets: tuple[Target, ...]) -> tuple[Path, ...]:
    """Connect, and once more where some attempts were slow or failed.

    The first packets to an address may wait until somebody answers for it, as a load balancer's
    announcer does in its own time (RFC 826); what is lost at random is lost again.
    """
    first = _connected(kube, pod, targets)
    doubtful = {each.target for each in first if each.prompt < each.attempts}
    again = tuple(each for each in targets if with_port(each.address, each.port) in doubtful)
    second = _connected(kube, pod, again) if again else ()
    newer = {each.target: each for each in second}
    return tuple(newer.get(each.target, each) for each in first)


def _connected(kube: KubeClient, pod: facts.Pod, targets: tuple[Target, ...]) -> tuple[Path, ...]:
    seconds = patient(SECONDS)
    urls = [f"{each.url}#[1-{each.attempts}]" for each in targets]
    argv = ("sh", "-c", _SCRIPT, *curl(urls, seconds=seconds, options=_OPTIONS))
    result = kube.exec(
        pod.namespace, pod.name, _container(pod), argv, seconds + patient(_MARGIN_SECONDS)
    )
    return read_paths(kube.name, pod, targets, result)


def read_paths(
    client: str, pod: facts.Pod, targets: tuple[Target, ...], result: ExecResult
) -> tuple[Path, ...]:
    """Read what curl printed; targets of which it says nothing are left out."""
    tried: dict[tuple[str, int, bool], list[Attempt]] = {}
    for _, attempt in read_attempts(result):  # between lines of the kernel's counters
        if attempt is not None:
            by_tls = attempt.tls_seconds is not None
            tried.setdefault((*attempt.target, by_tls), []).append(attempt)
    resent = _resent(result.stdout)
    found = ((each, tried.get((each.address, each.port, each.by_tls))) for each in targets)
    return tuple(_path(client, pod, each, attempts, resent) for each, attempts in found if attempts)


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
    answers = [each.http_status for each in attempts if each.http_status]
    where = f"kubectl --context={client} -n {pod.namespace} exec {pod.name} -c {_container(pod)}"
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
        unresolved=counted[Reach.UNRESOLVED],
        slow=sum(each.reach is Reach.OPEN and each.seconds >= SLOW_SECONDS for each in attempts),
        resent=resent,
        http_status=answers[-1] if answers else 0,
        message=messages[-1][:_MESSAGE_KEPT] if messages else "",
        source=f"{where} -- curl -kv -m {patient(SECONDS):g} '{target.url}#[1-{target.attempts}]'",
    )
