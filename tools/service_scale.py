"""How a mesh bears many services: of `tools.bench --services`.

Services without selectors and their EndpointSlices are made by the API alone, with no pods, the
same services in each cluster, so that each has endpoints of all clusters. What is measured then is
a new endpoint of a small service beside them: the seconds until every other cluster's Sleep can be
sent there, as its proxy says.

Source: Kubernetes, Services without selectors; Istio, Namespace sameness.
"""

from __future__ import annotations

import re
import statistics
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from ipaddress import IPv4Address
from typing import Any, Final
from urllib.parse import quote

from mesh_fixtures.contract import Lab
from mesh_fixtures.errors import ProbeError, ScenarioError
from mesh_fixtures.kube import KubeEditor, Pod
from mesh_fixtures.kube.resources import ENDPOINT_SLICES
from mesh_fixtures.parallel import parallel_map
from mesh_fixtures.patience import patient
from mesh_fixtures.probe import envoy, istiod
from mesh_fixtures.progress import Progress
from mesh_fixtures.scenario import Scenario
from mesh_fixtures.verdict.convergence import settle

NAMESPACE: Final = "scale"
"""Namespace, in each cluster, of all that is made."""

SETTLED_SECONDS: Final = 180.0
"""Until all proxies know all endpoints."""

NEWCOMER_SECONDS: Final = 60.0
"""Until they know a new one, or that it is gone."""

_SETTLED_INTERVAL: Final = 1.0
_NEWCOMER_INTERVAL: Final = 0.02
_WRITERS: Final = 8
"""Requests to an API server at a time."""

_PORT: Final = 80
_NEWCOMERS: Final = "newcomers"
_FIRST_ADDRESS: Final = IPv4Address("198.18.0.0")
"""Of a block that belongs to nobody (RFC 2544, Benchmarking)."""

_ADDRESSES: Final = 1 << 13
_MOST_CLUSTERS: Final = 16
"""Of so many addresses each, which that block has."""

_MOST_IN_SLICE: Final = 1000
_MEBIBYTE: Final = 1024 * 1024


