"""From a scenario to the steps that install its mesh by the guide."""

from __future__ import annotations

from mesh_fixtures import supported
from mesh_fixtures.charts import Charts
from mesh_fixtures.images import ImageSet
from mesh_fixtures.install import (
    control_plane,
    east_west_gateway,
    exposure,
    names,
    remote,
    remote_secret,
    trust,
)
from mesh_fixtures.install.by_helm import Helm
from mesh_fixtures.install.by_istioctl import Istioctl
from mesh_fixtures.install.method import Method
from mesh_fixtures.install.step import Plan, Step
from mesh_fixtures.scenario import Scenario


def plan(scenario: Scenario, images: ImageSet, charts: Charts | None = None) -> Plan:
    """The installation of a scenario's mesh, in the guide's order of reading.

    Its variables are each cluster's kubeconfig context (`CTX_<CLUSTER>`) and, of clusters that
    another one's istiod observes, the API server's URL (`API_SERVER_<CLUSTER>`).

    Args:
        charts: what Helm installs; None for an installation by istioctl.

    Raises:
        MachineError: the recipe is not valid for the version of Istio.
    """
    _require_known_istio(images, charts)
    method: Method = Istioctl() if charts is None else Helm(charts)
    steps: list[Step] = []
    for cluster in scenario.clusters:
        steps += trust.steps(cluster.name)
    for cluster in scenario.primaries:
        steps += control_plane.network_label(scenario, cluster.name)
        steps.append(control_plane.istiod(scenario, cluster.name, images, method))
        steps += east_west_gateway.steps(scenario, cluster.name, images, method)
        steps += exposure.steps(scenario, cluster.name)
    secrets = remote_secret.steps(scenario)
    for cluster in scenario.remotes:
        section = names.as_remote(cluster.name)
        steps.append(remote.annotation(scenario, cluster.name))
        steps += control_plane.network_label(scenario, cluster.name)
        steps.append(remote.remote(scenario, cluster.name, images, method))
        steps += (secret for secret in secrets if secret.section == section)
        steps.append(remote.attached(scenario, cluster.name))
        steps += east_west_gateway.steps(scenario, cluster.name, images, method)
    steps += (secret for secret in secrets if secret.section == remote_secret.SECTION)
    return Plan(scenario_id=scenario.id, steps=tuple(steps), variables=_variables(scenario))


def _variables(scenario: Scenario) -> tuple[str, ...]:
    observed = {secret.of for secret in scenario.remote_secrets}
    clusters = [cluster.name for cluster in scenario.clusters]
    return (
        *(names.context_variable(cluster) for cluster in clusters),
        *(names.api_server_variable(cluster) for cluster in clusters if cluster in observed),
    )


def _require_known_istio(images: ImageSet, charts: Charts | None) -> None:
    remedy = "choose another by --mesh-istioctl and --mesh-charts"
    where = f"image set {images.name}"
    supported.ISTIO.require(images.istio_version, where=where, remedy=remedy)
    if charts is not None:
        supported.ISTIO.require(charts.istio_version, where="Helm charts", remedy=remedy)
