"""What tests of verdicts share: requirements checked by written-down observations."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from types import SimpleNamespace
from typing import Any

from fake_kube import pod, result

from mesh_fixtures.contract import GUIDE_NAMES, AddressPool
from mesh_fixtures.install.names import NETWORK_LABEL
from mesh_fixtures.kube import Container, Meta, Namespace, Pod, Service, ServicePort
from mesh_fixtures.probe.gateways import Gateway, NetworkGateway
from mesh_fixtures.requirements import Outcome
from mesh_fixtures.scenario import Scenario

GATEWAY = Meta("istio-eastwestgateway", "istio-system")
SOURCE = result().source


@dataclass
class FakeView:
    """Clusters whose clients know no more than their names, and how the system namespace is
    labelled: as `labels` says by cluster, None for not at all, else by the scenario.
    """

    scenario: Scenario
    pool: AddressPool | None = None
    labels: Mapping[str, str | None] = field(default_factory=dict)
    external: bool = False
    kube: dict[str, Any] = field(init=False)

    def __post_init__(self) -> None:
        self.kube = {
            cluster.name: SimpleNamespace(
                name=cluster.name,
                sample_namespace="sample",
                clock=None,
                names=GUIDE_NAMES,
                pod_of=self._pod_of(cluster.name),
                list=lambda resource, namespace="", selector="": (),
                get=self._get_namespace(self.labels.get(cluster.name, cluster.network)),
                source=lambda kind, namespace, detail="": SOURCE,
            )
            for cluster in self.scenario.clusters
        }

    @staticmethod
    def _pod_of(cluster: str) -> Callable[[str, str], Pod]:
        return lambda namespace, selector: pod(f"{selector.partition('=')[2]}-{cluster}")

    @staticmethod
    def _get_namespace(network: str | None) -> Callable[..., Namespace]:
        labels = {} if network is None else {NETWORK_LABEL: network}
        return lambda resource, namespace, name: Namespace(Meta(name, "", labels), "uid")

    @property
    def lab(self) -> Any:
        cluster = SimpleNamespace(pools=() if self.pool is None else (self.pool,))
        clusters = dict.fromkeys(self.kube, cluster)
        return SimpleNamespace(clusters=clusters, external=self.external)

    @property
    def data_planes(self) -> tuple[str, ...]:
        return tuple(each.name for each in self.scenario.data_planes)

    def each(
        self, probe: Callable[[Any], Any], clusters: Iterable[str] | None = None
    ) -> dict[str, Any]:
        names = list(self.data_planes) if clusters is None else list(clusters)
        return {name: probe(self.kube[name]) for name in names}


def mesh(
    view: FakeView, endpoints: Any = None, traffic: Any = None, *, has_samples: bool = True
) -> Any:
    """A mesh of which this was seen, and that nobody waits for."""
    made: Any = SimpleNamespace(
        view=view,
        scenario=view.scenario,
        endpoints={} if endpoints is None else endpoints,
        traffic=traffic,
        patient=lambda seconds: 0.0,
        has_samples=has_samples,
        requests=200,
        once=lambda observe: observe(made),
    )
    return made


def checked(module: Any, mesh: Any, probes: Any = None) -> Outcome:
    """The outcome of checking a mesh by a module's requirement.

    Args:
        probes: of the module, with observations in place of some; None for a requirement without.
    """
    judge = partial(module.judge, probes=probes) if probes else module.judge
    outcome: Outcome = replace(module.REQUIREMENT, judge=judge).check(mesh)
    assert all(isinstance(figure, str | int | float) for figure in outcome.figures.values())
    return outcome


def found(outcome: Outcome) -> str:
    """All findings of a check; empty when the requirement holds."""
    assert outcome.trouble is None
    return "\n".join(map(str, outcome.findings))


def holds_unless(finding: str, outcome: Outcome) -> bool:
    """Whether a check has a finding; if it is empty, whether the requirement is met."""
    return finding in found(outcome) if finding else outcome.result == "met"


def advertised(cluster: str, address: str, port: int = 15443, network: str = "") -> NetworkGateway:
    """A gateway of a cluster's own network, by its number, unless another one is named."""
    return NetworkGateway(network or f"network{cluster[-1]}", cluster, address, port, SOURCE)


def gateway(cluster: str, *addresses: str, serving: bool = True) -> Gateway:
    meta = replace(GATEWAY, labels={NETWORK_LABEL: f"network{cluster[-1]}"})
    service = Service(meta, "LoadBalancer", {}, (ServicePort(15443, "tls", ""),), addresses)
    proxied = replace(pod("gw-1"), ready=serving, containers=(Container("istio-proxy"),))
    return Gateway(SOURCE, cluster, service, (proxied,))