@dataclass(frozen=True)
class Size:
    """How much there is in each cluster.

    Attributes:
        endpoints: of all services together.
    """

    services: int
    endpoints: int

    @classmethod
    def read(cls, text: str) -> Size:
        """What a text such as `200/1000` means.

        Raises:
            ValueError: nothing that can be made; says what is valid.
        """
        found = re.fullmatch(r"([0-9]{1,5})/([0-9]{1,5})", text)
        if found is None:
            raise ValueError(f"{text!r} is not of the form SERVICES/ENDPOINTS, as in 200/1000")
        size = cls(int(found[1]), int(found[2]))
        if not 0 < size.services <= size.endpoints:
            raise ValueError(f"{text!r} has services without endpoints, or no services")
        if size.largest > _MOST_IN_SLICE:
            raise ValueError(f"{text!r}: a service has at most {_MOST_IN_SLICE} endpoints here")
        if size.services * size.largest > _ADDRESSES - 2:
            raise ValueError(f"{text!r}: there are {_ADDRESSES - 2} addresses for a cluster")
        return size

    @property
    def largest(self) -> int:
        """Endpoints of the service that has most."""
        return -(-self.endpoints // self.services) if self.services else 0

    def of(self, service: int) -> int:
        """Endpoints of one service, counted from 0."""
        return self.endpoints // self.services + (service < self.endpoints % self.services)

    def __str__(self) -> str:
        return f"{self.services}/{self.endpoints}"


NOTHING: Final = Size(0, 0)
SIZES: Final = (Size(50, 250), Size(100, 500), Size(200, 1000))


@dataclass(frozen=True)
class Figures:
    """What was measured at one size.

    Attributes:
        known: seconds from the last object that was made until every client knows every endpoint.
        newcomers: seconds until every client of another cluster knows a new endpoint, for each.
        processor: seconds that all istiods together took until then, since the first object.
        istiod: MiB that the largest istiod has in memory.
        proxy: MiB that the Envoy of a client has allocated, the largest.
    """

    size: Size
    known: float
    newcomers: tuple[float, ...]
    processor: float
    istiod: float
    proxy: float


def require_measurable(scenario: Scenario) -> None:
    """See to it that clients learn endpoints that no pod stands for.

    Raises:
        ScenarioError: they do not.
    """
    if scenario.is_multi_network:
        raise ScenarioError(
            wanted="one network, as gateways between networks pass to endpoints with proxies only",
            seen=f"{len(scenario.networks)} networks",
            where=scenario.id,
            remedy="name multi-primary, or another topology of one network",
        )
    if not 1 < len(scenario.clusters) <= _MOST_CLUSTERS:
        raise ScenarioError(
            wanted=f"2 to {_MOST_CLUSTERS} clusters",
            seen=str(len(scenario.clusters)),
            where=scenario.id,
        )


def measure(lab: Lab, sizes: Iterable[Size], runs: int, progress: Progress) -> list[Figures]:
    """Measure a lab with mesh and sample workloads at each size, the smallest first, from nothing.

    Args:
        runs: how many new endpoints of each cluster are measured at each size.

    Raises:
        ProbeError: a client does not learn of endpoints in time, or something cannot be asked.
        NotPermitted: an API server refuses an object.
    """
    with ExitStack() as stack:
        mesh = _Mesh(lab, stack)
        mesh.begin()
        found = []
        for size in (
            NOTHING,
            *sorted(set(sizes), key=lambda each: (each.services, each.endpoints)),
        ):
            with progress.phase("services", detail=str(size)):
                found.append(mesh.measured(size, runs))
        return found


class _Mesh:
    """The clusters of a lab, and what is made in them."""

    def __init__(self, lab: Lab, stack: ExitStack) -> None:
        self._editors: Mapping[str, KubeEditor] = {
            name: stack.enter_context(
                KubeEditor(cluster, lab.sample_namespace, lab.names, forwards=True)
            )
            for name, cluster in lab.clusters.items()
        }
        self._primaries = [each.name for each in lab.scenario.primaries]
        self._clients: Mapping[str, Pod] = {
            name: editor.pod_of(editor.sample_namespace, "app=sleep")
            for name, editor in self._editors.items()
        }
        self._held: dict[tuple[str, int], list[str]] = {}

    def begin(self) -> None:
        """Make the namespaces, and the service that gets new endpoints."""
        for name, editor in self._editors.items():
            editor.create(_object("v1", "Namespace", NAMESPACE))
            editor.create(service_object(_NEWCOMERS), NAMESPACE)
            editor.create(slice_object(_NEWCOMERS, [self._address(name, -1)]), NAMESPACE)

    def measured(self, size: Size, runs: int) -> Figures:
        before = self._processor_seconds()
        made = parallel_map(lambda name: self._fill(name, size), self._editors)
        known = self._await_all(size) - max(made.values())
        spent = self._processor_seconds() - before
        newcomers = [self._newcomer(name) for _ in range(runs) for name in self._editors]
        return Figures(
            size,
            known,
            tuple(newcomers),
            spent,
            max(self._istiod_metrics("process_resident_memory_bytes")) / _MEBIBYTE,
            max(parallel_map(self._allocated, self._editors).values()) / _MEBIBYTE,
        )

    def _fill(self, cluster: str, size: Size) -> float:
        """Make what a cluster lacks of a size; returns when the last object was made."""
        editor = self._editors[cluster]

        def make(service: int) -> None:
            first = service * size.largest
            places = range(first, first + size.of(service))
            addresses = [self._address(cluster, each) for each in places]
            before = self._held.get((cluster, service))
            if before == addresses:
                return
            name = f"service-{service}"
            wanted = slice_object(name, addresses)
            if before is None:
                editor.create(service_object(name), NAMESPACE)
                editor.create(wanted, NAMESPACE)
            else:
                _replace(editor, wanted)
            self._held[cluster, service] = addresses

        parallel_map(make, range(size.services), at_most=_WRITERS)
        return time.monotonic()

    def _await_all(self, size: Size) -> float:
        """Wait until all clients know all; returns when the last of them did."""
        wanted = (size.endpoints + 1) * len(self._editors)

        def known(cluster: str) -> float:
            settled = settle(
                lambda: sum(map(len, self._known(cluster, rf"\.{NAMESPACE}\.svc\.").values())),
                lambda count: count == wanted,
                deadline=patient(SETTLED_SECONDS),
                interval=_SETTLED_INTERVAL,
            )
            if not settled.accepted:
                raise self._late(cluster, f"{wanted} endpoints", str(settled.value))
            return time.monotonic()

        return max(parallel_map(known, self._editors).values())

    def _newcomer(self, writer: str) -> float:
        """Add an endpoint in one cluster; seconds until all clients of the others know it. It is
        gone again afterwards.
        """
        usual, new = self._address(writer, -1), self._address(writer, -2)
        others = [name for name in self._editors if name != writer]
        begun = time.monotonic()
        _replace(self._editors[writer], slice_object(_NEWCOMERS, [usual, new]))
        known = parallel_map(lambda name: self._await_newcomer(name, new, there=True), others)
        _replace(self._editors[writer], slice_object(_NEWCOMERS, [usual]))
        parallel_map(lambda name: self._await_newcomer(name, new, there=False), others)
        return max(known.values()) - begun

    def _await_newcomer(self, cluster: str, address: str, *, there: bool) -> float:
        target = f"{address}:{_PORT}"
        pattern = rf"^outbound\|{_PORT}\|\|{_NEWCOMERS}\.{NAMESPACE}\.svc\."
        settled = settle(
            lambda: frozenset[str]().union(*self._known(cluster, pattern).values()),
            lambda known: (target in known) == there,
            deadline=patient(NEWCOMER_SECONDS),
            interval=_NEWCOMER_INTERVAL,
        )
        if not settled.accepted:
            wanted = f"{target} to be {'known' if there else 'gone'}"
            raise self._late(cluster, wanted, ", ".join(sorted(settled.value)))
        return time.monotonic()

    def _known(self, cluster: str, pattern: str) -> Mapping[str, frozenset[str]]:
        """Endpoints that a cluster's client knows, by Envoy cluster."""
        path = f"clusters?format=json&filter={quote(pattern, safe='')}"
        source, answer = envoy.admin(self._editors[cluster], self._clients[cluster], path)
        return envoy.targets_by_cluster(source, answer)

    def _late(self, cluster: str, wanted: str, seen: str) -> ProbeError:
        return ProbeError(
            wanted=f"{wanted} in Sleep's proxy",
            seen=seen,
            where=cluster,
            remedy="on a slow machine, give more time by --patience",
        )

    def _allocated(self, cluster: str) -> int:
        """Bytes that a client's Envoy has allocated (Envoy: Administration interface, /memory)."""
        _, answer = envoy.admin(self._editors[cluster], self._clients[cluster], "memory")
        return int(answer["allocated"])

    def _processor_seconds(self) -> float:
        return sum(self._istiod_metrics("process_cpu_seconds_total"))

    def _istiod_metrics(self, metric: str) -> Iterator[float]:
        """Values of a metric without labels, of each istiod."""
        for name in self._primaries:
            editor = self._editors[name]
            for pod in istiod.istiods(editor):
                if pod.serving:
                    yield read_metric(istiod.debug(editor, pod, istiod.METRICS_PATH).text, metric)

    def _address(self, cluster: str, index: int) -> str:
        """An address of a cluster's own; counted from its last where it is negative."""
        place = [*self._editors].index(cluster)
        return str(_FIRST_ADDRESS + place * _ADDRESSES + index % _ADDRESSES)


def read_metric(text: str, metric: str) -> float:
    """The value of a metric without labels.

    Raises:
        ProbeError: it is not there.
    """
    found = istiod.metric_in(text, metric)
    if found is None:
        raise ProbeError(
            wanted=f"the metric {metric}",
            seen=f"{len(text.splitlines())} lines without it",
            where="istiod's metrics",
        )
    return found


def service_object(name: str) -> dict[str, Any]:
    """A Service without a selector."""
    ports = [{"name": "http", "port": _PORT, "targetPort": _PORT}]
    return {**_object("v1", "Service", name), "spec": {"ports": ports}}


def slice_object(service: str, addresses: Sequence[str]) -> dict[str, Any]:
    """The only EndpointSlice of a Service."""
    return {
        **_object(ENDPOINT_SLICES.api, ENDPOINT_SLICES.kind, service),
        "metadata": {"name": service, "labels": {"kubernetes.io/service-name": service}},
        "addressType": "IPv4",
        "ports": [{"name": "http", "port": _PORT, "protocol": "TCP"}],
        "endpoints": [{"addresses": [each], "conditions": {"ready": True}} for each in addresses],
    }


def _object(api: str, kind: str, name: str) -> dict[str, Any]:
    return {"apiVersion": api, "kind": kind, "metadata": {"name": name}}


def _replace(editor: KubeEditor, item: Mapping[str, Any]) -> None:
    change = {"endpoints": item["endpoints"]}
    editor.patch(ENDPOINT_SLICES, NAMESPACE, item["metadata"]["name"], change)


def table(title: str, found: Iterable[Figures]) -> Sequence[str]:
    """Lines with the figures of each size."""
    rows = [
        ("", "all known", "new endpoint known after, s", "", "", "istiods", "istiod", "Envoy"),
        (title, "after, s", "minimum", "median", "maximum", "busy, s", "MiB", "MiB"),
    ]
    rows += [
        (
            f"  {each.size}",
            f"{each.known:.1f}",
            f"{min(each.newcomers):.2f}",
            f"{statistics.median(each.newcomers):.2f}",
            f"{max(each.newcomers):.2f}",
            f"{each.processor:.1f}",
            f"{each.istiod:.0f}",
            f"{each.proxy:.1f}",
        )
        for each in found
    ]
    width = max(len(row[0]) for row in rows)
    return [_line(row, width) for row in rows]


def _line(row: Sequence[str], width: int) -> str:
    name, known, *newcomers, busy, istiods, proxy = row
    middle = newcomers[0] if not newcomers[1] else "".join(f"{each:>9}" for each in newcomers)
    return f"{name:<{width}}  {known:>9}{middle:>29}  {busy:>7}  {istiods:>6}  {proxy:>6}".rstrip()
