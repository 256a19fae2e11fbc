"""Istio by `istioctl install` and IstioOperator configurations."""

from __future__ import annotations

from mesh_fixtures.images import ImageSet
from mesh_fixtures.install import names, operators
from mesh_fixtures.install.method import Recipe
from mesh_fixtures.install.step import Command
from mesh_fixtures.scenario import Scenario


class Istioctl:
    """Implements `mesh_fixtures.install.method.Method`."""

    def control_plane(
        self, scenario: Scenario, cluster: str, images: ImageSet, seconds: int
    ) -> Recipe:
        operator = operators.primary(scenario, cluster, images)
        return _recipe(cluster, f"{cluster}.yaml", operator, seconds)

    def remote(self, scenario: Scenario, cluster: str, images: ImageSet, seconds: int) -> Recipe:
        operator = operators.remote(scenario, cluster, images)
        return _recipe(cluster, f"{cluster}.yaml", operator, seconds)

    def gateway(self, scenario: Scenario, cluster: str, images: ImageSet, seconds: int) -> Recipe:
        operator = operators.gateway(scenario, cluster, images)
        return _recipe(cluster, f"{cluster}.eastwest-gateway.yaml", operator, seconds)


def _recipe(cluster: str, file: str, operator: str, seconds: int) -> Recipe:
    install = names.istioctl_install(cluster, file, readiness_seconds=seconds)
    return Recipe((Command(install),), {file: operator})
