"""How a mesh bears many services: what is made for it, and what is measured of it."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any
from urllib.parse import unquote

import pytest
from mesh_examples import MORE, SCENARIOS

from mesh_fixtures.errors import ProbeError, ScenarioError
from mesh_fixtures.kube import Source
from mesh_fixtures.progress import Progress
from mesh_fixtures.scenario import Scenario
from tools import service_scale
from tools.service_scale import NOTHING, Figures, Size, measure, require_measurable, table

SCENARIO = SCENARIOS["multi-primary"]
SOURCE = Source("cluster1", "sleep", "curl")


class FakeMesh:
    """Clusters whose clients know every endpoint of every cluster at once.

    Args:
        deaf: cluster whose client learns nothing of others.
    """

    def __init__(self, scenario: Scenario, deaf: str = "") -> None:
        self.scenario, self.deaf = scenario, deaf
        self.slices: dict[str, dict[str, list[str]]] = defaultdict(dict)
        self.services: dict[str, set[str]] = defaultdict(set)
        self.most = 0
        self.busy = 0.0

    @property
    def lab(self) -> Any:
        clusters = {each.name: each for each in self.scenario.clusters}
        return SimpleNamespace(
            scenario=self.scenario, clusters=clusters, sample_namespace="sample", names=None
        )

    def editor(self, cluster: Any, namespace: str, names: object, *, forwards: bool) -> FakeEditor:
        return FakeEditor(self, cluster.name)

    def admin(self, kube: FakeEditor, pod: object, path: str) -> tuple[Source, Any]:
        if path == "memory":
            return SOURCE, {"allocated": str(3 * 1024 * 1024)}
        pattern = re.compile(unquote(path.partition("filter=")[2]))
        known: dict[str, set[str]] = defaultdict(set)
        for cluster, slices in self.slices.items():
            if cluster == kube.name or kube.name != self.deaf:
                for service, addresses in slices.items():
                    known[f"outbound|80||{service}.scale.svc.cluster.local"] |= {*addresses}
        statuses = [
            {
                "name": name,
                "host_statuses": [
                    {"address": {"socket_address": {"address": each, "port_value": 80}}}
                    for each in addresses
                ],
            }
            for name, addresses in known.items()
            if pattern.search(name)
        ]
        return SOURCE, {"cluster_statuses": statuses}

    def debug(self, kube: object, pod: object, path: str) -> Any:
        self.busy += 0.5
        lines = (
            "# HELP process_cpu_seconds_total Total",
            f"process_cpu_seconds_total {self.busy}",
            "process_resident_memory_bytes 1.048576e+08",
        )
        return SimpleNamespace(text="\n".join(lines))


class FakeEditor:
    def __init__(self, mesh: FakeMesh, name: str) -> None:
        self.mesh, self.name, self.sample_namespace = mesh, name, "sample"

    def __enter__(self) -> FakeEditor:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def pod_of(self, namespace: str, selector: str) -> object:
        return selector

    def create(self, item: Mapping[str, Any], namespace: str = "") -> bool:
        name = item["metadata"]["name"]
        if item["kind"] == "Service":
            assert "selector" not in item["spec"]
            self.mesh.services[self.name].add(name)
        elif item["kind"] == "EndpointSlice":
            assert item["metadata"]["labels"] == {"kubernetes.io/service-name": name}
            assert name in self.mesh.services[self.name]
            self._hold(name, item["endpoints"])
        return True

    def patch(self, resource: Any, namespace: str, name: str, change: Mapping[str, Any]) -> None:
        assert (resource.plural, namespace) == ("endpointslices", "scale")
        self._hold(name, change["endpoints"])

    def _hold(self, name: str, endpoints: list[Any]) -> None:
        held = self.mesh.slices[self.name]
        held[name] = [address for each in endpoints for address in each["addresses"]]
        self.mesh.most = max(self.mesh.most, len(held["newcomers"]))


def installed(monkeypatch: pytest.MonkeyPatch, mesh: FakeMesh) -> FakeMesh:
    monkeypatch.setattr(service_scale, "KubeEditor", mesh.editor)
    monkeypatch.setattr("mesh_fixtures.probe.envoy.admin", mesh.admin)
    monkeypatch.setattr("mesh_fixtures.probe.istiod.debug", mesh.debug)
    serving = SimpleNamespace(serving=True)
    monkeypatch.setattr("mesh_fixtures.probe.istiod.istiods", lambda kube: (serving,))
    return mesh


def test_each_size_adds_to_the_one_before(monkeypatch: pytest.MonkeyPatch) -> None:
    mesh = installed(monkeypatch, FakeMesh(SCENARIO))
    found = measure(mesh.lab, [Size(4, 9), Size(2, 4)], 3, Progress("test"))
    assert [each.size for each in found] == [NOTHING, Size(2, 4), Size(4, 9)]
    for name in ("cluster1", "cluster2"):
        counts = {service: len(held) for service, held in mesh.slices[name].items()}
        assert counts.pop("newcomers") == 1
        assert counts == {"service-0": 3, "service-1": 2, "service-2": 2, "service-3": 2}
    addresses = [
        address for slices in mesh.slices.values() for held in slices.values() for address in held
    ]
    assert len(set(addresses)) == len(addresses) == 2 * (9 + 1)
    assert mesh.most == 2
    for each in found:
        assert len(each.newcomers) == 2 * 3
        assert (each.istiod, each.proxy) == (100.0, 3.0)
        assert each.processor > 0


def test_a_client_that_learns_nothing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service_scale, "SETTLED_SECONDS", 0.0)
    mesh = installed(monkeypatch, FakeMesh(SCENARIO, deaf="cluster2"))
    with pytest.raises(ProbeError, match="2 endpoints in Sleep's proxy") as raised:
        measure(mesh.lab, [Size(1, 1)], 1, Progress("test"))
    assert raised.value.where == "cluster2"


@pytest.mark.parametrize("topology", ["multi-primary-multi-network", "four-networks"])
def test_networks_pass_no_endpoints_without_proxies(topology: str) -> None:
    with pytest.raises(ScenarioError, match="one network"):
        require_measurable({**SCENARIOS, **MORE}[topology])
    require_measurable(SCENARIO)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("200", "SERVICES/ENDPOINTS"),
        ("a/b", "SERVICES/ENDPOINTS"),
        ("0/5", "without endpoints"),
        ("5/4", "without endpoints"),
        ("1/1001", "at most 1000"),
        ("20/9000", "addresses"),
    ],
)
def test_what_is_no_size(text: str, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        Size.read(text)


def test_a_size_spreads_its_endpoints_evenly() -> None:
    size = Size.read("4/10")
    assert [size.of(each) for each in range(4)] == [3, 3, 2, 2]
    assert size.largest == 3
    assert str(size) == "4/10"


def test_a_metric_that_is_not_there() -> None:
    with pytest.raises(ProbeError, match="the metric process_cpu_seconds_total"):
        service_scale.read_metric("process_cpu_seconds_totals 1\n", "process_cpu_seconds_total")


def test_the_table_has_a_line_for_each_size() -> None:
    found = [
        Figures(NOTHING, 0.2, (0.21, 0.3, 0.25), 0.1, 81.2, 5.04),
        Figures(Size(200, 1000), 1.44, (0.4, 0.5, 1.25), 4.31, 140.6, 12.5),
    ]
    assert [line.split() for line in table("multi-primary", found)[1:]] == [
        [
            "multi-primary",
            "after,",
            "s",
            "minimum",
            "median",
            "maximum",
            "busy,",
            "s",
            "MiB",
            "MiB",
        ],
        ["0/0", "0.2", "0.21", "0.25", "0.30", "0.1", "81", "5.0"],
        ["200/1000", "1.4", "0.40", "0.50", "1.25", "4.3", "141", "12.5"],
    ]
    assert len({len(line) for line in table("multi-primary", found)}) == 1
