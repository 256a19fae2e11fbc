"""Istio by Helm: the charts `base`, `istiod` and `gateway`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import yaml

from mesh_fixtures.charts import Charts
from mesh_fixtures.images import ImageSet
from mesh_fixtures.install import names, values
from mesh_fixtures.install.method import Recipe
from mesh_fixtures.install.step import Command
from mesh_fixtures.scenario import Scenario

BASE_RELEASE: Final = "istio-base"
ISTIOD_RELEASE: Final = "istiod"

_BASE_SECONDS: Final = 45
"""For custom resources and accounts, none of which has to become ready."""


@dataclass(frozen=True)
class Helm:
    """Implements `mesh_fixtures.install.method.Method`."""

    charts: Charts

    def control_plane(
        self, scenario: Scenario, cluster: str, images: ImageSet, seconds: int
    ) -> Recipe:
        return self._istio(cluster, values.primary(scenario, cluster, images), images, seconds)

    def remote(self, scenario: Scenario, cluster: str, images: ImageSet, seconds: int) -> Recipe:
        """Both charts take the profile. `configCluster` is the guide's: accounts and the webhook
        that an istiod needs to be in charge (source: Istio, Install Primary-Remote, Helm).
        """
        network = scenario.cluster(cluster).network
        identity = {"multiCluster": {"clusterName": cluster}, "network": network}
        own = values.merged(
            {"profile": values.REMOTE_PROFILE, **values.remote(scenario, cluster, images)},
            {"global": {**identity, "configCluster": True}},
        )
        base = ("--set", f"profile={values.REMOTE_PROFILE}")
        return self._istio(cluster, own, images, seconds, base)

    def gateway(self, scenario: Scenario, cluster: str, images: ImageSet, seconds: int) -> Recipe:
        """Its labels and ports follow from its name and network; its image is injected."""
        file = f"{cluster}.eastwest-gateway.yaml"
        own = {
            "name": names.GATEWAY,
            "networkGateway": scenario.cluster(cluster).network,
            "imagePullPolicy": images.pull_policy,
        }
        upgrade = self._upgrade(cluster, names.GATEWAY, "gateway", "-f", file, seconds=seconds)
        return Recipe((upgrade,), {file: _yaml(own)})

    def _istio(
        self,
        cluster: str,
        own: values.Values,
        images: ImageSet,
        seconds: int,
        base: tuple[str, ...] = (),
    ) -> Recipe:
        """The charts `base` and `istiod`.

        Args:
            own: values of istiod.
            base: options of the other.
        """
        file = f"{cluster}.yaml"
        left = seconds - _BASE_SECONDS
        return Recipe(
            (
                self._upgrade(cluster, BASE_RELEASE, "base", *base, seconds=_BASE_SECONDS),
                self._upgrade(cluster, ISTIOD_RELEASE, "istiod", "-f", file, seconds=left),
            ),
            {file: _yaml(values.merged(own, _source(images)))},
        )

    def _upgrade(
        self, cluster: str, release: str, chart: str, *options: str, seconds: int
    ) -> Command:
        """A helm call that installs a chart and waits until its objects are ready."""
        return Command(
            (
                *("helm", "upgrade", "--install", release, *self.charts.reference(chart)),
                *(names.kube_context(cluster), "-n", names.SYSTEM_NAMESPACE, *options),
                *("--wait", f"--timeout={seconds}s"),
            )
        )


def _source(images: ImageSet) -> dict[str, Any]:
    """Where the charts take images from; nothing where they know by themselves."""
    told = {"hub": images.istio_hub, "tag": images.istio_tag}
    given = {key: value for key, value in told.items() if value}
    return {"global": given} if given else {}


def _yaml(content: values.Values) -> str:
    return yaml.safe_dump(dict(content), sort_keys=False)
