"""What tests of verdicts share: conformance tests run on written-down observations."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from fake_kube import pod, result

from mesh_fixtures.kube import Meta, Pod, Service
from mesh_fixtures.lab.provider import AddressPool
from mesh_fixtures.probe.gateways import Gateway
from mesh_fixtures.scenario import Scenario
from mesh_fixtures.verdict.findings import Unmet

GATEWAY = Meta("istio-eastwestgateway", "istio-system")
SOURCE = result().source
CONFORMANCE = Path(__file__).parents[1] / "conformance"


def module(name: str) -> Any:
    """A module of conformance tests, fresh for each caller."""
    spec = importlib.util.spec_from_file_location(f"verdicts_{name}", CONFORMANCE / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    loaded = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loaded)
    for waiting in ("SYNC_SECONDS", "SETTLING_SECONDS"):
        if hasattr(loaded, waiting):
            setattr(loaded, waiting, 0)
    return loaded


def no_record(name: str, value: object) -> None:
    assert isinstance(value, str | int | float), name


@dataclass
class FakeView:
    """Clusters whose clients know no more than their names."""

    scenario: Scenario
    pool: AddressPool | None = None
    kube: dict[str, Any] = field(init=False)

    def __post_init__(self) -> None:
        self.kube = {
            cluster.name: SimpleNamespace(name=cluster.name, pod_of=self._pod_of(cluster.name))
            for cluster in self.scenario.clusters
        }

    @staticmethod
    def _pod_of(cluster: str) -> Callable[[str, str], Pod]:
        return lambda namespace, selector: pod(f"{selector.partition('=')[2]}-{cluster}")

    @property
    def lab(self) -> Any:
        cluster = SimpleNamespace(load_balancer_pool=self.pool)
        return SimpleNamespace(clusters=dict.fromkeys(self.kube, cluster))

    def each(
        self, probe: Callable[[Any], Any], clusters: Iterable[str] | None = None
    ) -> dict[str, Any]:
        names = list(self.kube) if clusters is None else list(clusters)
        return {name: probe(self.kube[name]) for name in names}


def unmet(test: Callable[..., None], *arguments: object) -> str:
    """What a test finds; it must find something."""
    with pytest.raises(Unmet) as raised:
        test(*arguments)
    return str(raised.value)


def gateway(cluster: str, *addresses: str, serving: bool = True) -> Gateway:
    service = Service(GATEWAY, "LoadBalancer", {}, {}, addresses)
    return Gateway(SOURCE, cluster, service, (replace(pod("gw-1"), ready=serving),))
