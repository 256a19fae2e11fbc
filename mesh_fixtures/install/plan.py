"""From a scenario to the steps that install its mesh by the guide."""

from __future__ import annotations

import re
from typing import Final

from mesh_fixtures.errors import ArtifactError
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
from mesh_fixtures.install.step import Plan, Step
from mesh_fixtures.scenario import Scenario

SUPPORTED_ISTIO: Final = ("1.29", "1.30", "1.31", "1.32")
"""Minor versions that this recipe is written for, oldest first."""


def plan(scenario: Scenario, images: ImageSet) -> Plan:
    """The installation of a scenario's mesh, in the guide's order of reading.

    Its variables are each cluster's kubeconfig context (`CTX_<CLUSTER>`) and, of clusters that
    another one's istiod observes, the API server's URL (`API_SERVER_<CLUSTER>`).

    Raises:
        ArtifactError: the recipe is not valid for the image set's version of Istio.
    """
    _require_known_istio(images)
    steps: list[Step] = []
    for cluster in scenario.clusters:
        steps += trust.steps(cluster.name)
    for cluster in scenario.primaries:
        steps += control_plane.network_label(scenario, cluster.name)
        steps.append(control_plane.istiod(scenario, cluster.name, images))
        steps += east_west_gateway.steps(scenario, cluster.name, images)
        steps += exposure.steps(scenario, cluster.name)
    secrets = remote_secret.steps(scenario)
    for cluster in scenario.remotes:
        section = names.as_remote(cluster.name)
        steps.append(remote.annotation(scenario, cluster.name))
        steps += control_plane.network_label(scenario, cluster.name)
        steps.append(remote.remote(scenario, cluster.name, images))
        steps += (secret for secret in secrets if secret.section == section)
        steps.append(remote.attached(scenario, cluster.name))
        steps += east_west_gateway.steps(scenario, cluster.name, images)
    steps += (secret for secret in secrets if secret.section == remote_secret.SECTION)
    return Plan(scenario_id=scenario.id, steps=tuple(steps), variables=_variables(scenario))


def _variables(scenario: Scenario) -> tuple[str, ...]:
    observed = {secret.of for secret in scenario.remote_secrets}
    clusters = [cluster.name for cluster in scenario.clusters]
    return (
        *(names.context_variable(cluster) for cluster in clusters),
        *(names.api_server_variable(cluster) for cluster in clusters if cluster in observed),
    )


def _require_known_istio(images: ImageSet) -> None:
    number = re.match(r"v?(\d+\.\d+)", images.istio_version)
    if number and number[1] in SUPPORTED_ISTIO:
        return
    oldest, *_, newest = SUPPORTED_ISTIO
    raise ArtifactError(
        wanted=f"Istio {oldest} to {newest}, which this installation recipe is written for",
        seen=images.istio_version or "no version",
        where=f"image set {images.name}",
        remedy=f"use images of one of these versions: {', '.join(SUPPORTED_ISTIO)}",
    )
